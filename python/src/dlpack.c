/* SPDX-License-Identifier: MIT
 * Tensors by DLPack, in place. The layouts are those of its specification, versions 0.x and 1.x. */
#include <string.h>

#include "core.h"

typedef struct dl_tensor {
    void *data;
    int32_t device_type, device_id;
    int32_t ndim;
    uint8_t code, bits;
    uint16_t lanes;
    int64_t *shape, *strides; /* strides in elements; NULL: side by side */
    uint64_t byte_offset;
} dl_tensor;

typedef struct dl_managed {
    dl_tensor tensor;
    void *context;
    void (*deleter)(struct dl_managed *);
} dl_managed;

typedef struct dl_managed_versioned {
    uint32_t major, minor;
    void *context;
    void (*deleter)(struct dl_managed_versioned *);
    uint64_t flags;
    dl_tensor tensor;
} dl_managed_versioned;

enum { DL_CPU = 1, DL_CUDA = 2, DL_CUDA_HOST = 3, DL_CUDA_MANAGED = 13, DL_READ_ONLY = 1 };
enum { DL_INT = 0, DL_UINT = 1, DL_FLOAT = 2, DL_BFLOAT = 4 };

static int check_device(const core_array *a, long type, long id) {
    const bool cuda = type == DL_CUDA || type == DL_CUDA_MANAGED;
    if (a->stream != NULL ? cuda && id == a->device : type == DL_CPU || type == DL_CUDA_HOST) return 0;
    if (a->stream != NULL)
        core_refuse(TQ_E_DEVICE, (uint64_t)id, a->field,
                    "%s lies on %s %ld, and other arrays of the call on CUDA device %d", a->field,
                    cuda ? "CUDA device" : "a device that CUDA's is not,", id, a->device);
    else
        core_refuse(
            TQ_E_DEVICE, (uint64_t)id, a->field,
            cuda ? "%s lies on CUDA device %ld, and this call works on the CPU: copy it there, %s.cpu()"
                 : "%s lies on device %ld of a kind that is not the CPU: copy it there, %s.cpu()",
            a->field, id, a->field);
    return -1;
}

/* Asked before the capsule, since exporters wait for devices. */
static int ask_device(PyObject *o, const core_array *a) {
    PyObject *device = PyObject_CallMethod(o, "__dlpack_device__", NULL);
    if (device == NULL) {
        if (PyErr_ExceptionMatches(PyExc_AttributeError)) {
            PyErr_Clear();
            PyErr_Format(PyExc_TypeError,
                         "%s must be an array: something with the buffer protocol or DLPack", a->field);
        }
        return -1;
    }
    if (!PyTuple_Check(device) || PyTuple_Size(device) != 2) {
        Py_DECREF(device);
        PyErr_Format(PyExc_TypeError, "%s.__dlpack_device__() gives no (type, number)", a->field);
        return -1;
    }
    PyObject *type = PyTuple_GetItem(device, 0), *id = type != NULL ? PyTuple_GetItem(device, 1) : NULL;
    PyObject *number = type != NULL ? PyNumber_Long(type) : NULL; /* an enum of the exporter's */
    const long t = number != NULL ? PyLong_AsLong(number) : -1, i = id != NULL ? PyLong_AsLong(id) : -1;
    Py_XDECREF(number);
    Py_DECREF(device);
    return PyErr_Occurred() ? -1 : check_device(a, t, i);
}

/* A capsule in the order of a stream; PyTorch before 2.9 knows no max_version. */
static PyObject *ask_on_stream(PyObject *o, PyObject *stream) {
    PyObject *export = PyObject_GetAttrString(o, "__dlpack__"), *none = PyTuple_New(0), *capsule = NULL;
    PyObject *named = Py_BuildValue("{sOs(ii)}", "stream", stream, "max_version", 1, 0);
    if (export != NULL && none != NULL && named != NULL) capsule = PyObject_Call(export, none, named);
    if (capsule == NULL && named != NULL && PyErr_ExceptionMatches(PyExc_TypeError)) {
        PyErr_Clear();
        if (PyDict_DelItemString(named, "max_version") == 0) capsule = PyObject_Call(export, none, named);
    }
    Py_XDECREF(named);
    Py_XDECREF(none);
    Py_XDECREF(export);
    return capsule;
}

