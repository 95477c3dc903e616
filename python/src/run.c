/* SPDX-License-Identifier: MIT
 * A run of attention: its queries and results as arrays of Python's. */
#include <string.h>

#include "core.h"

/* Which dimension of q, and of the results, is which. */
static int token_dim(const core_run *r) {
    return r->heads_first ? 1 : 0;
}

int core_run_begin(core_run *r, PyObject *q, bool heads_first) {
    r->heads_first = heads_first;
    r->like = q;
    if (core_array_get(q, &r->q, "q", CORE_FLOATS, false, 2, 3) < 0) return -1;
    if (r->q.n_dims == 2) { /* one query: [H][D] */
        r->squeezed = true;
        core_array *a = &r->q;
        a->shape[2] = a->shape[1], a->stride[2] = a->stride[1];
        const int heads = heads_first ? 0 : 1;
        a->shape[heads] = a->shape[0], a->stride[heads] = a->stride[0];
        a->shape[1 - heads] = 1, a->stride[1 - heads] = a->n > 0 ? a->n : 1;
        a->n_dims = 3;
    }
    const int t = token_dim(r);
    r->n_tokens = r->q.shape[t];
    r->n_heads = r->q.shape[1 - t];
    return 0;
}

/* An array for results of `inner` values a row (0: of the rows' own), the caller's or a new one. */
static int result(core_run *r, PyObject *given, core_kind kind, size_t inner, core_array *a,
                  PyObject **made, const char *field) {
    size_t shape[3];
    int n = 0;
    if (!r->squeezed) shape[n++] = r->heads_first ? r->n_heads : r->n_tokens;
    shape[n++] = r->squeezed ? r->n_heads : r->heads_first ? r->n_tokens : r->n_heads;
    if (inner > 0) shape[n++] = inner;
    *made = given;
    Py_XINCREF(given);
    if (given == NULL) *made = core_array_new(r->like, kind, n, shape);
    if (*made == NULL) return -1;
    const unsigned kinds =
        given != NULL && inner > 0 && !r->options.partial ? CORE_FLOATS : CORE_BIT(kind);
    if (core_array_get(*made, a, field, kinds, true, n, n) < 0) return -1;
    for (int i = 0; i < n; i++)
        if (core_array_expect(a, i, shape[i],
                              i == n - 1 && inner > 0 ? "the values' dimension" : "that of q") < 0)
            return -1;
    return 0;
}

static size_t stride_of(const core_run *r, const core_array *a, bool token) {
    if (r->squeezed) return token ? (a->n > 0 ? a->n : 1) : a->stride[0];
    return a->stride[r->heads_first == token ? 1 : 0];
}

int core_run_results(core_run *r, tq_attention_config *c, size_t v_dim) {
    const core_options *o = &r->options;
    tq_attention_batch *b = &r->batch;
    if (result(r, o->out, o->partial ? CORE_F32 : r->q.kind, v_dim, &r->out, &r->out_made, "out") < 0)
        return -1;
    if ((o->lse || o->partial) && result(r, NULL, CORE_F32, 0, &r->first, &r->first_made, "lse") < 0)
        return -1;
    if (o->partial && result(r, NULL, CORE_F32, 0, &r->second, &r->second_made, "sum") < 0) return -1;
    c->q_type = (tq_type)r->q.kind;
    c->out_type = (tq_type)r->out.kind;
    *b = (tq_attention_batch){.size = sizeof *b,
                              .q = r->q.data,
                              .n_q = r->q.n,
                              .q_token_stride = r->q.stride[token_dim(r)],
                              .q_head_stride = r->q.stride[1 - token_dim(r)],
                              .out = r->out.data,
                              .n_out = r->out.n,
                              .out_token_stride = stride_of(r, &r->out, true),
                              .out_head_stride = stride_of(r, &r->out, false),
                              .n_lse = r->first.n,
                              .sinks = o->sinks.data,
                              .slopes = o->slopes.data,
                              .parallel = core_parallel()};
    if (o->lse || o->partial) {
        b->lse_token_stride = stride_of(r, &r->first, true);
        b->lse_head_stride = stride_of(r, &r->first, false);
    }
    if (o->lse) b->lse = r->first.data;
    if (o->partial) b->max = r->first.data, b->sum = r->second.data;
    return 0;
}

/* Plans of this thread's last kinds of layers: steps come again and again, and a plan takes as long as a
 * short step. Padding that differs makes a plan anew, no more. */
enum { KEPT = 4 };

typedef struct plan {
    tq_attention_config config;
    tq_attention_kind kind;
    size_t bytes;
} plan;

static _Thread_local struct {
    plan plans[KEPT];
    unsigned next;
} kept;

static tq_status plan_of(const tq_attention_config *c, const plan **out) {
    for (int i = 0; i < KEPT; i++)
        if (memcmp(&kept.plans[i].config, c, sizeof *c) == 0) {
            *out = &kept.plans[i];
            return TQ_OK;
        }
    plan p = {.config = *c};
    const tq_status status = tq_attention_plan(c, &p.kind, &p.bytes);
    if (status != TQ_OK) return status;
    plan *place = &kept.plans[kept.next++ % KEPT];
    memcpy(place, &p, sizeof p);
    *out = place;
    return TQ_OK;
}

/* A cache that grows by a position a step is planned for once, up to the next power of 2. */
static size_t with_room(size_t positions) {
    size_t n = 512;
    while (n < positions && n <= SIZE_MAX / 4)
        n *= 2;
    return n < positions ? positions : n;
}

tq_status core_run_do(core_run *r, const tq_attention_config *c, const tq_sequence *sequences, size_t n) {
    const plan *p;
    tq_attention_config config = *c;
    config.max_positions = with_room(c->max_positions);
    const tq_status status = plan_of(&config, &p);
    if (status != TQ_OK) return status;
    void *workspace = core_workspace(p->bytes);
    if (workspace == NULL)
        return tq_fail(TQ_E_NO_MEMORY, p->bytes, "workspace", "no memory for a workspace of %zu bytes",
                       p->bytes);
    r->batch.sequences = sequences;
    r->batch.n_sequences = n;
    return tq_attention_run(&p->kind, &r->batch, workspace, p->bytes);
}

PyObject *core_run_end(core_run *r, bool good) {
    PyObject *results = NULL;
    if (good && r->second_made != NULL)
        results = PyTuple_Pack(3, r->out_made, r->first_made, r->second_made);
    else if (good && r->first_made != NULL)
        results = PyTuple_Pack(2, r->out_made, r->first_made);
    else if (good) {
        results = r->out_made;
        Py_INCREF(results);
    }
    core_array *const arrays[] = {&r->q, &r->out, &r->first, &r->second};
    for (int i = 0; i < 4; i++)
        core_array_release(arrays[i]);
    core_options_release(&r->options);
    Py_XDECREF(r->out_made);
    Py_XDECREF(r->first_made);
    Py_XDECREF(r->second_made);
    return results;
}
