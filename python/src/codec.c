/* SPDX-License-Identifier: MIT
 * Encoding, decoding, rotating and centres of arrays. */
#include "core.h"

int core_codec(PyObject *tuple, tq_codec *codec) {
    long numbers[3];
    if (!PyTuple_Check(tuple) || PyTuple_Size(tuple) != 4) {
        PyErr_SetString(PyExc_TypeError,
                        "a codec must be (format, head_dim, norm_rule, scale_factor_d512)");
        return -1;
    }
    for (int i = 0; i < 3; i++) {
        numbers[i] = PyLong_AsLong(PyTuple_GetItem(tuple, i));
        if (numbers[i] == -1 && PyErr_Occurred()) return -1;
    }
    if (numbers[1] < 0 || numbers[1] > 1 << 20) {
        core_refuse(TQ_E_HEAD_DIM, 0, "head_dim", "no format serves a head_dim of %ld", numbers[1]);
        return -1;
    }
    codec->format = (tq_format)numbers[0];
    codec->head_dim = (uint32_t)numbers[1];
    codec->norm_rule = (tq_norm_rule)numbers[2];
    return core_float(PyTuple_GetItem(tuple, 3), 1, &codec->scale_factor_d512);
}

int core_centre(PyObject *o, core_array *centre) {
    if (o == NULL) return 0;
    if (core_array_get(o, centre, "centre", CORE_BIT(CORE_F16), false, 3, 3) < 0) return -1;
    if (centre->n == centre->shape[0] * centre->shape[1] * centre->shape[2]) return 0;
    core_refuse(TQ_E_STRIDE, 0, "centre", "centre does not lie side by side; copy it");
    return -1;
}

/* The arrays of a call, [G][T][..] each. */
typedef struct call {
    tq_codec codec;
    tq_batch batch;
    core_array dense, codes, norms, centre;
} call;

static void call_end(call *c) {
    core_array_release(&c->dense);
    core_array_release(&c->codes);
    core_array_release(&c->norms);
    core_array_release(&c->centre);
}

enum { CODEC, X, CODES, NORMS, CENTRE, STRETCH, FIRST, ROTATED, N_ARGUMENTS };

static int expect_shapes(call *c, bool encode) {
    size_t code_bytes, norm_bytes;
    if (tq_row_size(&c->codec, &code_bytes, &norm_bytes) != TQ_OK) {
        core_raise(TQ_E_FORMAT);
        return -1;
    }
    /* The array that results are for is the one that must fit. */
    const core_array *given = encode ? &c->dense : &c->codes, *first = encode ? &c->codes : &c->dense;
    const size_t heads = given->shape[0], rows = given->shape[1];
    if (core_array_expect(&c->dense, 2, c->codec.head_dim, "the codec's head_dim") < 0 ||
        core_array_expect(&c->codes, 2, code_bytes, "a row of codes, in bytes,") < 0 ||
        core_array_expect(first, 0, heads, "the number of heads") < 0 ||
        core_array_expect(first, 1, rows, "the number of positions") < 0 ||
        core_array_expect(&c->norms, 0, heads, "the number of heads") < 0 ||
        core_array_expect(&c->norms, 1, rows, "the number of positions") < 0)
        return -1;
    const size_t inner = c->norms.n_dims == 3 ? c->norms.shape[2] : 1;
    if (inner * c->norms.item == norm_bytes && c->norms.item == (TQ_IS_V1(c->codec.format) ? 4 : 2))
        return 0;
    core_refuse(TQ_E_SIZE, norm_bytes, "norms", "a row of norms is of %zu bytes, not %zu",
                inner * c->norms.item, norm_bytes);
    return -1;
}

static void fill_batch(call *c) {
    tq_batch *b = &c->batch;
    b->heads = c->dense.shape[0];
    b->rows = c->dense.shape[1];
    b->dense_head_stride = c->dense.stride[0];
    b->dense_row_stride = c->dense.stride[1];
    b->code_head_stride = c->codes.stride[0];
    b->code_row_stride = c->codes.stride[1];
    b->norm_head_stride = c->norms.stride[0] * c->norms.item;
    b->norm_row_stride = c->norms.stride[1] * c->norms.item;
    b->parallel = core_parallel();
}

static int call_begin(PyObject *const *a, call *c, unsigned kinds, bool encode) {
    uint64_t stretch, first;
    if (core_codec(a[CODEC], &c->codec) < 0 || core_size(a[STRETCH], "centre_stretch", 0, &stretch) < 0 ||
        core_size(a[FIRST], "centre_first", 0, &first) < 0 ||
        core_array_get(a[X], &c->dense, encode ? "x" : "out", kinds, !encode, 3, 3) < 0 ||
        core_array_get(a[CODES], &c->codes, "codes", CORE_BIT(CORE_U8), encode, 3, 3) < 0 ||
        core_array_get(a[NORMS], &c->norms, "norms", CORE_BIT(CORE_F16) | CORE_BIT(CORE_F32), encode, 2,
                       3) < 0 ||
        core_centre(a[CENTRE], &c->centre) < 0 || expect_shapes(c, encode) < 0)
        return -1;
    fill_batch(c);
    c->batch.centre_stretch = (size_t)stretch;
    c->batch.centre_first = (size_t)first;
    return 0;
}

