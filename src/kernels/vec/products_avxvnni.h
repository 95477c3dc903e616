/* SPDX-License-Identifier: MIT
 * Products of AVX2's bytes by AVX-VNNI, which needs no AVX-512. */
#ifndef TQ_KERNELS_VEC_PRODUCTS_AVXVNNI_H
#define TQ_KERNELS_VEC_PRODUCTS_AVXVNNI_H

#include "kernels/vec/bytes_avx2.h"

V_INLINE vi v_dot_bytes(vi acc, vb x, vb y) {
    return _mm256_dpbusd_avx_epi32(acc, x, y);
}

V_INLINE vi v_dot_words(vi acc, vb x, vb y) {
    return _mm256_dpwssd_avx_epi32(acc, x, y);
}

#include "kernels/vec/products_vnni.h"

#endif
