/* SPDX-License-Identifier: MIT
 * Packed codes to rotated values on vectors of 16 lanes: one source for every instruction set. */
#include "kernels/kernels.h"
#include "kernels/pack/planes_vec.h"
#include "kernels/quantize/nearest_vec.h"

/* Centroids of a vector's codes. flags: the row's flag plane at this vector, where there is one. */
V_INLINE vf look_up(const v_table *half, const v_table *all, const unsigned bits, const bool ranked,
                    const bool bytes, vu code, const uint8_t *flags) {
    if (has_flags(bits) && !bytes) return v_flip(v_lookup(half, bits - 1, code), v_word_load(flags));
    return bits <= V_LOOKUP_LOG2 ? v_lookup(all, bits, code) : centroids(half, bits, ranked, code);
}

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
    const v_table half = v_table_load(book->levels + (ranked ? 1u << (bits - 1) : 0), bits - 1);
    const v_table all = v_table_load(book->levels, bits <= V_LOOKUP_LOG2 ? bits : 0);
    for (size_t row = 0; row < rows; row++, packed += packed_stride, dst += dst_stride) {
        const planes p = planes_of(bits, bytes, group, n, (uint8_t *)(uintptr_t)packed);
        const vf scale = v_set(scales[row]);
        if (stream) v_fetch_next_page(packed, bytes ? n : n * bits / 8);
        for (size_t vector = 0; vector < n / TQ_LANES; vector += group) {
            block_in b = block_load(&p, bits, bytes, vector);
            V_FOR (k, group) {
                const vu code = block_take(&b, bits, bytes);
                const vf c = look_up(&half, &all, bits, ranked, bytes, code, p.flags + (vector + k) * 2);
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
            v_octets_lookup(&half, ranked, packed + row * packed_stride + i, c);
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
    dequantize_any(book, n, rows, packed, packed_stride, scales, dst, dst_stride, stream);
    if (stream) v_stream_end();
}
