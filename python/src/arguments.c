/* SPDX-License-Identifier: MIT
 * Arguments of calls that are made for every token: the limited API has no fast reader of keywords. */
#include <math.h>

#include "core.h"

static int place_of(PyObject *name, const char *const *names, int n) {
    for (int i = 0; i < n; i++)
        if (PyUnicode_CompareWithASCIIString(name, names[i]) == 0) return i;
    return -1;
}

static int keyword(const char *function, PyObject *name, PyObject *value, const char *const *names, int n,
                   PyObject **out) {
    const int at = place_of(name, names, n);
    if (at < 0) {
        PyErr_Format(PyExc_TypeError, "%s() has no argument '%U'", function, name);
        return -1;
    }
    if (out[at] != NULL) {
        PyErr_Format(PyExc_TypeError, "%s() got '%s' twice", function, names[at]);
        return -1;
    }
    out[at] = value;
    return 0;
}

int core_arguments(const char *function, PyObject *const *args, Py_ssize_t n_args, PyObject *names_given,
                   const char *const *names, int n, int positional, int needed, PyObject **out) {
    const Py_ssize_t n_keywords = names_given != NULL ? PyTuple_Size(names_given) : 0;
    for (int i = 0; i < n; i++)
        out[i] = NULL;
    if (n_args > positional) {
        PyErr_Format(PyExc_TypeError, "%s() takes %d arguments without names, not %zd", function,
                     positional, n_args);
        return -1;
    }
    for (Py_ssize_t i = 0; i < n_args; i++)
        out[i] = args[i];
    for (Py_ssize_t i = 0; i < n_keywords; i++)
        if (keyword(function, PyTuple_GetItem(names_given, i), args[n_args + i], names, n, out) < 0)
            return -1;
    for (int i = 0; i < n; i++) {
        if (out[i] == Py_None) out[i] = NULL;
        if (out[i] == NULL && i < needed) {
            PyErr_Format(PyExc_TypeError, "%s() needs '%s'", function, names[i]);
            return -1;
        }
    }
    return 0;
}

int core_size(PyObject *o, const char *field, uint64_t usual, uint64_t *out) {
    *out = usual;
    if (o == NULL) return 0;
    PyObject *number = PyNumber_Index(o);
    if (number == NULL) return -1;
    *out = PyLong_AsUnsignedLongLong(number);
    Py_DECREF(number);
    if (!PyErr_Occurred()) return 0;
    if (!PyErr_ExceptionMatches(PyExc_OverflowError)) return -1;
    PyErr_Clear();
    core_refuse(TQ_E_POSITION, 0, field, "%s must be a whole number from 0 to 2^64 - 1", field);
    return -1;
}

int core_float(PyObject *o, float usual, float *out) {
    *out = usual;
    if (o == NULL) return 0;
    const double x = PyFloat_AsDouble(o);
    if (x == -1.0 && PyErr_Occurred()) return -1;
    *out = (float)x;
    return 0;
}

int core_bool(PyObject *o, bool usual, bool *out) {
    const int truth = o != NULL ? PyObject_IsTrue(o) : usual;
    *out = truth > 0;
    return truth < 0 ? -1 : 0;
}
