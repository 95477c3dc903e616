/* SPDX-License-Identifier: MIT
 * The calls of tqkv/codec.h that need no batch: check, then hand rows to the kernels. */
#include "codec/rows.h"
#include "cpu/dispatch.h"

tq_status tq_row_size(const tq_codec *codec, size_t *code_bytes, size_t *norm_bytes) {
    tq_plan plan;
    TRY(tq_plan_init(&plan, codec));
    if (code_bytes != NULL) *code_bytes = plan.row_bytes;
    if (norm_bytes != NULL) *norm_bytes = plan.norm_bytes;
    return TQ_OK;
}

tq_status tq_rotate(const tq_codec *codec, tq_domain to, size_t n_rows, const float *src, float *dst) {
    const tq_kernels *kernels;
    tq_plan plan;
    size_t bytes;
    TRY(tq_plan_init(&plan, codec));
    TRY(tq_active_kernels(&kernels));
    TRY(tq_check_domain(to));
    if (n_rows == 0) return TQ_OK;
    TRY(tq_check_product("src", n_rows, plan.dim, sizeof(float), &bytes));
    TRY(tq_check_not_null("src", src));
    TRY(tq_check_not_null("dst", dst));
    if (dst != src) TRY(tq_check_apart("dst", dst, bytes, "src", src, bytes));
    kernels->rotate(&plan.rotation, to == TQ_ROTATED ? TQ_ROTATE_IN : TQ_ROTATE_OUT, n_rows, src,
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
    const tq_kernels *kernels;
    tq_plan plan;
    TRY(check_pack(&plan, codec, n_rows, codes, packed));
    TRY(tq_active_kernels(&kernels));
    for (size_t i = 0; i < n_rows * plan.dim; i++)
        if (codes[i] >> plan.book->bits != 0)
            return tq_fail(TQ_E_CODE, i, "codes", "codes[%zu] is %u: %u bits hold 0 to %u", i, codes[i],
                           plan.book->bits, (1u << plan.book->bits) - 1);
    for (size_t b = 0; b < n_rows * plan.n_norms; b++)
        kernels->pack(plan.book, plan.block, codes + b * plan.block, packed + b * plan.block_bytes);
    return TQ_OK;
}

tq_status tq_unpack(const tq_codec *codec, size_t n_rows, const uint8_t *packed, uint8_t *codes) {
    const tq_kernels *kernels;
    tq_plan plan;
    TRY(check_pack(&plan, codec, n_rows, codes, packed));
    TRY(tq_active_kernels(&kernels));
    for (size_t b = 0; b < n_rows * plan.n_norms; b++)
        kernels->unpack(plan.book, plan.block, packed + b * plan.block_bytes, codes + b * plan.block);
    return TQ_OK;
}
