/* SPDX-License-Identifier: MIT
 * Names and words that all vector kernels share. V_ISA is the instruction set's name. */
#ifndef TQ_KERNELS_VEC_NAME_H
#define TQ_KERNELS_VEC_NAME_H

#include <stddef.h>
#include <stdint.h>

#define V_NAME2(op, isa) tq_##op##_##isa
#define V_NAME1(op, isa) V_NAME2(op, isa)
#define V_NAME(op)       V_NAME1(op, V_ISA)

#if defined(__clang__)
#define V_UNROLL       _Pragma("clang loop unroll(full)")
#define V_UNROLL_TWICE _Pragma("clang loop unroll_count(2)")
#define V_UNROLL_AROUND
#else
#define V_UNROLL        _Pragma("GCC unroll 16")
#define V_UNROLL_TWICE  _Pragma("GCC unroll 2")
#define V_UNROLL_AROUND _Pragma("GCC unroll 16")
#endif

/* V_UNROLL_AROUND: a loop around another, of which clang promises nothing and would warn. */

/* A loop over a constant count, unrolled whole so that arrays of vectors stay in registers. */
#define V_FOR(i, n)                                                                                      \
    V_UNROLL                                                                                             \
    for (unsigned i = 0; i < (n); i++)

/* Of a switch over bits: RUN(bits) with a constant. */
#define V_CASES_2_TO_6(RUN)                                                                              \
    case 2:                                                                                              \
        RUN(2);                                                                                          \
        break;                                                                                           \
    case 3:                                                                                              \
        RUN(3);                                                                                          \
        break;                                                                                           \
    case 4:                                                                                              \
        RUN(4);                                                                                          \
        break;                                                                                           \
    case 5:                                                                                              \
        RUN(5);                                                                                          \
        break;                                                                                           \
    case 6:                                                                                              \
        RUN(6);                                                                                          \
        break;

/* Masks with a bit a lane pass through here: TQKV_PLANT_FAULT forgets the last lane, to prove that the
 * tests notice. */
#ifdef TQKV_PLANT_FAULT
#define V_LANE_MASK(mask) (0x7fffu & (mask))
#else
#define V_LANE_MASK(mask) (mask)
#endif

#define V_INLINE static inline __attribute__((always_inline))

/* n bytes, 8 at most, lowest first. Compilers make one move of each when n is a constant. */
V_INLINE uint64_t v_bytes_load(const uint8_t *p, unsigned n) {
    uint64_t x = 0;
    for (unsigned i = 0; i < n; i++)
        x |= (uint64_t)p[i] << 8 * i;
    return x;
}
V_INLINE void v_bytes_store(uint8_t *p, unsigned n, uint64_t x) {
    for (unsigned i = 0; i < n; i++)
        p[i] = (uint8_t)(x >> 8 * i);
}
V_INLINE unsigned v_word_load(const uint8_t *p) {
    return p[0] | (unsigned)p[1] << 8;
}

/* Asks for the start of the page after the one that `p` lies in, if a piece of `bytes` begins that page's
 * turn: processors fetch ahead on their own once they see a direction, but not across pages, and a page
 * is over in a few rows. Decoding tq4 from and to memory gains 3 % (tq8 5 %); asking for every row ahead
 * of its turn gains nothing. */
V_INLINE void v_fetch_next_page(const void *p, size_t bytes) {
    const uintptr_t page = 4096, at = (uintptr_t)p; /* numbers: no pointer may leave its array */
    if (at % page >= bytes) return;
    for (size_t i = 0; i < 2 * bytes; i += 64)
        __builtin_prefetch((const void *)(at + page + i), 0, 1);
}

#endif
