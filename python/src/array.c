/* SPDX-License-Identifier: MIT
 * Arrays of callers, taken as they lie. */
#include <string.h>

#include "core.h"

static const struct {
    const char *name;
    char code;
    size_t item;
} kinds_known[] = {[CORE_F32] = {"float32", 'f', 4},    [CORE_F16] = {"float16", 'e', 2},
                   [CORE_BF16] = {"bfloat16", '\0', 2}, [CORE_U8] = {"uint8", 'B', 1},
                   [CORE_U16] = {"uint16", 'H', 2},     [CORE_I32] = {"int32", 'i', 4},
                   [CORE_I64] = {"int64", 'l', 8}};

enum { N_KINDS = sizeof kinds_known / sizeof kinds_known[0] };

const char *core_kind_name(core_kind kind) {
    return kinds_known[kind].name;
}

/* What NumPy calls the types of these formats; those of the other byte order, and others, as they are. */
static const char *name_of_format(const char *format) {
    static const struct {
        const char *format, *name;
    } known[] = {{"d", "float64"},    {"g", "longdouble"}, {"?", "bool"},   {"b", "int8"},
                 {"h", "int16"},      {"i", "int32"},      {"I", "uint32"}, {"l", "int64"},
                 {"L", "uint64"},     {"q", "int64"},      {"Q", "uint64"}, {"Zf", "complex64"},
                 {"Zd", "complex128"}};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (strcmp(format, known[i].format) == 0) return known[i].name;
    return format;
}

static int refuse_kind(const char *field, unsigned kinds, const char *is) {
    char list[96] = "";
    for (size_t i = 0; i < N_KINDS; i++)
        if (kinds & CORE_BIT(i)) {
            if (list[0] != '\0') strcat(list, ", ");
            strcat(list, kinds_known[i].name);
        }
    core_refuse(TQ_E_FORMAT, 0, field, "%s has elements of type %s, not %s", field, is, list);
    return -1;
}

/* The kind of a buffer's elements by its format, in this machine's byte order; -1: none of ours. */
static int kind_of(const Py_buffer *b) {
    const char *format = b->format != NULL ? b->format : "B";
    const uint16_t one = 1;
    const bool little = *(const unsigned char *)&one == 1;
    if (*format == '@' || *format == '=' || *format == (little ? '<' : '>')) format++;
    for (int i = 0; i < N_KINDS; i++)
        if (kinds_known[i].code != '\0' && format[0] == kinds_known[i].code && format[1] == '\0')
            return i;
    return -1;
}

int core_array_finish(core_array *a, const int64_t *byte_strides) {
    size_t beside = 1;
    uint64_t last = 0;
    bool empty = false;
    for (int i = 0; i < a->n_dims; i++)
        if (a->shape[i] == 0) empty = true;
    for (int i = a->n_dims - 1; i >= 0; i--) {
        const int64_t bytes = byte_strides[i];
        if (a->shape[i] <= 1 || empty)
            a->stride[i] = beside; /* nobody steps there, and NumPy may have anything in it */
        else if (bytes <= 0 || (uint64_t)bytes % a->item != 0) {
            core_refuse(
                TQ_E_STRIDE, (uint64_t)i, a->field,
                "dimension %d of %s has a stride of %lld bytes: it must be positive and a multiple "
                "of %zu; copy the array",
                i, a->field, (long long)bytes, a->item);
            return -1;
        } else
            a->stride[i] = (size_t)bytes / a->item;
        uint64_t step, next;
        if (__builtin_mul_overflow((uint64_t)(a->shape[i] > 0 ? a->shape[i] - 1 : 0),
                                   (uint64_t)a->stride[i], &step) ||
            __builtin_add_overflow(last, step, &last) ||
            __builtin_mul_overflow((uint64_t)a->shape[i], (uint64_t)a->stride[i], &next) ||
            last > SIZE_MAX / 2 / a->item) {
            core_refuse(TQ_E_OVERFLOW, (uint64_t)i, a->field, "%s is larger than memory can be",
                        a->field);
            return -1;
        }
        beside = next > 0 ? (size_t)next : 1;
    }
    a->n = empty ? 0 : (size_t)last + 1;
    const int inner = a->n_dims - 1;
    if (inner >= 0 && a->shape[inner] > 1 && a->stride[inner] != 1) {
        core_refuse(TQ_E_STRIDE, (uint64_t)inner, a->field,
                    "the last dimension of %s does not lie side by side; copy the array", a->field);
        return -1;
    }
    if (a->n > 0 && (uintptr_t)a->data % a->item != 0) {
        core_refuse(TQ_E_STRIDE, 0, a->field, "%s is not aligned to its %zu-byte elements", a->field,
                    a->item);
        return -1;
    }
    return 0;
}

