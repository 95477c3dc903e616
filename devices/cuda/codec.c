/* SPDX-License-Identifier: MIT
 * The calls of tqkv/cuda.h that encode, decode, rotate and requantise: checked here, run by the kernels.
 */
#include "base/size.h"
#include "device.h"
#include "format/arrays.h"
#include "pages.h"

/* More vectors than a launch has threads for: 2^31 - 1 groups of a few. */
static tq_status check_launch(const char *name, uint64_t vectors) {
    if (vectors <= (uint64_t)INT32_MAX) return TQ_OK;
    return tq_fail(TQ_E_OVERFLOW, vectors, name, "%s: %llu vectors in a call; 2^31 - 1 are served", name,
                   (unsigned long long)vectors);
}

static tq_status take_source(const tq_cuda_encode_params *p, const tq_cuda_side *from, const char *name,
                             tq_cuda_vectors *out, size_t *bytes) {
    tq_rows rows = {name,          from->src,   tq_type_size(from->src_type), from->codec.head_dim,
                    p->n_kv_heads, p->n_tokens, from->src_head_stride,        from->src_token_stride};
    TRY(tq_check_type("src_type", from->src_type));
    if (rows.head_stride == 0) rows.head_stride = rows.length;
    if (rows.row_stride == 0)
        TRY(tq_check_product(name, rows.heads, rows.head_stride, 1, &rows.row_stride));
    TRY(tq_rows_check(&rows, SIZE_MAX));
    *bytes = tq_rows_bytes(&rows);
    *out = (tq_cuda_vectors){from->src, from->src_type, rows.row_stride, rows.head_stride};
    return TQ_OK;
}

static tq_status take_centres(const tq_cuda_encode_params *p, const tq_cuda_side *from,
                              tq_cuda_centres *out) {
    *out = (tq_cuda_centres){from->centre, from->n_centres, from->centre_stretch};
    if (from->centre == NULL) return TQ_OK;
    if (from->n_centres == 0)
        return tq_fail(TQ_E_SIZE, 0, "n_centres", "n_centres is 0, and there is a centre");
    if (from->centre_stretch == 0 && from->n_centres > 1)
        return tq_fail(TQ_E_POSITION, from->n_centres, "centre_stretch",
                       "%zu centres, and centre_stretch is 0: one is for all then, or it was forgotten",
                       from->n_centres);
    if (from->centre_stretch > 0 && p->positions == NULL) {
        const uint64_t first = p->first_position, last = first + (p->n_tokens - 1);
        if (last < first) return tq_fail(TQ_E_OVERFLOW, first, "first_position", "positions beyond 2^64");
        if (last / from->centre_stretch - first / from->centre_stretch >= from->n_centres)
            return tq_fail(TQ_E_POSITION, from->n_centres, "n_centres",
                           "n_centres %zu: the tokens lie in more stretches of %zu", from->n_centres,
                           from->centre_stretch);
    }
    return tq_check_product("centre", from->n_centres, p->n_kv_heads * from->codec.head_dim,
                            sizeof *from->centre, NULL);
}

static tq_status take_side(const tq_cuda *cuda, const tq_cuda_encode_params *p, const tq_cuda_side *from,
                           const char *name, tq_cuda_encode_side *to) {
    tq_plan plan;
    const size_t rows = p->page_rows == 0 ? p->n_slots : p->page_rows;
    TRY(tq_cuda_plan_init(cuda, &from->codec, &plan, &to->plan));
    TRY(tq_plan_check_norm_rule(&from->codec));
    TRY(tq_plan_check_scale_factor(&plan, from->codec.scale_factor_d512));
    size_t src_bytes;
    tq_rows code_rows, norm_rows;
    TRY(take_source(p, from, name, &to->src, &src_bytes));
    tq_pages codes = {"codes",
                      from->codes,
                      from->n_codes,
                      plan.row_bytes,
                      rows,
                      p->n_kv_heads,
                      (p->n_slots - 1) / rows + 1,
                      from->code_row_stride,
                      from->code_head_stride,
                      from->code_page_stride};
    tq_pages norms = {"norms",
                      from->norms,
                      from->n_norms,
                      plan.norm_bytes,
                      rows,
                      p->n_kv_heads,
                      codes.pages,
                      from->norm_row_stride,
                      from->norm_head_stride,
                      from->norm_page_stride};
    TRY(tq_place_pages(codes, &code_rows, &to->codes));
    TRY(tq_place_pages(norms, &norm_rows, &to->norms));
    TRY(tq_pages_check_apart(&code_rows, &norm_rows, &to->codes, &to->norms, &codes));
    TRY(tq_check_apart("codes", codes.data,
                       (codes.pages - 1) * to->codes.page + tq_rows_bytes(&code_rows), name, from->src,
                       src_bytes));
    TRY(tq_check_apart("norms", norms.data,
                       (norms.pages - 1) * to->norms.page + tq_rows_bytes(&norm_rows), name, from->src,
                       src_bytes));
    TRY(take_centres(p, from, &to->centre));
    to->fault = (unsigned long long *)from->fault;
    return TQ_OK;
}

