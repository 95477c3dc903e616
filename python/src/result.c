/* SPDX-License-Identifier: MIT
 * Arrays for results: of the library that the caller's own arrays are of. */
#include "core.h"

static PyObject *shape_tuple(int n_dims, const size_t *shape) {
    PyObject *tuple = PyTuple_New(n_dims);
    for (int i = 0; tuple != NULL && i < n_dims; i++) {
        PyObject *n = PyLong_FromSize_t(shape[i]);
        if (n == NULL || PyTuple_SetItem(tuple, i, n) < 0) {
            Py_DECREF(tuple);
            return NULL;
        }
    }
    return tuple;
}

/* module.name */
static PyObject *attribute(const char *module_name, const char *name) {
    PyObject *module = PyImport_ImportModule(module_name);
    PyObject *value = module != NULL ? PyObject_GetAttrString(module, name) : NULL;
    Py_XDECREF(module);
    return value;
}

static PyObject *numpy_new(PyObject *like, core_kind kind, PyObject *shape) {
    static PyObject *empty, *dtypes[CORE_KINDS];
    if (empty == NULL) empty = attribute("numpy", "empty");
    if (empty == NULL) return NULL;
    if (kind == CORE_BF16) { /* that of ml_dtypes, which NumPy itself does not know */
        PyObject *dtype = like != NULL ? PyObject_GetAttrString(like, "dtype") : NULL;
        PyObject *made = dtype != NULL ? PyObject_CallFunctionObjArgs(empty, shape, dtype, NULL) : NULL;
        Py_XDECREF(dtype);
        return made;
    }
    if (dtypes[kind] == NULL) dtypes[kind] = PyUnicode_InternFromString(core_kind_name(kind));
    return dtypes[kind] != NULL ? PyObject_CallFunctionObjArgs(empty, shape, dtypes[kind], NULL) : NULL;
}

static PyObject *torch_new(PyObject *like, core_kind kind, PyObject *shape) {
    static PyObject *dtypes[CORE_KINDS];
    if (dtypes[kind] == NULL) dtypes[kind] = attribute("torch", core_kind_name(kind));
    PyObject *new_empty = PyObject_GetAttrString(like, "new_empty"), *made = NULL;
    PyObject *args = PyTuple_Pack(1, shape);
    PyObject *named = dtypes[kind] != NULL ? Py_BuildValue("{sO}", "dtype", dtypes[kind]) : NULL;
    if (new_empty != NULL && args != NULL && named != NULL) made = PyObject_Call(new_empty, args, named);
    Py_XDECREF(named);
    Py_XDECREF(args);
    Py_XDECREF(new_empty);
    return made;
}

PyObject *core_array_new(PyObject *like, core_kind kind, int n_dims, const size_t *shape) {
    PyObject *tuple = shape_tuple(n_dims, shape);
    if (tuple == NULL) return NULL;
    const bool tensor =
        like != NULL && !PyObject_CheckBuffer(like) && PyObject_HasAttrString(like, "new_empty");
    PyObject *made = tensor ? torch_new(like, kind, tuple) : numpy_new(like, kind, tuple);
    Py_DECREF(tuple);
    return made;
}
