/* SPDX-License-Identifier: MIT
 * What calls of attention are told beside their arrays. */
#include <math.h>

#include "core.h"

enum {
    SCALE,
    CAUSAL,
    WINDOW,
    SOFTCAP,
    SINK_POSITIONS,
    SINKS,
    SLOPES,
    QUERY_END,
    LSE,
    PARTIAL,
    OUT,
    ARITHMETIC
};

static int per_head(PyObject *o, core_array *a, const char *field) {
    return o == NULL ? 0 : core_array_get(o, a, field, CORE_BIT(CORE_F32), false, 1, 1);
}

static int read_arithmetic(PyObject *o, tq_arithmetic *how) {
    static const char *const names[] = {"float", "integer"};
    static const tq_arithmetic known[] = {TQ_ARITHMETIC_FLOAT, TQ_ARITHMETIC_INTEGER};
    if (o == NULL) return 0;
    for (int i = 0; PyUnicode_Check(o) && i < 2; i++)
        if (PyUnicode_CompareWithASCIIString(o, names[i]) == 0) {
            *how = known[i];
            return 0;
        }
    core_refuse(TQ_E_FORMAT, 0, "arithmetic", "arithmetic is 'float', 'integer', or None for the faster");
    return -1;
}

int core_options_get(PyObject *const *given, core_options *o) {
    o->out = given[OUT];
    if (core_float(given[SCALE], 0, &o->scale) < 0 || core_float(given[SOFTCAP], 0, &o->softcap) < 0 ||
        core_bool(given[CAUSAL], true, &o->causal) < 0 || core_bool(given[LSE], false, &o->lse) < 0 ||
        core_bool(given[PARTIAL], false, &o->partial) < 0 ||
        core_size(given[WINDOW], "window", 0, &o->window) < 0 ||
        core_size(given[SINK_POSITIONS], "sink_positions", 0, &o->sink_positions) < 0 ||
        core_size(given[QUERY_END], "query_end", 0, &o->query_end) < 0 ||
        per_head(given[SINKS], &o->sinks, "sinks") < 0 ||
        per_head(given[SLOPES], &o->slopes, "slopes") < 0 ||
        read_arithmetic(given[ARITHMETIC], &o->arithmetic) < 0)
        return -1;
    if (given[SCALE] != NULL && o->scale == 0) {
        core_refuse(TQ_E_SCALE, 0, "scale", "scale is 0: all keys would weigh the same");
        return -1;
    }
    if (o->lse && o->partial) {
        core_refuse(TQ_E_FORMAT, 0, "lse", "lse and partial: the merge of partial results gives lse");
        return -1;
    }
    return 0;
}

void core_options_release(core_options *o) {
    core_array_release(&o->sinks);
    core_array_release(&o->slopes);
}

int core_options_apply(const core_options *o, size_t n_heads, size_t head_dim, tq_attention_config *c) {
    const core_array *const arrays[] = {&o->sinks, &o->slopes};
    for (int i = 0; i < 2; i++)
        if (arrays[i]->data != NULL &&
            core_array_expect(arrays[i], 0, n_heads, "the number of query heads") < 0)
            return -1;
    if (n_heads > UINT32_MAX || head_dim > 1024) {
        core_refuse(TQ_E_HEAD_DIM, head_dim, "q", "q has %zu heads of %zu values: at most 1024", n_heads,
                    head_dim);
        return -1;
    }
    c->size = sizeof *c;
    c->n_heads = (uint32_t)n_heads;
    c->head_dim = (uint32_t)head_dim;
    c->scale = o->scale != 0 ? o->scale : head_dim > 0 ? 1 / sqrtf((float)head_dim) : 1;
    c->softcap = o->softcap;
    c->bidirectional = !o->causal;
    c->window = o->window;
    c->sink_positions = (size_t)o->sink_positions;
    c->arithmetic = o->arithmetic;
    return 0;
}
