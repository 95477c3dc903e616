/* SPDX-License-Identifier: MIT
 * What is done to a cache and with it. */
#include "core.h"

/* Keys or values [n][G][..] of a call, or of one position [G][..]. */
static int take_vectors(PyObject *o, core_array *a, const char *field, const core_cache *c,
                        uint32_t dim) {
    if (core_array_get(o, a, field, CORE_FLOATS, false, 2, 3) < 0) return -1;
    if (a->n_dims == 2) {
        a->shape[2] = a->shape[1], a->stride[2] = a->stride[1];
        a->shape[1] = a->shape[0], a->stride[1] = a->stride[0];
        a->shape[0] = 1, a->stride[0] = a->n > 0 ? a->n : 1;
        a->n_dims = 3;
    }
    return core_array_expect(a, 1, c->layer.n_kv_heads, "n_kv_heads") < 0 ||
                   core_array_expect(a, 2, dim, "the head dimension") < 0
               ? -1
               : 0;
}

int core_cache_vectors(PyObject *k_given, PyObject *v_given, const core_cache *c, core_array *k,
                       core_array *v) {
    if (take_vectors(k_given, k, "k", c, c->layer.k.head_dim) < 0 ||
        take_vectors(v_given, v, "v", c, c->layer.v.head_dim) < 0 ||
        core_array_expect(v, 0, k->shape[0], "the number of positions of k") < 0)
        return -1;
    if (k->kind == v->kind) return 0;
    core_refuse(TQ_E_FORMAT, 0, "v", "k and v are of different types: %s and %s", core_kind_name(k->kind),
                core_kind_name(v->kind));
    return -1;
}

static PyObject *append(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *keywords) {
    static const char *const names[] = {"k", "v"};
    core_cache *c = (core_cache *)self;
    PyObject *a[2];
    core_array k = {0}, v = {0};
    tq_status status = TQ_OK;
    if (core_arguments("append", args, n, keywords, names, 2, 2, 2, a) < 0) return NULL;
    const bool ready = core_cache_vectors(a[0], a[1], c, &k, &v) == 0;
    if (ready) {
        const tq_cache_input input = {.size = sizeof input,
                                      .type = (tq_type)k.kind,
                                      .k = k.data,
                                      .v = v.data,
                                      .n_k = k.n,
                                      .n_v = v.n,
                                      .k_position_stride = k.stride[0],
                                      .k_head_stride = k.stride[1],
                                      .v_position_stride = v.stride[0],
                                      .v_head_stride = v.stride[1]};
        Py_BEGIN_ALLOW_THREADS pthread_rwlock_wrlock(&c->lock);
        status = tq_cache_append_input(c->cache, k.shape[0], &input);
        pthread_rwlock_unlock(&c->lock);
        Py_END_ALLOW_THREADS
    }
    core_array_release(&k);
    core_array_release(&v);
    return core_done(ready, status);
}

int core_cache_plan(const core_cache *c, core_run *r, tq_attention_config *config) {
    if (core_options_apply(&r->options, r->n_heads, r->q.shape[2], config) < 0) return -1;
    if (r->options.query_end != 0) {
        core_refuse(TQ_E_POSITION, r->options.query_end, "query_end",
                    "query_end: caches know where their queries stand; fork(length) goes back");
        return -1;
    }
    if (c->window != 0 && r->options.sink_positions != 0 && r->options.sink_positions != c->sinks) {
        core_refuse(TQ_E_POSITION, r->options.sink_positions, "sink_positions",
                    "sink_positions %llu: the cache has a window and keeps %zu sinks in sight",
                    (unsigned long long)r->options.sink_positions, c->sinks);
        return -1;
    }
    if (config->head_dim != c->layer.k.head_dim) {
        core_refuse(TQ_E_HEAD_DIM, config->head_dim, "q",
                    "q is of head_dim %u, the cache's keys are of %u", (unsigned)config->head_dim,
                    (unsigned)c->layer.k.head_dim);
        return -1;
    }
    config->n_kv_heads = c->layer.n_kv_heads;
    config->v_head_dim = c->layer.v.head_dim;
    if (c->layer.k_store == TQ_STORE_CODES) config->k_format = c->layer.k.format;
    if (c->layer.v_store == TQ_STORE_CODES) config->v_format = c->layer.v.format;
    if (c->window != 0) { /* what a cache knows need not be said */
        if (config->window == 0) config->window = c->window;
        config->sink_positions = c->sinks;
    }
    config->max_queries = r->n_tokens > 0 ? r->n_tokens : 1;
    return core_run_results(r, config, config->v_head_dim);
}

