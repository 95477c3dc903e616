/* SPDX-License-Identifier: MIT
 * The library's failures as exceptions. */
#include <string.h>

#include "core.h"

static PyObject *error_type;

int core_errors_begin(void) {
    PyObject *module = PyImport_ImportModule("libtqkv.errors");
    if (module == NULL) return -1;
    error_type = PyObject_GetAttrString(module, "_raised");
    Py_DECREF(module);
    return error_type != NULL ? 0 : -1;
}

PyObject *core_raise(tq_status status) {
    /* Copied first: making an exception runs code that may fail in the library itself. */
    const tq_error e = *tq_last_error();
    /* The argument that C calls src, or keys to learn from, is x to Python. */
    const bool is_x = strcmp(e.field, "src") == 0 || strcmp(e.field, "keys") == 0;
    const size_t n = strlen(e.field);
    const bool says = is_x && strncmp(e.message, e.field, n) == 0 && e.message[n] == '[';
    PyObject *words = PyUnicode_FromFormat("%s%s", says ? "x" : "", says ? e.message + n : e.message);
    if (words == NULL) return NULL;
    PyObject *error = PyObject_CallFunction(error_type, "isNK", (int)status, is_x ? "x" : e.field, words,
                                            (unsigned long long)e.index);
    if (error == NULL) return NULL;
    PyErr_SetObject((PyObject *)Py_TYPE(error), error);
    Py_DECREF(error);
    return NULL;
}

PyObject *core_done(bool ready, tq_status status) {
    if (!ready) return NULL;
    if (status != TQ_OK) return core_raise(status);
    Py_RETURN_NONE;
}