static tq_status check_tokens(const tq_cuda_encode_params *p) {
    if (p->n_kv_heads == 0)
        return tq_fail(TQ_E_HEADS, 0, "n_kv_heads", "n_kv_heads is 0: there must be one at least");
    if (p->n_slots == 0) return tq_fail(TQ_E_SIZE, 0, "n_slots", "n_slots is 0: nothing can be written");
    if (p->slots == NULL && p->n_tokens > p->n_slots)
        return tq_fail(TQ_E_POSITION, p->n_tokens, "n_tokens",
                       "%zu tokens for %zu slots: some would be written twice", p->n_tokens, p->n_slots);
    size_t vectors;
    if (!tq_size_mul(p->n_tokens, p->n_kv_heads, &vectors))
        return tq_fail(TQ_E_OVERFLOW, p->n_tokens, "n_tokens", "more vectors than can be counted");
    return check_launch("n_tokens", vectors);
}

tq_status tq_cuda_encode(tq_cuda *cuda, const tq_cuda_encode_params *from, void *stream) {
    tq_cuda_encode_params p;
    tq_cuda_scope scope;
    unsigned sides = 0;
    TRY(tq_check_not_null("cuda", cuda));
    TRY(tq_take_struct("params", from, &p, sizeof p));
    if (p.n_tokens == 0 || (p.k == NULL && p.v == NULL)) return TQ_OK;
    TRY(check_tokens(&p));
    tq_cuda_encode_args a = {.tokens = p.n_tokens,
                             .heads = p.n_kv_heads,
                             .page_rows = p.page_rows,
                             .slots = p.n_slots,
                             .slot_of = p.slots,
                             .first_slot = p.first_slot % p.n_slots,
                             .position_of = p.positions,
                             .first_position = p.first_position,
                             .multiprocessors = cuda->multiprocessors};
    if (p.k != NULL) TRY(take_side(cuda, &p, p.k, "k", &a.side[sides++]));
    if (p.v != NULL) TRY(take_side(cuda, &p, p.v, "v", &a.side[sides++]));
    TRY(tq_cuda_enter(&scope, cuda));
    const bool together = sides == 1 || a.side[0].plan.dim == a.side[1].plan.dim;
    int error = tq_cuda_launch_encode(&a, together ? sides : 1, stream);
    if (error == 0 && !together) {
        a.side[0] = a.side[1];
        error = tq_cuda_launch_encode(&a, 1, stream);
    }
    return tq_cuda_leave(&scope, error);
}

