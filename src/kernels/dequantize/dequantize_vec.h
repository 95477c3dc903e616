/* SPDX-License-Identifier: MIT
 * Packed codes to rotated values on vectors of 16 lanes: one source for every instruction set. */
#include <assert.h>

#include "kernels/dequantize/look_up_vec.h"
#include "kernels/kernels.h"

V_INLINE void put(float *dst, vf x, int stream) {
    if (stream)
        v_stream(dst, x);
    else
        v_store(dst, x);
}

V_INLINE void dequantize_rows(const tq_codebook_tables *book, const unsigned bits, const bool ranked,
                              const bool bytes, const unsigned group, size_t n, size_t rows,
                              const uint8_t *packed, size_t packed_stride, const float *scales,
                              float *dst, size_t dst_stride, int stream) {
    const book_levels l = load_levels(book, bits, ranked);
    for (size_t row = 0; row < rows; row++, packed += packed_stride, dst += dst_stride) {
        const planes p = planes_of(bits, bytes, group, n, (uint8_t *)(uintptr_t)packed);
        const vf scale = v_set(scales[row]);
        if (stream) v_fetch_next_page(packed, bytes ? n : n * bits / 8);
        for (size_t vector = 0; vector < n / TQ_LANES; vector += group) {
            block_in b = block_load(&p, bits, bytes, vector);
            V_FOR (k, group) {
                const vf c = look_up(&l, bits, ranked, bytes, &b);
                block_next(&b, bits, bytes);
                put(dst + (vector + k) * TQ_LANES, v_mul(c, scale), stream);
            }
        }
    }
}

#ifdef V_OCTETS
/* 8 bits, a byte a code: 64 at a time, and what is left of a row 16 at a time. */
V_INLINE void dequantize_octets(const tq_codebook_tables *book, const bool ranked, size_t n, size_t rows,
                                const uint8_t *packed, size_t packed_stride, const float *scales,
                                float *dst, size_t dst_stride, int stream) {
    const size_t most = n / V_OCTETS * V_OCTETS;
    const v_octet_table half = v_octet_table_load(book->octets);
    for (size_t row = 0; row < rows; row++) {
        const vf scale = v_set(scales[row]);
        if (stream) v_fetch_next_page(packed + row * packed_stride, n);
        for (size_t i = 0; i < most; i += V_OCTETS) {
            vf c[V_OCTETS / TQ_LANES];
            v_octets_look_up(&half, ranked, v_octets_load_transposed(packed + row * packed_stride + i),
                             c);
            V_FOR (q, V_OCTETS / TQ_LANES)
                put(dst + row * dst_stride + i + TQ_LANES * q, v_mul(c[q], scale), stream);
        }
    }
    if (most < n)
        dequantize_rows(book, 8, ranked, true, 1, n - most, rows, packed + most, packed_stride, scales,
                        dst + most, dst_stride, stream);
}
#endif

static void dequantize_any(const tq_codebook_tables *book, size_t n, size_t rows, const uint8_t *packed,
                           size_t packed_stride, const float *scales, float *dst, size_t dst_stride,
                           int stream) {
#ifdef V_OCTETS
    if (book->bits == 8 && book->ranked) {
        dequantize_octets(book, true, n, rows, packed, packed_stride, scales, dst, dst_stride, stream);
        return;
    }
    if (book->bits == 8) {
        dequantize_octets(book, false, n, rows, packed, packed_stride, scales, dst, dst_stride, stream);
        return;
    }
#endif
#define RUN_GROUP(bits, ranked, bytes, group)                                                            \
    dequantize_rows(book, bits, ranked, bytes, group, n, rows, packed, packed_stride, scales, dst,       \
                    dst_stride, stream)
#define RUN(bits, ranked, bytes) PLANES_GROUPS(bits, ranked, bytes, n, RUN_GROUP)
    PLANES_SWITCH(book, RUN)
#undef RUN
#undef RUN_GROUP
}

void V_NAME(dequantize)(const tq_codebook_tables *book, size_t n, size_t rows, const uint8_t *packed,
                        size_t packed_stride, const float *scales, float *dst, size_t dst_stride,
                        int stream) {
    assert(n % TQ_LANES == 0 && (!stream || ((uintptr_t)dst % 64 == 0 && dst_stride % TQ_LANES == 0)));
    dequantize_any(book, n, rows, packed, packed_stride, scales, dst, dst_stride, stream);
    if (stream) v_stream_end();
}
