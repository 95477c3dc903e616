/* SPDX-License-Identifier: MIT
 * Encoded tensors in files, those of the command tqkv. */
#include <string.h>

#include "core.h"

/* save(path, parts) */
static PyObject *save(PyObject *self, PyObject *args) {
    (void)self;
    PyObject *path, *parts;
    core_encoded e = {0};
    if (!PyArg_ParseTuple(args, "O&O", PyUnicode_FSConverter, &path, &parts)) return NULL;
    tq_status status = TQ_OK;
    const bool ready = core_encoded_begin(parts, &e) == 0;
    if (ready) {
        const char *name = PyBytes_AsString(path);
        Py_BEGIN_ALLOW_THREADS status = tq_encoded_write(name, &e.tensor);
        Py_END_ALLOW_THREADS
    }
    core_encoded_end(&e);
    Py_DECREF(path);
    return core_done(ready, status);
}

/* A new array with these bytes. */
static PyObject *copied(core_kind kind, int n_dims, const size_t *shape, const void *bytes, size_t n) {
    PyObject *made = core_array_new(NULL, kind, n_dims, shape);
    core_array a = {0};
    if (made == NULL || core_array_get(made, &a, "loaded", CORE_BIT(kind), true, n_dims, n_dims) < 0) {
        core_array_release(&a);
        Py_XDECREF(made);
        return NULL;
    }
    memcpy(a.data, bytes, n);
    core_array_release(&a);
    return made;
}

static PyObject *parts_of(const tq_encoded *t) {
    const bool v1 = TQ_IS_V1(t->codec.format);
    const size_t rows = t->n_kv_heads * t->capacity;
    const size_t codes[] = {t->n_kv_heads, t->capacity, rows != 0 ? t->n_codes / rows : 0};
    const size_t norms[] = {t->n_kv_heads, t->capacity, rows != 0 ? t->n_norms / rows / 4 : 0};
    const size_t centres[] = {t->n_centres, t->n_kv_heads, t->codec.head_dim};
    PyObject *c = copied(CORE_U8, 3, codes, t->codes, t->n_codes);
    PyObject *n = copied(v1 ? CORE_F32 : CORE_F16, v1 ? 3 : 2, norms, t->norms, t->n_norms);
    PyObject *m = t->centre != NULL ? copied(CORE_F16, 3, centres, t->centre,
                                             centres[0] * centres[1] * centres[2] * sizeof(uint16_t))
                                    : Py_BuildValue("");
    if (c == NULL || n == NULL || m == NULL) {
        Py_XDECREF(c);
        Py_XDECREF(n);
        Py_XDECREF(m);
        return NULL;
    }
    return Py_BuildValue("(iIif)NNNnnnn", (int)t->codec.format, (unsigned)t->codec.head_dim,
                         (int)t->codec.norm_rule, (double)t->codec.scale_factor_d512, c, n, m,
                         (Py_ssize_t)t->n_positions, (Py_ssize_t)t->ring_start,
                         (Py_ssize_t)t->centre_stretch, (Py_ssize_t)t->first_position);
}

/* load(path) -> parts */
static PyObject *load(PyObject *self, PyObject *args) {
    (void)self;
    PyObject *path;
    tq_encoded t = {0};
    if (!PyArg_ParseTuple(args, "O&", PyUnicode_FSConverter, &path)) return NULL;
    const char *name = PyBytes_AsString(path);
    tq_status status;
    Py_BEGIN_ALLOW_THREADS status = tq_encoded_read(name, &t);
    Py_END_ALLOW_THREADS Py_DECREF(path);
    if (status != TQ_OK) return core_raise(status);
    PyObject *parts = parts_of(&t);
    tq_encoded_free(&t);
    return parts;
}

/* get(parts, out, rotated): what a ring holds, oldest first, into out float32 [G][T][D]. */
static PyObject *get(PyObject *self, PyObject *args) {
    (void)self;
    PyObject *parts, *out;
    int rotated;
    core_encoded e = {0};
    core_array to = {0};
    tq_status status = TQ_OK;
    if (!PyArg_ParseTuple(args, "OOp", &parts, &out, &rotated)) return NULL;
    bool ready = core_encoded_begin(parts, &e) == 0 &&
                 core_array_get(out, &to, "out", CORE_BIT(CORE_F32), true, 3, 3) == 0 &&
                 core_array_expect(&to, 0, e.tensor.n_kv_heads, "the number of heads") == 0 &&
                 core_array_expect(&to, 1, e.tensor.n_positions, "the number of positions") == 0 &&
                 core_array_expect(&to, 2, e.tensor.codec.head_dim, "the head_dim") == 0;
    if (ready && to.shape[1] > 1 && to.stride[1] != to.shape[2]) {
        core_refuse(TQ_E_STRIDE, 1, "out", "rows of out must lie side by side for a ring");
        ready = false;
    }
    if (ready) {
        Py_BEGIN_ALLOW_THREADS status =
            tq_encoded_get(&e.tensor, 0, e.tensor.n_positions, rotated ? TQ_ROTATED : TQ_ORIGINAL,
                           to.data, to.n, to.stride[0]);
        Py_END_ALLOW_THREADS
    }
    core_encoded_end(&e);
    core_array_release(&to);
    return core_done(ready, status);
}

PyMethodDef core_file_methods[] = {{"save", save, METH_VARARGS, NULL},
                                   {"load", load, METH_VARARGS, NULL},
                                   {"get", get, METH_VARARGS, NULL},
                                   {NULL, NULL, 0, NULL}};
