/* SPDX-License-Identifier: MIT
 * Encoding and decoding of CUDA tensors, in their order on their stream. */
#include "cuda.h"

/* Pages of codes and norms: [P][G][R][code_bytes] and [P][G][R] or, of v1, [P][G][R][..]. */
typedef struct pages {
    core_array codes, norms;
} pages;

static int take_pages(PyObject *codes, PyObject *norms, pages *p, const core_cuda_place *place) {
    if (core_cuda_array(codes, &p->codes, "codes", CORE_BIT(CORE_U8), true, 4, 4, place) < 0 ||
        core_cuda_array(norms, &p->norms, "norms", CORE_BIT(CORE_F16) | CORE_BIT(CORE_F32), true, 3, 4,
                        place) < 0)
        return -1;
    for (int i = 0; i < 3; i++)
        if (core_array_expect(&p->norms, i, p->codes.shape[i], "that of codes") < 0) return -1;
    return 0;
}

static void release_pages(pages *p) {
    core_array_release(&p->codes);
    core_array_release(&p->norms);
}

/* cuda_encode(place, codec, x, codes, norms, slots, first_slot, centre, stretch, positions, fault): x
 * [n][G][D]; slots int64 [n] or None: from first_slot on; centre float16 [S][G][D] or None; positions
 * int64 [n], which centres go by, or None: from 0 on; fault int64 [1]. Nobody waits. */
static PyObject *cuda_encode(PyObject *self, PyObject *args) {
    (void)self;
    PyObject *place_given, *codec_given, *x_given, *codes_given, *norms_given, *slots_given,
        *centre_given, *positions_given, *fault_given;
    unsigned long long first_slot, stretch;
    core_cuda_place place;
    core_array x = {0}, slots = {0}, centre = {0}, positions = {0}, fault = {0};
    pages to = {0};
    tq_cuda_side side = {0};
    tq_status status = TQ_OK;
    tq_cuda *cuda = NULL;
    if (!PyArg_ParseTuple(args, "OOOOOOKOKOO", &place_given, &codec_given, &x_given, &codes_given,
                          &norms_given, &slots_given, &first_slot, &centre_given, &stretch,
                          &positions_given, &fault_given))
        return NULL;
    const bool ready =
        core_cuda_place_get(place_given, &place) == 0 && core_codec(codec_given, &side.codec) == 0 &&
        core_cuda_array(x_given, &x, "x", CORE_FLOATS, false, 3, 3, &place) == 0 &&
        take_pages(codes_given, norms_given, &to, &place) == 0 &&
        core_array_expect(&to.codes, 1, x.shape[1], "the number of heads") == 0 &&
        core_array_expect(&x, 2, side.codec.head_dim, "the codec's head_dim") == 0 &&
        core_cuda_packed(slots_given, &slots, "slots", CORE_BIT(CORE_I64), 1, &place) == 0 &&
        (slots.data == NULL || core_array_expect(&slots, 0, x.shape[0], "the number of vectors") == 0) &&
        core_cuda_packed(centre_given, &centre, "centre", CORE_BIT(CORE_F16), 3, &place) == 0 &&
        core_cuda_packed(positions_given, &positions, "positions", CORE_BIT(CORE_I64), 1, &place) == 0 &&
        (positions.data == NULL ||
         core_array_expect(&positions, 0, x.shape[0], "the number of vectors") == 0) &&
        core_cuda_packed(fault_given, &fault, "fault", CORE_BIT(CORE_I64), 1, &place) == 0 &&
        (cuda = core_cuda_device(place.device)) != NULL;
    if (ready) {
        side.src_type = (tq_type)x.kind;
        side.src = x.data, side.src_token_stride = x.stride[0], side.src_head_stride = x.stride[1];
        side.codes = to.codes.data, side.n_codes = to.codes.n;
        side.code_page_stride = to.codes.stride[0], side.code_head_stride = to.codes.stride[1];
        side.code_row_stride = to.codes.stride[2];
        side.norms = to.norms.data, side.n_norms = to.norms.n * to.norms.item;
        side.norm_page_stride = to.norms.stride[0] * to.norms.item;
        side.norm_head_stride = to.norms.stride[1] * to.norms.item;
        side.norm_row_stride = to.norms.stride[2] * to.norms.item;
        side.centre = centre.data, side.n_centres = centre.data != NULL ? centre.shape[0] : 0;
        side.centre_stretch = (size_t)stretch;
        side.fault = fault.data;
        const tq_cuda_encode_params params = {.size = sizeof params,
                                              .n_tokens = x.shape[0],
                                              .n_kv_heads = x.shape[1],
                                              .k = &side,
                                              .page_rows = to.codes.shape[2],
                                              .n_slots = to.codes.shape[0] * to.codes.shape[2],
                                              .slots = slots.data,
                                              .first_slot = first_slot,
                                              .positions = positions.data};
        Py_BEGIN_ALLOW_THREADS status =
            core_cuda_status(core_cuda()->encode(cuda, &params, place.stream));
        Py_END_ALLOW_THREADS
    }
    core_array_release(&x);
    core_array_release(&slots);
    core_array_release(&centre);
    core_array_release(&positions);
    core_array_release(&fault);
    release_pages(&to);
    return core_done(ready, status);
}