static tq_status attend_locked(core_cache *c, core_run *r, tq_attention_config *config) {
    tq_segment segments[TQ_CACHE_SEGMENTS];
    tq_sequence sequence;
    const tq_status status = tq_cache_sequence(c->cache, r->n_tokens, segments, &sequence);
    if (status != TQ_OK) return status;
    config->max_positions = 1;
    for (size_t i = 0; i < sequence.n_segments; i++)
        config->max_positions += segments[i].length;
    return core_run_do(r, config, &sequence, r->n_tokens > 0 ? 1 : 0);
}

static PyObject *attend(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *keywords) {
    static const char *const names[] = {"q", CORE_OPTIONS};
    core_cache *c = (core_cache *)self;
    PyObject *a[1 + CORE_N_OPTIONS];
    core_run r = {0};
    tq_attention_config config = {0};
    tq_status status = TQ_OK;
    if (core_arguments("attend", args, n, keywords, names, 1 + CORE_N_OPTIONS, 1, 1, a) < 0) return NULL;
    const bool ready = core_options_get(a + 1, &r.options) == 0 && core_run_begin(&r, a[0], false) == 0 &&
                       core_cache_plan(c, &r, &config) == 0;
    if (ready) {
        Py_BEGIN_ALLOW_THREADS pthread_rwlock_rdlock(&c->lock);
        status = attend_locked(c, &r, &config);
        pthread_rwlock_unlock(&c->lock);
        Py_END_ALLOW_THREADS if (status != TQ_OK) core_raise(status);
    }
    return core_run_end(&r, ready && status == TQ_OK);
}

static PyObject *change(PyObject *self, PyObject *number,
                        tq_status (*what)(tq_cache *cache, uint64_t n)) {
    core_cache *c = (core_cache *)self;
    uint64_t n;
    tq_status status;
    if (core_size(number, "length", 0, &n) < 0) return NULL;
    Py_BEGIN_ALLOW_THREADS pthread_rwlock_wrlock(&c->lock);
    status = what(c->cache, n);
    pthread_rwlock_unlock(&c->lock);
    Py_END_ALLOW_THREADS if (status != TQ_OK) return core_raise(status);
    Py_RETURN_NONE;
}

static PyObject *truncate_cache(PyObject *self, PyObject *number) {
    return change(self, number, tq_cache_truncate);
}

static PyObject *reserve(PyObject *self, PyObject *number) {
    return change(self, number, tq_cache_reserve);
}

static PyObject *clear(PyObject *self, PyObject *none) {
    (void)none;
    core_cache *c = (core_cache *)self;
    Py_BEGIN_ALLOW_THREADS pthread_rwlock_wrlock(&c->lock);
    tq_cache_clear(c->cache);
    pthread_rwlock_unlock(&c->lock);
    Py_END_ALLOW_THREADS Py_RETURN_NONE;
}

/* fork(length or None) -> another of the same type */
static PyObject *fork_cache(PyObject *self, PyObject *number) {
    core_cache *c = (core_cache *)self;
    uint64_t n;
    tq_status status;
    const bool all = number == Py_None;
    if (!all && core_size(number, "length", 0, &n) < 0) return NULL;
    core_cache *made = core_cache_alloc(Py_TYPE(self), c);
    if (made == NULL) return NULL;
    Py_BEGIN_ALLOW_THREADS pthread_rwlock_rdlock(&c->lock);
    if (all) n = tq_cache_length(c->cache);
    status = tq_cache_fork(c->cache, n, &made->cache);
    pthread_rwlock_unlock(&c->lock);
    Py_END_ALLOW_THREADS if (status == TQ_OK) return (PyObject *)made;
    core_raise(status);
    Py_DECREF((PyObject *)made);
    return NULL;
}

