/* SPDX-License-Identifier: MIT
 * Values to their nearest centroids on vectors of 16 lanes: one source for every instruction set. */
#include "kernels/kernels.h"
#include "kernels/pack/planes_vec.h"
#include "kernels/quantize/nearest_vec.h"

V_INLINE void requantize_all(const tq_codebook_tables *book, const unsigned bits, const bool ranked,
                             size_t n, const float *src, float *dst) {
    const tree t = load_tree(book->tree, bits);
    const v_table half = v_table_load(book->levels + (ranked ? 1u << (bits - 1) : 0), bits - 1);
    size_t i = 0;
    for (; n - i >= TQ_LANES; i += TQ_LANES) {
        const vf u = v_load(src + i);
        const vu code = ranked ? rank_code(&t, bits, u) : sign_code(&t, bits, u);
        v_store(dst + i, centroids(&half, bits, ranked, code));
    }
    tq_requantize_scalar(book, n - i, src + i, dst + i);
}

void V_NAME(requantize)(const tq_codebook_tables *book, size_t n, const float *src, float *dst) {
#define RUN(bits, ranked, bytes) requantize_all(book, bits, ranked, n, src, dst)
    PLANES_SWITCH(book, RUN)
#undef RUN
}
