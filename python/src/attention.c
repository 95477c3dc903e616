/* SPDX-License-Identifier: MIT
 * Attention over encoded tensors and arrays, and the merge of partial results. */
#include "core.h"

static bool plan_views(const core_view *k, const core_view *v, core_run *r, tq_attention_config *c) {
    if (k->heads != v->heads || k->length != v->length || k->heads > UINT32_MAX) {
        core_refuse(TQ_E_SIZE, v->length, "v", "k is of %zu heads and %zu positions, v of %zu and %zu",
                    k->heads, k->length, v->heads, v->length);
        return false;
    }
    if (core_options_apply(&r->options, r->n_heads, r->q.shape[2], c) < 0) return false;
    c->n_kv_heads = (uint32_t)k->heads;
    c->v_head_dim = v->view.codec.head_dim;
    if (k->view.store == TQ_STORE_CODES) c->k_format = k->view.codec.format;
    if (v->view.store == TQ_STORE_CODES) c->v_format = v->view.codec.format;
    c->max_queries = r->n_tokens > 0 ? r->n_tokens : 1;
    c->max_positions = k->view.capacity > v->view.capacity ? k->view.capacity : v->view.capacity;
    return core_run_results(r, c, c->v_head_dim) == 0;
}

/* attention(q, k, v, options): q [H][n][D] or [H][D]; k and v [G][T][..] or parts of Codes. */
static PyObject *attention(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *keywords) {
    (void)self;
    static const char *const names[] = {"q", "k", "v", CORE_OPTIONS};
    PyObject *a[3 + CORE_N_OPTIONS];
    core_run r = {0};
    core_view k = {0}, v = {0};
    tq_attention_config config = {0};
    tq_status status = TQ_OK;
    if (core_arguments("attention", args, n, keywords, names, 3 + CORE_N_OPTIONS, 3, 3, a) < 0)
        return NULL;
    const bool ready = core_options_get(a + 3, &r.options) == 0 && core_run_begin(&r, a[0], true) == 0 &&
                       core_view_begin(a[1], &k, "k", true) == 0 &&
                       core_view_begin(a[2], &v, "v", false) == 0 && plan_views(&k, &v, &r, &config);
    if (ready) {
        const tq_segment segment = {
            .k = k.view, .v = v.view, .length = k.length, .first_position = k.first};
        const tq_sequence sequence = {.segments = &segment,
                                      .n_segments = 1,
                                      .n_queries = r.n_tokens,
                                      .query_end = r.options.query_end};
        Py_BEGIN_ALLOW_THREADS status = core_run_do(&r, &config, &sequence, r.n_tokens > 0 ? 1 : 0);
        Py_END_ALLOW_THREADS if (status != TQ_OK) core_raise(status);
    }
    core_view_end(&k);
    core_view_end(&v);
    return core_run_end(&r, ready && status == TQ_OK);
}

/* What merge() works on: arrays of n partial results. */
typedef struct partials {
    size_t n, rows, dim;
    core_array *arrays; /* [3][n] */
    const float **data; /* [3][n] */
} partials;

static int take_partial(PyObject *one, partials *p, size_t at) {
    static const char *const fields[] = {"acc", "max", "sum"};
    if (!PyTuple_Check(one) || PyTuple_Size(one) != 3) {
        PyErr_SetString(PyExc_TypeError, "a partial result must be (acc, max, sum)");
        return -1;
    }
    for (size_t i = 0; i < 3; i++) {
        core_array *a = &p->arrays[i * p->n + at];
        const int dims = i == 0 ? 2 : 1;
        if (core_array_get(PyTuple_GetItem(one, (Py_ssize_t)i), a, fields[i], CORE_BIT(CORE_F32), false,
                           dims, dims) < 0 ||
            core_array_expect(a, 0, p->rows, "the number of rows") < 0 ||
            (i == 0 && core_array_expect(a, 1, p->dim, "the values' dimension") < 0))
            return -1;
        if (a->n != p->rows * (i == 0 ? p->dim : 1)) {
            core_refuse(TQ_E_STRIDE, at, fields[i], "%s of partial result %zu does not lie side by side",
                        fields[i], at);
            return -1;
        }
        p->data[i * p->n + at] = a->data;
    }
    return 0;
}

/* merge(partials, sinks, out, lse): flat, [R][E] and [R]. */
static PyObject *merge(PyObject *self, PyObject *args) {
    (void)self;
    PyObject *list, *sinks_given, *out_given, *lse_given;
    core_array sinks = {0}, out = {0}, lse = {0};
    partials p = {0};
    tq_status status = TQ_OK;
    if (!PyArg_ParseTuple(args, "O!OOO", &PyList_Type, &list, &sinks_given, &out_given, &lse_given))
        return NULL;
    p.n = (size_t)PyList_Size(list);
    p.arrays = PyMem_Calloc(3 * p.n + 1, sizeof *p.arrays);
    p.data = PyMem_Calloc(3 * p.n + 1, sizeof *p.data);
    bool ready = p.arrays != NULL && p.data != NULL;
    if (!ready) PyErr_NoMemory();
    ready = ready && core_array_get(out_given, &out, "out", CORE_BIT(CORE_F32), true, 2, 2) == 0;
    p.rows = out.shape[0], p.dim = out.shape[1];
    ready = ready &&
            (sinks_given == Py_None ||
             (core_array_get(sinks_given, &sinks, "sinks", CORE_BIT(CORE_F32), false, 1, 1) == 0 &&
              core_array_expect(&sinks, 0, p.rows, "the number of rows") == 0)) &&
            (lse_given == Py_None ||
             (core_array_get(lse_given, &lse, "lse", CORE_BIT(CORE_F32), true, 1, 1) == 0 &&
              core_array_expect(&lse, 0, p.rows, "the number of rows") == 0));
    for (size_t i = 0; ready && i < p.n; i++)
        ready = take_partial(PyList_GetItem(list, (Py_ssize_t)i), &p, i) == 0;
    if (ready) {
        Py_BEGIN_ALLOW_THREADS status =
            tq_attention_merge(p.n, p.rows, 1, p.dim, p.data, p.data + p.n, p.data + 2 * p.n, sinks.data,
                               out.data, lse.data);
        Py_END_ALLOW_THREADS if (status != TQ_OK) core_raise(status);
    }
    for (size_t i = 0; p.arrays != NULL && i < 3 * p.n; i++)
        core_array_release(&p.arrays[i]);
    PyMem_Free(p.arrays);
    PyMem_Free(p.data);
    core_array_release(&sinks);
    core_array_release(&out);
    core_array_release(&lse);
    if (!ready || status != TQ_OK) return NULL;
    Py_RETURN_NONE;
}

PyMethodDef core_attention_methods[] = {
    {"attention", (PyCFunction)(void (*)(void))attention, METH_FASTCALL | METH_KEYWORDS, NULL},
    {"merge", merge, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL}};
