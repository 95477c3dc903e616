/* SPDX-License-Identifier: MIT
 * Blocks of a cache's positions, and its centres. */
#include <string.h>

#include "core.h"

/* _export(first, end, into): `into` a writable buffer, or None for new bytes; the bytes written, or
 * bytes. */
PyObject *core_cache_export(PyObject *self, PyObject *args) {
    core_cache *c = (core_cache *)self;
    unsigned long long from, to;
    PyObject *into, *made = NULL;
    Py_buffer b = {0};
    size_t size = 0;
    tq_status status;
    if (!PyArg_ParseTuple(args, "KKO", &from, &to, &into)) return NULL;
    if (into != Py_None && PyObject_GetBuffer(into, &b, PyBUF_WRITABLE) < 0) return NULL;
    Py_BEGIN_ALLOW_THREADS pthread_rwlock_rdlock(&c->lock);
    status = tq_cache_export_size(c->cache, from, to, &size);
    if (status == TQ_OK && into != Py_None)
        status = tq_cache_export(c->cache, from, to, b.buf, (size_t)b.len);
    pthread_rwlock_unlock(&c->lock);
    Py_END_ALLOW_THREADS if (into != Py_None) PyBuffer_Release(&b);
    if (status != TQ_OK) return core_raise(status);
    if (into != Py_None) return PyLong_FromSize_t(size);
    made = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)size);
    if (made == NULL) return NULL;
    char *data = PyBytes_AsString(made);
    /* A cache that another thread has changed meanwhile may need more: that is then said. */
    Py_BEGIN_ALLOW_THREADS pthread_rwlock_rdlock(&c->lock);
    status = tq_cache_export(c->cache, from, to, data, size);
    pthread_rwlock_unlock(&c->lock);
    Py_END_ALLOW_THREADS if (status == TQ_OK) return made;
    core_raise(status);
    Py_DECREF(made);
    return NULL;
}

/* import_block(block) */
PyObject *core_cache_import(PyObject *self, PyObject *block) {
    core_cache *c = (core_cache *)self;
    Py_buffer b;
    tq_status status;
    if (PyObject_GetBuffer(block, &b, PyBUF_SIMPLE) < 0) return NULL;
    Py_BEGIN_ALLOW_THREADS pthread_rwlock_wrlock(&c->lock);
    status = tq_cache_import(c->cache, b.buf, (size_t)b.len);
    pthread_rwlock_unlock(&c->lock);
    Py_END_ALLOW_THREADS PyBuffer_Release(&b);
    return core_done(true, status);
}

/* k_centre(position) -> float16 [G][D], or None */
PyObject *core_cache_centre(PyObject *self, PyObject *position) {
    core_cache *c = (core_cache *)self;
    uint64_t at;
    if (core_size(position, "position", 0, &at) < 0) return NULL;
    const size_t shape[] = {c->layer.n_kv_heads, c->layer.k.head_dim};
    PyObject *made = core_array_new(NULL, CORE_F16, 2, shape);
    core_array a = {0};
    if (made == NULL || core_array_get(made, &a, "centre", CORE_BIT(CORE_F16), true, 2, 2) < 0) {
        Py_XDECREF(made);
        return NULL;
    }
    bool there;
    Py_BEGIN_ALLOW_THREADS pthread_rwlock_rdlock(&c->lock);
    const uint16_t *centre = tq_cache_k_centre(c->cache, at);
    there = centre != NULL;
    if (there) memcpy(a.data, centre, a.n * a.item);
    pthread_rwlock_unlock(&c->lock);
    Py_END_ALLOW_THREADS core_array_release(&a);
    if (there) return made;
    Py_DECREF(made);
    Py_RETURN_NONE;
}

/* block_info(block) -> dict */
PyObject *core_block_info(PyObject *self, PyObject *block) {
    (void)self;
    Py_buffer b;
    tq_cache_block info = {.size = sizeof info};
    tq_status status;
    if (PyObject_GetBuffer(block, &b, PyBUF_SIMPLE) < 0) return NULL;
    Py_BEGIN_ALLOW_THREADS status = tq_cache_block_info(b.buf, (size_t)b.len, &info);
    Py_END_ALLOW_THREADS PyBuffer_Release(&b);
    if (status != TQ_OK) return core_raise(status);
    return Py_BuildValue(
        "{sIsIsIszszsKsKsKsKsKsOsnsn}", "n_kv_heads", (unsigned)info.layer.n_kv_heads, "head_dim",
        (unsigned)info.layer.k.head_dim, "v_head_dim", (unsigned)info.layer.v.head_dim, "k_format",
        info.layer.k_store == TQ_STORE_CODES ? tq_format_name(info.layer.k.format) : NULL, "v_format",
        info.layer.v_store == TQ_STORE_CODES ? tq_format_name(info.layer.v.format) : NULL, "first",
        info.first, "sinks_end", info.sinks_end, "codes_first", info.codes_first, "codes_end",
        info.codes_end, "end", info.end, "has_k_centre", info.has_k_centre ? Py_True : Py_False,
        "centre_stretch", (Py_ssize_t)info.centre_stretch, "bytes", (Py_ssize_t)info.bytes);
}
