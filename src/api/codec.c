/* SPDX-License-Identifier: MIT
 * The calls of tqkv/codec.h: check, then hand rows to the codec. */
#include "api/check.h"
#include "cpu/dispatch.h"

/* From here on decoded vectors bypass the caches. */
static const size_t stream_bytes = (size_t)16 << 20;

/* The arrays of an encode or decode call. */
typedef struct arrays {
    tq_plan plan;
    tq_rows dense, codes, norms, centre;
} arrays;

tq_status tq_row_size(const tq_codec *codec, size_t *code_bytes, size_t *norms) {
    tq_plan plan;
    TRY(tq_plan_init(&plan, codec));
    if (code_bytes != NULL) *code_bytes = plan.row_bytes;
    if (norms != NULL) *norms = plan.n_norms;
    return TQ_OK;
}

static bool is_empty(const tq_batch *batch) {
    return batch->heads == 0 || batch->rows == 0;
}

static tq_rows rows_of(const tq_batch *b, const char *name, const void *data, size_t size, size_t length,
                       size_t head_stride, size_t row_stride) {
    return (tq_rows){name, data, size, length, b->heads, b->rows, head_stride, row_stride};
}

/* Shapes and sizes of everything; the centre is one row a head and may be missing. */
static tq_status check_arrays(arrays *a, const tq_batch *b, const char *dense_name, const float *dense,
                              size_t n_dense, const uint8_t *codes, size_t n_codes, const float *norms,
                              size_t n_norms, const float *centre) {
    a->dense = rows_of(b, dense_name, dense, sizeof(float), a->plan.dim, b->dense_head_stride,
                       b->dense_row_stride);
    a->codes = rows_of(b, "codes", codes, 1, a->plan.row_bytes, b->code_head_stride, b->code_row_stride);
    a->norms = rows_of(b, "norms", norms, sizeof(float), a->plan.n_norms, b->norm_head_stride,
                       b->norm_row_stride);
    a->centre = (tq_rows){"centre", centre, sizeof(float), a->plan.dim, 1, b->heads, 0, 0};
    TRY(tq_rows_check(&a->dense, n_dense));
    TRY(tq_rows_check(&a->codes, n_codes));
    TRY(tq_rows_check(&a->norms, n_norms));
    if (centre != NULL) TRY(tq_rows_check(&a->centre, SIZE_MAX));
    return TQ_OK;
}

static tq_row_set row_set(const arrays *a) {
    return (tq_row_set){a->dense.rows, a->dense.row_stride, a->codes.row_stride, a->norms.row_stride};
}

/* Whether decoded vectors are better stored past the caches: they are far more than a cache holds, and
 * whole vectors of 64 bytes. */
static bool past_caches(const arrays *a) {
    const size_t bytes = a->dense.heads * a->dense.rows * a->dense.length * sizeof(float);
    return bytes >= stream_bytes && (uintptr_t)a->dense.data % 64 == 0 && a->dense.row_stride % 16 == 0 &&
           a->dense.head_stride % 16 == 0;
}

static const float *centre_of(const arrays *a, size_t head) {
    return a->centre.data == NULL ? NULL : (const float *)a->centre.data + head * a->plan.dim;
}

tq_status tq_encode(const tq_codec *codec, const tq_batch *batch, const float *src, size_t n_src,
                    const float *centre, uint8_t *codes, size_t n_codes, float *norms, size_t n_norms) {
    arrays a;
    TRY(tq_plan_init(&a.plan, codec));
    TRY(tq_plan_check_norm_rule(codec));
    TRY(tq_plan_check_scale_factor(&a.plan, codec->scale_factor_d512));
    TRY(tq_check_not_null("batch", batch));
    if (is_empty(batch)) return TQ_OK;
    TRY(check_arrays(&a, batch, "src", src, n_src, codes, n_codes, norms, n_norms, centre));
    TRY(tq_rows_check_apart(&a.codes, &a.norms));
    TRY(tq_rows_check_apart(&a.codes, &a.dense));
    TRY(tq_rows_check_apart(&a.norms, &a.dense));
    if (centre != NULL) {
        TRY(tq_rows_check_apart(&a.codes, &a.centre));
        TRY(tq_rows_check_apart(&a.norms, &a.centre));
        TRY(tq_rows_check_values(a.plan.kernels, &a.centre));
    }
    TRY(tq_rows_check_values(a.plan.kernels, &a.dense));
    const tq_row_set set = row_set(&a);
    for (size_t h = 0; h < batch->heads; h++)
        tq_encode_rows(&a.plan, &set, src + tq_rows_at(&a.dense, h, 0), centre_of(&a, h),
                       codes + tq_rows_at(&a.codes, h, 0), norms + tq_rows_at(&a.norms, h, 0));
    return TQ_OK;
}

static tq_status check_domain(tq_domain domain) {
    if (domain == TQ_ROTATED || domain == TQ_ORIGINAL) return TQ_OK;
    return tq_fail(TQ_E_DOMAIN, 0, "domain", "domain %d is neither TQ_ROTATED nor TQ_ORIGINAL",
                   (int)domain);
}

