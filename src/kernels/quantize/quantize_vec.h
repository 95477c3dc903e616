/* SPDX-License-Identifier: MIT
 * Rotated values to packed codes on vectors of 16 lanes: one source for every instruction set. */
#include <assert.h>

#include "kernels/kernels.h"
#include "kernels/pack/planes_vec.h"
#include "kernels/quantize/nearest_vec.h"

V_INLINE void quantize_rows(const tq_codebook_tables *book, const unsigned bits, const bool ranked,
                            const bool bytes, const unsigned group, size_t n, size_t rows, const float *y,
                            const float *scales, float scale1, tq_code_sum sum, float *sums,
                            uint8_t *packed, size_t packed_stride) {
    const tree t = load_tree(book->tree, bits);
    const v_table levels = v_table_load(book->levels + (ranked ? 1u << (bits - 1) : 0), bits - 1);
    for (size_t row = 0; row < rows; row++, y += n, packed += packed_stride) {
        const planes p = planes_of(bits, bytes, group, n, packed);
        const vf scale = v_set(scales[row]);
        vf total = v_set(0.0f);
        for (size_t vector = 0; vector < n / TQ_LANES; vector += group) {
            block_out b = {v_setu(0), v_setu(0), v_setu(0)};
            V_FOR (k, group) {
                vf u = v_mul(v_load(y + (vector + k) * TQ_LANES), scale);
                if (ranked) u = v_mul(u, v_set(scale1));
                const vu sign = v_sign(u), top = has_flags(bits) ? v_setu(0) : sign;
                const vu code = ranked ? rank_code(&t, bits, u) : count_below(&t, bits, top, v_abs(u));
                if (sum != TQ_SUM_NONE) { /* v2 alone; the signs cancel */
                    const vf c = v_lookup(&levels, bits - 1, code);
                    total = v_add(total, v_mul(sum == TQ_SUM_CC ? c : v_abs(u), c));
                }
                block_put(&b, &p, bits, bytes, vector, k, code, sign);
            }
            block_store(&b, &p, bits, bytes, vector);
        }
        if (sum != TQ_SUM_NONE) sums[row] = v_fold(total);
    }
}

void V_NAME(quantize)(const tq_codebook_tables *book, size_t n, size_t rows, const float *y,
                      const float *scales, float scale1, tq_code_sum sum, float *sums, uint8_t *packed,
                      size_t packed_stride) {
    assert(n % TQ_LANES == 0);
#define RUN_GROUP(bits, ranked, bytes, group)                                                            \
    quantize_rows(book, bits, ranked, bytes, group, n, rows, y, scales, scale1, sum, sums, packed,       \
                  packed_stride)
#define RUN(bits, ranked, bytes) PLANES_GROUPS(bits, ranked, bytes, n, RUN_GROUP)
    PLANES_SWITCH(book, RUN)
#undef RUN
#undef RUN_GROUP
}