/* cuda_decode(place, codec, codes, norms, centre, stretch, out, rotated): a page, [1][G][T][..], to out
 * [G][T][D] of any float type. */
static PyObject *cuda_decode(PyObject *self, PyObject *args) {
    (void)self;
    PyObject *place_given, *codec_given, *codes_given, *norms_given, *centre_given, *out_given;
    unsigned long long stretch;
    int rotated;
    core_cuda_place place;
    core_array out = {0}, centre = {0};
    pages from = {0};
    tq_codec codec;
    tq_status status = TQ_OK;
    tq_cuda *cuda = NULL;
    if (!PyArg_ParseTuple(args, "OOOOOKOp", &place_given, &codec_given, &codes_given, &norms_given,
                          &centre_given, &stretch, &out_given, &rotated))
        return NULL;
    const bool ready =
        core_cuda_place_get(place_given, &place) == 0 && core_codec(codec_given, &codec) == 0 &&
        take_pages(codes_given, norms_given, &from, &place) == 0 &&
        core_cuda_packed(centre_given, &centre, "centre", CORE_BIT(CORE_F16), 3, &place) == 0 &&
        core_cuda_array(out_given, &out, "out", CORE_FLOATS, true, 3, 3, &place) == 0 &&
        core_array_expect(&out, 0, from.codes.shape[1], "the number of heads") == 0 &&
        core_array_expect(&out, 1, from.codes.shape[2], "the number of positions") == 0 &&
        core_array_expect(&out, 2, codec.head_dim, "the codec's head_dim") == 0 &&
        (cuda = core_cuda_device(place.device)) != NULL;
    if (ready) {
        const tq_batch batch = {.heads = out.shape[0],
                                .rows = out.shape[1],
                                .dense_head_stride = out.stride[0],
                                .dense_row_stride = out.stride[1],
                                .code_head_stride = from.codes.stride[1],
                                .code_row_stride = from.codes.stride[2],
                                .norm_head_stride = from.norms.stride[1] * from.norms.item,
                                .norm_row_stride = from.norms.stride[2] * from.norms.item,
                                .centre_stretch = (size_t)stretch};
        Py_BEGIN_ALLOW_THREADS status = core_cuda_status(
            core_cuda()->decode(cuda, &codec, &batch, rotated ? TQ_ROTATED : TQ_ORIGINAL, from.codes.data,
                                from.codes.n, from.norms.data, from.norms.n * from.norms.item,
                                centre.data, centre.n, (tq_type)out.kind, out.data, out.n, place.stream));
        Py_END_ALLOW_THREADS
    }
    core_array_release(&out);
    core_array_release(&centre);
    release_pages(&from);
    return core_done(ready, status);
}

PyMethodDef core_cuda_codec_methods[] = {{"cuda_encode", cuda_encode, METH_VARARGS, NULL},
                                         {"cuda_decode", cuda_decode, METH_VARARGS, NULL},
                                         {NULL, NULL, 0, NULL}};