tq_status tq_decode(const tq_codec *codec, const tq_batch *batch, tq_domain domain, const uint8_t *codes,
                    size_t n_codes, const float *norms, size_t n_norms, const float *centre, float *dst,
                    size_t n_dst) {
    arrays a;
    TRY(tq_plan_init(&a.plan, codec));
    TRY(tq_plan_check_scale_factor(&a.plan, codec->scale_factor_d512));
    TRY(check_domain(domain));
    TRY(tq_check_not_null("batch", batch));
    if (is_empty(batch)) return TQ_OK;
    TRY(check_arrays(&a, batch, "dst", dst, n_dst, codes, n_codes, norms, n_norms, centre));
    TRY(tq_rows_check_apart(&a.dense, &a.codes));
    TRY(tq_rows_check_apart(&a.dense, &a.norms));
    if (centre != NULL) TRY(tq_rows_check_apart(&a.dense, &a.centre));
    const tq_row_set set = row_set(&a);
    const bool stream = past_caches(&a);
    for (size_t h = 0; h < batch->heads; h++)
        tq_decode_rows(&a.plan, &set, domain, codes + tq_rows_at(&a.codes, h, 0),
                       norms + tq_rows_at(&a.norms, h, 0), centre_of(&a, h),
                       dst + tq_rows_at(&a.dense, h, 0), stream);
    return TQ_OK;
}

tq_status tq_rotate(const tq_codec *codec, tq_domain to, size_t n_rows, const float *src, float *dst) {
    tq_plan plan;
    size_t bytes;
    TRY(tq_plan_init(&plan, codec));
    TRY(check_domain(to));
    if (n_rows == 0) return TQ_OK;
    TRY(tq_check_product("src", n_rows, plan.dim, sizeof(float), &bytes));
    TRY(tq_check_not_null("src", src));
    TRY(tq_check_not_null("dst", dst));
    if (dst != src) TRY(tq_check_apart("dst", dst, bytes, "src", src, bytes));
    plan.kernels->rotate(&plan.rotation, to == TQ_ROTATED ? TQ_ROTATE_IN : TQ_ROTATE_OUT, n_rows, src,
                         plan.dim, dst, plan.dim);
    return TQ_OK;
}

tq_status tq_requantize(tq_format format, const float *src, float *dst, size_t n) {
    size_t bytes;
    const tq_kernels *kernels;
    const tq_codebook_tables *book = tq_find_codebook(format);
    if (book == NULL) return tq_fail_format(format);
    TRY(tq_active_kernels(&kernels));
    if (n == 0) return TQ_OK;
    TRY(tq_check_product("src", n, 1, sizeof(float), &bytes));
    TRY(tq_check_not_null("src", src));
    TRY(tq_check_not_null("dst", dst));
    if (dst != src) TRY(tq_check_apart("dst", dst, bytes, "src", src, bytes));
    TRY(tq_check_finite(kernels, "src", src, n));
    kernels->requantize(book, n, src, dst);
    return TQ_OK;
}

static tq_status check_pack(tq_plan *plan, const tq_codec *codec, size_t n_rows, const uint8_t *codes,
                            const uint8_t *packed) {
    size_t bytes;
    TRY(tq_plan_init(plan, codec));
    if (n_rows == 0) return TQ_OK;
    TRY(tq_check_product("codes", n_rows, plan->dim, 1, &bytes));
    TRY(tq_check_not_null("codes", codes));
    TRY(tq_check_not_null("packed", packed));
    return tq_check_apart("packed", packed, n_rows * plan->row_bytes, "codes", codes, bytes);
}

tq_status tq_pack(const tq_codec *codec, size_t n_rows, const uint8_t *codes, uint8_t *packed) {
    tq_plan plan;
    TRY(check_pack(&plan, codec, n_rows, codes, packed));
    for (size_t i = 0; i < n_rows * plan.dim; i++)
        if (codes[i] >> plan.book->bits != 0)
            return tq_fail(TQ_E_CODE, i, "codes", "codes[%zu] is %u: %u bits hold 0 to %u", i, codes[i],
                           plan.book->bits, (1u << plan.book->bits) - 1);
    for (size_t b = 0; b < n_rows * plan.n_norms; b++)
        plan.kernels->pack(plan.book, plan.block, codes + b * plan.block, packed + b * plan.block_bytes);
    return TQ_OK;
}

tq_status tq_unpack(const tq_codec *codec, size_t n_rows, const uint8_t *packed, uint8_t *codes) {
    tq_plan plan;
    TRY(check_pack(&plan, codec, n_rows, codes, packed));
    for (size_t b = 0; b < n_rows * plan.n_norms; b++)
        plan.kernels->unpack(plan.book, plan.block, packed + b * plan.block_bytes,
                             codes + b * plan.block);
    return TQ_OK;
}