tq_status tq_cuda_decode(tq_cuda *cuda, const tq_codec *codec, const tq_batch *b, tq_domain domain,
                         const void *codes, size_t n_codes, const void *norms, size_t n_norms,
                         const uint16_t *centre, size_t n_centre, tq_type type, void *dst, size_t n_dst,
                         void *stream) {
    tq_plan plan;
    tq_cuda_scope scope;
    tq_cuda_decode_args a;
    tq_batch_arrays arrays;
    TRY(tq_check_not_null("cuda", cuda));
    TRY(tq_cuda_plan_init(cuda, codec, &plan, &a.plan));
    TRY(tq_plan_check_scale_factor(&plan, codec->scale_factor_d512));
    TRY(tq_check_domain(domain));
    TRY(tq_check_type("type", type));
    TRY(tq_check_not_null("batch", b));
    if (b->heads == 0 || b->rows == 0) return TQ_OK;
    TRY(tq_batch_arrays_init(&arrays, &plan, b, (tq_array){"dst", dst, tq_type_size(type), n_dst},
                             (tq_array){"codes", codes, 1, n_codes},
                             (tq_array){"norms", norms, 1, n_norms},
                             (tq_array){"centre", centre, sizeof *centre, n_centre}));
    TRY(tq_rows_check_apart(&arrays.dense, &arrays.codes));
    TRY(tq_rows_check_apart(&arrays.dense, &arrays.norms));
    if (centre != NULL)
        TRY(tq_check_apart("dst", dst, tq_rows_bytes(&arrays.dense), "centre", centre,
                           n_centre * sizeof *centre));
    TRY(check_launch("batch", (uint64_t)b->heads * b->rows)); /* whose vectors are there */
    a = (tq_cuda_decode_args){.plan = a.plan,
                              .rows = b->rows,
                              .heads = b->heads,
                              .codes = codes,
                              .norms = norms,
                              .code_row = arrays.codes.row_stride,
                              .code_head = arrays.codes.head_stride,
                              .norm_row = arrays.norms.row_stride,
                              .norm_head = arrays.norms.head_stride,
                              .centre = centre,
                              .stretch = b->centre_stretch,
                              .centre_first = b->centre_first,
                              .original = domain == TQ_ORIGINAL,
                              .type = type,
                              .dst = dst,
                              .dst_row = arrays.dense.row_stride,
                              .dst_head = arrays.dense.head_stride,
                              .multiprocessors = cuda->multiprocessors};
    TRY(tq_cuda_enter(&scope, cuda));
    return tq_cuda_leave(&scope, tq_cuda_launch_decode(&a, stream));
}

tq_status tq_cuda_rotate(tq_cuda *cuda, const tq_codec *codec, tq_domain to, size_t n_rows,
                         const float *src, float *dst, void *stream) {
    tq_plan plan;
    tq_cuda_scope scope;
    size_t bytes;
    tq_cuda_rotate_args a = {.rows = n_rows, .out = to == TQ_ORIGINAL, .src = src, .dst = dst};
    TRY(tq_check_not_null("cuda", cuda));
    a.multiprocessors = cuda->multiprocessors;
    TRY(tq_cuda_plan_init(cuda, codec, &plan, &a.plan));
    TRY(tq_check_domain(to));
    if (n_rows == 0) return TQ_OK;
    TRY(tq_check_product("src", n_rows, plan.dim, sizeof(float), &bytes));
    TRY(tq_check_not_null("src", src));
    TRY(tq_check_not_null("dst", dst));
    if (dst != src) TRY(tq_check_apart("dst", dst, bytes, "src", src, bytes));
    TRY(check_launch("n_rows", n_rows));
    TRY(tq_cuda_enter(&scope, cuda));
    return tq_cuda_leave(&scope, tq_cuda_launch_rotate(&a, stream));
}

tq_status tq_cuda_requantize(tq_cuda *cuda, tq_format format, const float *src, float *dst, size_t n,
                             void *stream) {
    tq_plan plan;
    tq_cuda_scope scope;
    size_t bytes;
    const tq_codec codec = {.format = format, .head_dim = 256}; /* which all formats serve */
    tq_cuda_requantize_args a = {.n = n, .src = src, .dst = dst};
    TRY(tq_check_not_null("cuda", cuda));
    TRY(tq_cuda_plan_init(cuda, &codec, &plan, &a.plan));
    if (n == 0) return TQ_OK;
    TRY(tq_check_product("src", n, 1, sizeof(float), &bytes));
    TRY(tq_check_not_null("src", src));
    TRY(tq_check_not_null("dst", dst));
    if (dst != src) TRY(tq_check_apart("dst", dst, bytes, "src", src, bytes));
    TRY(check_launch("n", n / 64));
    TRY(tq_cuda_enter(&scope, cuda));
    return tq_cuda_leave(&scope, tq_cuda_launch_requantize(&a, stream));
}