/* Letters are those of libtqkv/cache.py. */
PyDoc_STRVAR(
    append_doc,
    "append(k, v)\n--\n\n"
    "Encodes the keys and values of n new positions behind those that are there.\n\n"
    "k, v   [n, G, D] and [n, G, E], or [G, D] and [G, E] of one position; float32, float16 or "
    "bfloat16,\n"
    "       one type for both; any strides but of the last dimension; not copied\n\n"
    "TqkvError: NOT_FINITE and RANGE with field and index; POSITION if the capacity is reached, "
    "NO_MEMORY\n"
    "if memory or the pool's pages are; SIZE, FORMAT, STRIDE, DEVICE. On failure nothing is appended.");
PyDoc_STRVAR(
    attend_doc,
    "attend(q, scale=None, causal=True, window=0, softcap=0.0, sink_positions=0, sinks=None, "
    "slopes=None,\n"
    "       lse=False, partial=False, out=None, arithmetic=None)\n--\n\n"
    "Attention of the newest n positions, which have been appended, over all that they see.\n\n"
    "q      [n, H, D], or [H, D] of one position; float32, float16 or bfloat16; H is a multiple of G\n"
    "scale  1 / sqrt(D) if it is None. The other options are those of libtqkv.attention()\n"
    "out    where results go: float32, float16 or bfloat16 [n, H, E]; a new array of q's type and "
    "library\n\n"
    "Returns out; (out, lse [n, H]); or with `partial` (acc [n, H, E], max [n, H], sum [n, H]), for "
    "merge().\n"
    "TqkvError: POSITION if there are fewer than n positions, or a window does not reach so far back;\n"
    "NOT_FINITE for q; SIZE, HEAD_DIM, HEADS, FORMAT, STRIDE, SCALE, DEVICE.");
PyDoc_STRVAR(truncate_doc,
             "truncate(length)\n--\n\n"
             "Forgets all positions from `length` on. What has been encoded stays so.\n\n"
             "TqkvError: POSITION if length is beyond what is there, or a ring or window has\n"
             "forgotten what the next query would look back on. On failure nothing changes.");
PyDoc_STRVAR(reserve_doc,
             "reserve(length)\n--\n\n"
             "Takes the memory, or a pool's pages, that appends up to `length` will need.\n\n"
             "TqkvError: POSITION beyond the capacity, NO_MEMORY. On failure nothing changes.");
PyDoc_STRVAR(clear_doc,
             "clear()\n--\n\n"
             "Forgets everything, learned centres too. Memory is kept, pages return to their pool.");
PyDoc_STRVAR(
    import_doc,
    "import_block(block)\n--\n\n"
    "Appends what export_block() of a cache of the same kind gave; any object with the buffer\n"
    "protocol.\n\n"
    "TqkvError: the FILE_ statuses with the byte at fault, POLICY and POSITION if the block does not\n"
    "belong behind what is there, NO_MEMORY. On failure nothing changes.");
PyDoc_STRVAR(centre_doc,
             "k_centre(position)\n--\n\n"
             "What is subtracted from the keys of a position, float16 [G, D]; None: nothing is,\n"
             "or it is not learned yet.");

PyMethodDef core_cache_methods[] = {
    {"append", (PyCFunction)(void (*)(void))append, METH_FASTCALL | METH_KEYWORDS, append_doc},
    {"attend", (PyCFunction)(void (*)(void))attend, METH_FASTCALL | METH_KEYWORDS, attend_doc},
    {"truncate", truncate_cache, METH_O, truncate_doc},
    {"reserve", reserve, METH_O, reserve_doc},
    {"clear", clear, METH_NOARGS, clear_doc},
    {"_fork", fork_cache, METH_O, NULL},
    {"_export", (PyCFunction)core_cache_export, METH_VARARGS, NULL},
    {"_decode", core_cache_decode, METH_VARARGS, NULL},
    {"import_block", (PyCFunction)core_cache_import, METH_O, import_doc},
    {"k_centre", (PyCFunction)core_cache_centre, METH_O, centre_doc},
    {NULL, NULL, 0, NULL}};