static int take_buffer(PyObject *o, core_array *a, unsigned kinds, bool writable, int64_t *byte_strides) {
    if (PyObject_GetBuffer(o, &a->buffer,
                           PyBUF_STRIDES | PyBUF_FORMAT | (writable ? PyBUF_WRITABLE : 0)) < 0) {
        a->buffer.obj = NULL;
        return -1;
    }
    const int kind = kind_of(&a->buffer);
    if (kind < 0 || !(kinds & CORE_BIT(kind)))
        return refuse_kind(a->field, kinds,
                           kind >= 0
                               ? kinds_known[kind].name
                               : (a->buffer.format != NULL ? name_of_format(a->buffer.format) : "bytes"));
    a->kind = (core_kind)kind;
    a->item = kinds_known[kind].item;
    a->data = a->buffer.buf;
    a->n_dims = a->buffer.ndim;
    for (int i = 0; i < a->n_dims && i < CORE_MAX_DIMS; i++) {
        a->shape[i] = (size_t)a->buffer.shape[i];
        byte_strides[i] = (int64_t)a->buffer.strides[i];
    }
    return 0;
}

/* What ml_dtypes' bfloat16 is to NumPy, which exports it by neither protocol: a view of its bits is. */
static PyObject *bits_of_bfloat16(PyObject *o) {
    PyObject *dtype = PyObject_GetAttrString(o, "dtype"), *name = NULL, *bits = NULL;
    if (dtype != NULL) name = PyObject_GetAttrString(dtype, "name");
    if (name != NULL && PyUnicode_Check(name) && PyUnicode_CompareWithASCIIString(name, "bfloat16") == 0)
        bits = PyObject_CallMethod(o, "view", "s", "uint16");
    Py_XDECREF(name);
    Py_XDECREF(dtype);
    return bits;
}

static int take(PyObject *o, core_array *a, unsigned kinds, bool writable, int64_t *byte_strides) {
    if (a->stream != NULL && PyObject_CheckBuffer(o)) {
        core_refuse(TQ_E_DEVICE, 0, a->field,
                    "%s lies on the CPU, and other arrays of the call on CUDA device %d", a->field,
                    a->device);
        return -1;
    }
    if (!PyObject_CheckBuffer(o)) {
        if (core_dlpack_get(o, a, writable, byte_strides) < 0) return -1;
        if (!(kinds & CORE_BIT(a->kind))) return refuse_kind(a->field, kinds, kinds_known[a->kind].name);
        a->item = kinds_known[a->kind].item;
        for (int i = 0; i < a->n_dims && i < CORE_MAX_DIMS; i++)
            byte_strides[i] *= (int64_t)a->item;
        return 0;
    }
    if (take_buffer(o, a, kinds, writable, byte_strides) == 0) return 0;
    if (a->buffer.obj != NULL) return -1;
    PyObject *type, *value, *trace;
    PyErr_Fetch(&type, &value, &trace);
    PyObject *bits = kinds & CORE_BIT(CORE_BF16) ? bits_of_bfloat16(o) : NULL;
    if (bits == NULL) {
        PyErr_Restore(type, value, trace);
        if (writable && PyErr_ExceptionMatches(PyExc_ValueError)) {
            PyErr_Clear();
            core_refuse(TQ_E_UNSUPPORTED, 0, a->field, "%s may not be written to", a->field);
        }
        return -1;
    }
    const int failed = take_buffer(bits, a, CORE_BIT(CORE_U16), writable, byte_strides);
    Py_DECREF(bits); /* the buffer keeps it */
    Py_XDECREF(type);
    Py_XDECREF(value);
    Py_XDECREF(trace);
    a->kind = CORE_BF16;
    return failed;
}

int core_array_get(PyObject *o, core_array *a, const char *field, unsigned kinds, bool writable,
                   int least, int most) {
    int64_t byte_strides[CORE_MAX_DIMS] = {0};
    a->field = field;
    if (take(o, a, kinds, writable, byte_strides) < 0) return -1;
    if (a->n_dims < least || a->n_dims > most) {
        core_refuse(TQ_E_SIZE, (uint64_t)a->n_dims, field,
                    least == most ? "%s has %d dimensions, not %d" : "%s has %d dimensions, not %d to %d",
                    field, a->n_dims, least, most);
        return -1;
    }
    return core_array_finish(a, byte_strides);
}

void core_array_release(core_array *a) {
    if (a->buffer.obj != NULL) PyBuffer_Release(&a->buffer);
    core_dlpack_release(a);
}

int core_array_expect(const core_array *a, int at, size_t n, const char *what) {
    if (a->shape[at] == n) return 0;
    core_refuse(TQ_E_SIZE, (uint64_t)a->shape[at], a->field, "dimension %d of %s is %zu: %s is %zu", at,
                a->field, a->shape[at], what, n);
    return -1;
}