static const char *const names[N_ARGUMENTS] = {"codec",  "x",       "codes", "norms",
                                               "centre", "stretch", "first", "rotated"};

static PyObject *encode(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *keywords) {
    (void)self;
    PyObject *a[N_ARGUMENTS];
    call c = {0};
    tq_status status = TQ_OK;
    if (core_arguments("encode", args, n, keywords, names, ROTATED, ROTATED, CENTRE, a) < 0) return NULL;
    const bool ready = call_begin(a, &c, CORE_FLOATS, true) == 0;
    if (ready) {
        Py_BEGIN_ALLOW_THREADS status =
            c.dense.kind != CORE_F32
                ? core_encode_any(&c.codec, &c.batch, &c.dense, &c.centre, &c.codes, &c.norms)
                : tq_encode(&c.codec, &c.batch, c.dense.data, c.dense.n, c.centre.data, c.centre.n,
                            c.codes.data, c.codes.n, c.norms.data, c.norms.n * c.norms.item);
        Py_END_ALLOW_THREADS
    }
    call_end(&c);
    return core_done(ready, status);
}

static PyObject *decode(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *keywords) {
    (void)self;
    PyObject *a[N_ARGUMENTS];
    call c = {0};
    bool rotated;
    tq_status status = TQ_OK;
    if (core_arguments("decode", args, n, keywords, names, N_ARGUMENTS, N_ARGUMENTS, CENTRE, a) < 0)
        return NULL;
    const bool ready =
        core_bool(a[ROTATED], false, &rotated) == 0 && call_begin(a, &c, CORE_BIT(CORE_F32), false) == 0;
    if (ready) {
        Py_BEGIN_ALLOW_THREADS status = tq_decode(
            &c.codec, &c.batch, rotated ? TQ_ROTATED : TQ_ORIGINAL, c.codes.data, c.codes.n, c.norms.data,
            c.norms.n * c.norms.item, c.centre.data, c.centre.n, c.dense.data, c.dense.n);
        Py_END_ALLOW_THREADS
    }
    call_end(&c);
    return core_done(ready, status);
}

/* rotate(codec, x, out, inverse): x and out [..][D], side by side. */
static PyObject *rotate(PyObject *self, PyObject *args) {
    (void)self;
    PyObject *codec_tuple, *x, *out;
    int inverse;
    tq_codec codec;
    core_array from = {0}, to = {0};
    tq_status status = TQ_OK;
    if (!PyArg_ParseTuple(args, "OOOp", &codec_tuple, &x, &out, &inverse)) return NULL;
    bool ready = core_codec(codec_tuple, &codec) == 0 &&
                 core_array_get(x, &from, "x", CORE_BIT(CORE_F32), false, 2, 2) == 0 &&
                 core_array_get(out, &to, "out", CORE_BIT(CORE_F32), true, 2, 2) == 0 &&
                 core_array_expect(&from, 1, codec.head_dim, "the codec's head_dim") == 0 &&
                 core_array_expect(&to, 0, from.shape[0], "that of x") == 0 &&
                 core_array_expect(&to, 1, codec.head_dim, "the codec's head_dim") == 0;
    if (ready && (from.n != from.shape[0] * from.shape[1] || to.n != from.n)) {
        core_refuse(TQ_E_STRIDE, 0, from.n != from.shape[0] * from.shape[1] ? "x" : "out",
                    "rows do not lie side by side; copy the array");
        ready = false;
    }
    if (ready) {
        Py_BEGIN_ALLOW_THREADS status =
            tq_rotate(&codec, inverse ? TQ_ORIGINAL : TQ_ROTATED, from.shape[0], from.data, to.data);
        Py_END_ALLOW_THREADS
    }
    core_array_release(&from);
    core_array_release(&to);
    return core_done(ready, status);
}

/* learn_centre(x, centre): x [G][T][D], centre float16 [G][D]. */
static PyObject *learn_centre(PyObject *self, PyObject *args) {
    (void)self;
    PyObject *x, *out;
    core_array from = {0}, to = {0};
    tq_status status = TQ_OK;
    if (!PyArg_ParseTuple(args, "OO", &x, &out)) return NULL;
    const bool ready = core_array_get(x, &from, "x", CORE_FLOATS, false, 3, 3) == 0 &&
                       core_array_get(out, &to, "out", CORE_BIT(CORE_F16), true, 2, 2) == 0 &&
                       core_array_expect(&to, 0, from.shape[0], "the number of heads") == 0 &&
                       core_array_expect(&to, 1, from.shape[2], "the head_dim") == 0;
    if (ready) {
        Py_BEGIN_ALLOW_THREADS status = core_learn_any(&from, &to);
        Py_END_ALLOW_THREADS
    }
    core_array_release(&from);
    core_array_release(&to);
    return core_done(ready, status);
}

PyMethodDef core_codec_methods[] = {
    {"encode", (PyCFunction)(void (*)(void))encode, METH_FASTCALL | METH_KEYWORDS, NULL},
    {"decode", (PyCFunction)(void (*)(void))decode, METH_FASTCALL | METH_KEYWORDS, NULL},
    {"rotate", rotate, METH_VARARGS, NULL},
    {"learn_centre", learn_centre, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL}};
