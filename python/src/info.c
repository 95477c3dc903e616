/* SPDX-License-Identifier: MIT
 * What the library is and what it knows: versions, formats, levels of instruction sets, threads. */
#include "core.h"

static PyObject *version(PyObject *self, PyObject *none) {
    (void)self, (void)none;
    return PyUnicode_FromString(tq_version());
}

/* formats() -> [(name, number, bits)] */
static PyObject *formats(PyObject *self, PyObject *none) {
    (void)self, (void)none;
    size_t n;
    const tq_format *all = tq_formats(&n);
    PyObject *list = PyList_New(0);
    for (size_t i = 0; list != NULL && i < n; i++) {
        PyObject *one = Py_BuildValue("siI", tq_format_name(all[i]), (int)all[i], tq_format_bits(all[i]));
        if (one == NULL || PyList_Append(list, one) < 0) Py_CLEAR(list);
        Py_XDECREF(one);
    }
    return list;
}

/* format(name) -> number; rule(name) -> number */
static PyObject *format(PyObject *self, PyObject *args) {
    (void)self;
    const char *name;
    tq_format number;
    if (!PyArg_ParseTuple(args, "s", &name)) return NULL;
    const tq_status status = tq_format_from_name(name, &number);
    return status == TQ_OK ? PyLong_FromLong((long)number) : core_raise(status);
}

static PyObject *rule(PyObject *self, PyObject *args) {
    (void)self;
    const char *name;
    tq_norm_rule number;
    if (!PyArg_ParseTuple(args, "s", &name)) return NULL;
    const tq_status status = tq_norm_rule_from_name(name, &number);
    return status == TQ_OK ? PyLong_FromLong((long)number) : core_raise(status);
}

/* rule_of(format, rule) -> (number, name): what the default stands for */
static PyObject *rule_of(PyObject *self, PyObject *args) {
    (void)self;
    int f, r;
    if (!PyArg_ParseTuple(args, "ii", &f, &r)) return NULL;
    const tq_norm_rule known = tq_norm_rule_of((tq_format)f, (tq_norm_rule)r);
    return Py_BuildValue("iz", (int)known, tq_norm_rule_name(known));
}

/* row_size(codec) -> (code_bytes, norm_bytes) */
static PyObject *row_size(PyObject *self, PyObject *tuple) {
    (void)self;
    tq_codec codec;
    size_t code_bytes, norm_bytes;
    if (core_codec(tuple, &codec) < 0) return NULL;
    const tq_status status = tq_row_size(&codec, &code_bytes, &norm_bytes);
    if (status != TQ_OK) return core_raise(status);
    return Py_BuildValue("nn", (Py_ssize_t)code_bytes, (Py_ssize_t)norm_bytes);
}

static PyObject *status_name(PyObject *self, PyObject *args) {
    (void)self;
    int status;
    if (!PyArg_ParseTuple(args, "i", &status)) return NULL;
    return PyUnicode_FromString(tq_status_name((tq_status)status));
}

/* kind(name, capacity) -> (sinks, recent, learn_centre, centre_stretch) */
static PyObject *kind(PyObject *self, PyObject *args) {
    (void)self;
    const char *name;
    unsigned long long capacity;
    tq_cache_config c;
    if (!PyArg_ParseTuple(args, "sK", &name, &capacity) ||
        core_cache_kind(name, 1, 256, capacity, &c) < 0)
        return NULL;
    return Py_BuildValue("nnnn", (Py_ssize_t)c.sinks, (Py_ssize_t)c.recent, (Py_ssize_t)c.learn_centre,
                         (Py_ssize_t)c.centre_stretch);
}

/* isas() -> [(name, available)] */
static PyObject *isas(PyObject *self, PyObject *none) {
    (void)self, (void)none;
    size_t n;
    const tq_isa *all = tq_isas(&n);
    PyObject *list = PyList_New(0);
    for (size_t i = 0; list != NULL && i < n; i++) {
        PyObject *one =
            Py_BuildValue("sN", tq_isa_name(all[i]), PyBool_FromLong(tq_isa_available(all[i])));
        if (one == NULL || PyList_Append(list, one) < 0) Py_CLEAR(list);
        Py_XDECREF(one);
    }
    return list;
}

static PyObject *isa(PyObject *self, PyObject *none) {
    (void)self, (void)none;
    tq_isa active;
    const tq_status status = tq_isa_active(&active);
    return status == TQ_OK ? PyUnicode_FromString(tq_isa_name(active)) : core_raise(status);
}

static PyObject *isa_set(PyObject *self, PyObject *args) {
    (void)self;
    const char *name;
    tq_isa wanted;
    if (!PyArg_ParseTuple(args, "s", &name)) return NULL;
    tq_status status = tq_isa_from_name(name, &wanted);
    if (status == TQ_OK) status = tq_isa_set(wanted);
    return core_done(true, status);
}

static PyObject *threads(PyObject *self, PyObject *none) {
    (void)self, (void)none;
    return PyLong_FromUnsignedLong(core_threads());
}

static PyObject *threads_set(PyObject *self, PyObject *args) {
    (void)self;
    long n;
    if (!PyArg_ParseTuple(args, "l", &n)) return NULL;
    if (n < 1 || n > CORE_MAX_THREADS)
        return core_refuse(TQ_E_SIZE, 0, "threads", "threads must be 1 to %d, not %ld", CORE_MAX_THREADS,
                           n);
    Py_BEGIN_ALLOW_THREADS core_threads_set((unsigned)n);
    Py_END_ALLOW_THREADS Py_RETURN_NONE;
}

PyMethodDef core_info_methods[] = {{"version", version, METH_NOARGS, NULL},
                                   {"formats", formats, METH_NOARGS, NULL},
                                   {"format", format, METH_VARARGS, NULL},
                                   {"rule", rule, METH_VARARGS, NULL},
                                   {"rule_of", rule_of, METH_VARARGS, NULL},
                                   {"kind", kind, METH_VARARGS, NULL},
                                   {"row_size", row_size, METH_O, NULL},
                                   {"status_name", status_name, METH_VARARGS, NULL},
                                   {"isas", isas, METH_NOARGS, NULL},
                                   {"isa", isa, METH_NOARGS, NULL},
                                   {"isa_set", isa_set, METH_VARARGS, NULL},
                                   {"threads", threads, METH_NOARGS, NULL},
                                   {"threads_set", threads_set, METH_VARARGS, NULL},
                                   {NULL, NULL, 0, NULL}};