/* A capsule of version 1, or of version 0 from those who know no other. */
static PyObject *ask_capsule(PyObject *o) {
    static PyTypeObject *old_type; /* the last one that refused: it need not be asked again and again */
    PyObject *export = PyObject_GetAttrString(o, "__dlpack__"), *capsule = NULL;
    if (export == NULL) return NULL;
    if (Py_TYPE(o) != old_type) {
        PyObject *none = PyTuple_New(0), *named = Py_BuildValue("{s(ii)}", "max_version", 1, 0);
        if (none != NULL && named != NULL) capsule = PyObject_Call(export, none, named);
        Py_XDECREF(none);
        Py_XDECREF(named);
    }
    if (capsule == NULL && (Py_TYPE(o) == old_type || PyErr_ExceptionMatches(PyExc_TypeError))) {
        PyErr_Clear();
        capsule = PyObject_CallNoArgs(export);
        if (capsule != NULL && Py_TYPE(o) != old_type) {
            PyObject *held = (PyObject *)old_type;
            old_type = Py_TYPE(o);
            Py_INCREF((PyObject *)old_type);
            Py_XDECREF(held);
        }
    }
    Py_DECREF(export);
    return capsule;
}

static int read_kind(const dl_tensor *t, core_array *a) {
    const int code = t->code, bits = t->lanes == 1 ? t->bits : 0;
    if (code == DL_FLOAT && bits == 32)
        a->kind = CORE_F32;
    else if (code == DL_FLOAT && bits == 16)
        a->kind = CORE_F16;
    else if (code == DL_BFLOAT && bits == 16)
        a->kind = CORE_BF16;
    else if (code == DL_UINT && bits == 8)
        a->kind = CORE_U8;
    else if (code == DL_UINT && bits == 16)
        a->kind = CORE_U16;
    else if (code == DL_INT && bits == 32)
        a->kind = CORE_I32;
    else if (code == DL_INT && bits == 64)
        a->kind = CORE_I64;
    else {
        static const char *const names[] = {"int", "uint", "float", [5] = "complex", [6] = "bool"};
        if (code <= 6 && names[code] != NULL)
            core_refuse(TQ_E_FORMAT, 0, a->field,
                        "%s has elements of type %s%d, not float32, float16 or bfloat16", a->field,
                        names[code], (int)t->bits);
        else
            core_refuse(
                TQ_E_FORMAT, 0, a->field,
                "%s has elements of %d bits of DLPack's type %d, not float32, float16 or bfloat16",
                a->field, (int)t->bits, code);
        return -1;
    }
    return 0;
}

static int read_tensor(const dl_tensor *t, core_array *a, int64_t *strides) {
    if (check_device(a, t->device_type, t->device_id) < 0 || read_kind(t, a) < 0) return -1;
    a->data = (char *)t->data + t->byte_offset;
    a->n_dims = t->ndim;
    int64_t beside = 1;
    for (int i = t->ndim - 1; i >= 0; i--) {
        if (t->shape[i] < 0) {
            core_refuse(TQ_E_SIZE, (uint64_t)i, a->field, "dimension %d of %s is negative", i, a->field);
            return -1;
        }
        if (i < CORE_MAX_DIMS) {
            a->shape[i] = (size_t)t->shape[i];
            strides[i] = t->strides != NULL ? t->strides[i] : beside;
        }
        beside *= t->shape[i];
    }
    return 0;
}

int core_dlpack_get(PyObject *o, core_array *a, bool writable, int64_t *strides) {
    if (ask_device(o, a) < 0) return -1;
    a->keeper = a->stream != NULL ? ask_on_stream(o, a->stream) : ask_capsule(o);
    if (a->keeper == NULL) return -1;
    /* The capsule keeps its first name, and so the tensor is let go with it: it is not handed on. */
    if (PyCapsule_IsValid(a->keeper, "dltensor_versioned")) {
        const dl_managed_versioned *m = PyCapsule_GetPointer(a->keeper, "dltensor_versioned");
        if (m->major != 1) {
            core_refuse(TQ_E_UNSUPPORTED, m->major, a->field, "%s comes by DLPack %u.%u, not 1", a->field,
                        (unsigned)m->major, (unsigned)m->minor);
            return -1;
        }
        if (writable && (m->flags & DL_READ_ONLY)) {
            core_refuse(TQ_E_UNSUPPORTED, 0, a->field, "%s may not be written to", a->field);
            return -1;
        }
        return read_tensor(&m->tensor, a, strides);
    }
    const dl_managed *m = PyCapsule_GetPointer(a->keeper, "dltensor");
    return m != NULL ? read_tensor(&m->tensor, a, strides) : -1;
}

void core_dlpack_release(core_array *a) {
    Py_CLEAR(a->keeper);
}
