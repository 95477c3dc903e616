/* SPDX-License-Identifier: MIT
 * One call for the caches of all sequences of a step. */
#include <stdlib.h>

#include "core.h"

/* The caches of a call, kept, and what each is told. */
typedef struct sequences {
    size_t n;
    core_cache **caches;
    size_t *counts; /* queries of each */
    tq_segment (*segments)[TQ_CACHE_SEGMENTS];
    tq_sequence *sequences;
} sequences;

static void sequences_end(sequences *s) {
    for (size_t i = 0; s->caches != NULL && i < s->n; i++)
        Py_XDECREF((PyObject *)s->caches[i]);
    PyMem_Free(s->caches);
    PyMem_Free(s->counts);
    PyMem_Free(s->segments);
    PyMem_Free(s->sequences);
}

static bool same_layer(const core_cache *a, const core_cache *b) {
    const tq_cache_layer *x = &a->layer, *y = &b->layer;
    return x->n_kv_heads == y->n_kv_heads && x->k.head_dim == y->k.head_dim &&
           x->v.head_dim == y->v.head_dim && x->k_store == y->k_store && x->v_store == y->v_store &&
           (x->k_store != TQ_STORE_CODES || x->k.format == y->k.format) &&
           (x->v_store != TQ_STORE_CODES || x->v.format == y->v.format) && a->window == b->window &&
           a->sinks == b->sinks;
}

static int sequences_begin(PyObject *list, sequences *s) {
    if (!PyList_Check(list) || PyList_Size(list) == 0) {
        PyErr_SetString(PyExc_TypeError, "caches must be a list of one Cache or more");
        return -1;
    }
    s->n = (size_t)PyList_Size(list);
    s->caches = PyMem_Calloc(s->n, sizeof *s->caches);
    s->counts = PyMem_Calloc(s->n, sizeof *s->counts);
    s->segments = PyMem_Calloc(s->n, sizeof *s->segments);
    s->sequences = PyMem_Calloc(s->n, sizeof *s->sequences);
    if (s->caches == NULL || s->counts == NULL || s->segments == NULL || s->sequences == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (size_t i = 0; i < s->n; i++) {
        PyObject *one = PyList_GetItem(list, (Py_ssize_t)i);
        if (!PyObject_TypeCheck(one, core_cache_type)) {
            PyErr_Format(PyExc_TypeError, "caches[%zu] is no Cache", i);
            return -1;
        }
        Py_INCREF(one);
        s->caches[i] = (core_cache *)one;
        if (!same_layer(s->caches[0], s->caches[i])) {
            core_refuse(TQ_E_POLICY, i, "caches", "caches[%zu] is not of the kind of caches[0]", i);
            return -1;
        }
        for (size_t j = 0; j < i; j++)
            if (s->caches[j] == s->caches[i]) {
                core_refuse(TQ_E_OVERLAP, i, "caches", "caches[%zu] is caches[%zu]", i, j);
                return -1;
            }
    }
    return 0;
}

/* A number's __index__() may be anybody's code, and empty the list. */
static int read_count(PyObject *list, size_t at, uint64_t *n) {
    PyObject *one = PyList_GetItem(list, (Py_ssize_t)at);
    if (one == NULL) return -1;
    Py_INCREF(one);
    const int result = core_size(one, "counts", 0, n);
    Py_DECREF(one);
    return result;
}

static int read_counts(PyObject *list, sequences *s, size_t n_tokens) {
    size_t sum = 0;
    if (list != NULL && (!PyList_Check(list) || (size_t)PyList_Size(list) != s->n)) {
        PyErr_SetString(PyExc_TypeError, "counts must be a list with a number for each cache");
        return -1;
    }
    for (size_t i = 0; i < s->n; i++) {
        uint64_t n = n_tokens / s->n;
        if (list != NULL && read_count(list, i, &n) < 0) return -1;
        s->counts[i] = (size_t)n;
        if (n > n_tokens || (sum += (size_t)n) > n_tokens) break;
    }
    if (sum == n_tokens) return 0;
    core_refuse(TQ_E_SIZE, n_tokens, "counts", "q is of %zu queries, not of as many as counts say",
                n_tokens);
    return -1;
}

/* In the order of their addresses, so that two calls never wait for each other. */
static int by_address(const void *a, const void *b) {
    const core_cache *x = *(core_cache *const *)a, *y = *(core_cache *const *)b;
    return (x > y) - (x < y);
}

static tq_status attend_locked(sequences *s, core_run *r, tq_attention_config *config) {
    config->max_positions = 1;
    for (size_t i = 0; i < s->n; i++) {
        const tq_status status =
            tq_cache_sequence(s->caches[i]->cache, s->counts[i], s->segments[i], &s->sequences[i]);
        if (status != TQ_OK) return status;
        size_t held = 0;
        for (size_t j = 0; j < s->sequences[i].n_segments; j++)
            held += s->segments[i][j].length;
        if (held > config->max_positions) config->max_positions = held;
    }
    config->max_sequences = s->n;
    return core_run_do(r, config, s->sequences, s->n);
}

static tq_status with_locks(sequences *s, core_cache **ordered, core_run *r,
                            tq_attention_config *config) {
    for (size_t i = 0; i < s->n; i++)
        pthread_rwlock_rdlock(&ordered[i]->lock);
    const tq_status status = attend_locked(s, r, config);
    for (size_t i = 0; i < s->n; i++)
        pthread_rwlock_unlock(&ordered[i]->lock);
    return status;
}

/* attend_batch(caches, q, counts, options): q [N][H][D] */
static PyObject *attend_batch(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *keywords) {
    (void)self;
    static const char *const names[] = {"caches", "q", "counts", CORE_OPTIONS};
    PyObject *a[3 + CORE_N_OPTIONS];
    core_run r = {0};
    sequences s = {0};
    core_cache **ordered = NULL;
    tq_attention_config config = {0};
    tq_status status = TQ_OK;
    if (core_arguments("attend_batch", args, n, keywords, names, 3 + CORE_N_OPTIONS, 3, 2, a) < 0)
        return NULL;
    bool ready = core_options_get(a + 3, &r.options) == 0 && sequences_begin(a[0], &s) == 0 &&
                 core_run_begin(&r, a[1], false) == 0 && read_counts(a[2], &s, r.n_tokens) == 0 &&
                 core_cache_plan(s.caches[0], &r, &config) == 0;
    if (ready) ordered = PyMem_Calloc(s.n, sizeof *ordered);
    if (ready && ordered == NULL) {
        PyErr_NoMemory();
        ready = false;
    }
    if (ready) {
        Py_BEGIN_ALLOW_THREADS for (size_t i = 0; i < s.n; i++) ordered[i] = s.caches[i];
        qsort(ordered, s.n, sizeof *ordered, by_address);
        status = with_locks(&s, ordered, &r, &config);
        Py_END_ALLOW_THREADS if (status != TQ_OK) core_raise(status);
    }
    PyMem_Free(ordered);
    sequences_end(&s);
    return core_run_end(&r, ready && status == TQ_OK);
}

PyMethodDef core_batch_methods[] = {
    {"attend_batch", (PyCFunction)(void (*)(void))attend_batch, METH_FASTCALL | METH_KEYWORDS, NULL},
    {"block_info", core_block_info, METH_O, NULL},
    {NULL, NULL, 0, NULL}};
