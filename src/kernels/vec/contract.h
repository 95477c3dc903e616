/* SPDX-License-Identifier: MIT
 * What a level's header must give, in one place: a word that it lacks, or that means another type, does
 * not compile. vf is sixteen floats, vu sixteen unsigned numbers of 32 bits, v_table a codebook ready for
 * lookups. Besides, V_RADIX: vectors that a butterfly may hold in registers, a power of two; V_BLOCK:
 * accumulators that fit in registers beside their operands. Memory need not be aligned but for
 * v_stream().
 */
#ifndef TQ_KERNELS_VEC_CONTRACT_H
#define TQ_KERNELS_VEC_CONTRACT_H

/* memory */
V_INLINE vf v_load(const float *p);
V_INLINE void v_store(float *p, vf x);
V_INLINE void v_stream(float *p,
                       vf x);     /* past the caches, on a multiple of 64 bytes; a plain store will do */
V_INLINE void v_stream_end(void); /* behind the last of them: others find them done */
V_INLINE vf v_load_half(const uint16_t *p); /* float16, rounded to nearest, ties to even */
V_INLINE void v_store_half(uint16_t *p, vf x);
V_INLINE vu v_load_upper(const uint16_t *p); /* sixteen numbers of 16 bits as the upper halves of lanes */
V_INLINE void v_store_upper(uint16_t *p, vu x);
/* Numbers of 1, 2, 4, 8, 16 or 32 bits side by side; what lies above a loaded one of fewer than 8 bits is
 * anything. */
V_INLINE vu v_lanes_load(const uint8_t *p, unsigned width);
V_INLINE void v_lanes_store(uint8_t *p, unsigned width, vu x);

/* arithmetic, each operation rounded by itself; v_fma alone fuses, x y + z */
V_INLINE vf v_set(float x);
V_INLINE vf v_add(vf x, vf y);
V_INLINE vf v_sub(vf x, vf y);
V_INLINE vf v_mul(vf x, vf y);
V_INLINE vf v_div(vf x, vf y);
V_INLINE vf v_fma(vf x, vf y, vf z);
V_INLINE vf v_round(vf x);     /* to nearest, ties to even */
V_INLINE vf v_max(vf x, vf y); /* y where either is NaN */
V_INLINE vf v_min(vf x, vf y); /* likewise */
V_INLINE vf v_abs(vf x);
V_INLINE vf v_scale2(vf x, vf n);                  /* x times 2^n, n whole and -126 at least */
V_INLINE vf v_zero_below(vf y, vf x, float limit); /* y, but 0 where x is below the limit */

/* bits */
V_INLINE vu v_bits(vf x);
V_INLINE vf v_floats(vu x);
V_INLINE vu v_setu(uint32_t x);
V_INLINE vu v_addu(vu x, vu y);
V_INLINE vu v_subu(vu x, vu y);
V_INLINE vu v_and(vu x, vu y);
V_INLINE vu v_or(vu x, vu y);
V_INLINE vu v_xor(vu x, vu y);
V_INLINE vu v_shl(vu x, unsigned n);
V_INLINE vu v_shr(vu x, unsigned n);
V_INLINE vu v_select_low(unsigned n, vu x, vu y); /* low n bits of x, the others of y */
V_INLINE vu v_shift_in(vu x, vu y, unsigned n); /* x shifted down by n bits, the low n bits of y on top */
V_INLINE vu v_push_sign(vu x, vf d);            /* 2 x + the sign bit of d */
V_INLINE vu v_sign(vf x);                       /* the sign bit as 0 or 1 */
V_INLINE vu v_sign_plane(vu bits);              /* up to 8 bits a lane as signs, the lowest at hand */
V_INLINE vu v_sign_next(vu signs, unsigned n);  /* that n places on at hand */
V_INLINE vu v_sign_bit(vu signs, unsigned n);   /* the one at hand as bit n; those above are anything */
V_INLINE vf v_signed(vf x, vu signs);           /* x, not negative, with the one at hand as its sign */
V_INLINE vf v_flip(vf x, unsigned bits);        /* the sign of the lanes whose bit is set */
V_INLINE unsigned v_beyond(vf x,
                           vf limit); /* lanes whose magnitude is not at most the limit; NaN is not */

/* between lanes */
V_INLINE vf v_tilt(vf x, vf t); /* lanes 2i and 2i + 1: (a + t b, t a - b) */
V_INLINE vf v_hadamard2(vf x);  /* lanes 2 apart: (a + b, a - b); and so on */
V_INLINE vf v_hadamard4(vf x);
V_INLINE vf v_hadamard8(vf x);
V_INLINE float v_most(vf x); /* the largest; lanes are all numbers, or all NaN */
V_INLINE float v_fold(vf x); /* halves are added until one lane is left, as tq_fold_lanes() does */
V_INLINE void v_fold_block(const vf x[V_BLOCK], float sums[V_BLOCK]); /* each in that order */

/* lookups in a table of 2^log2 floats, at most 2^7 */
V_INLINE v_table v_table_load(const float *t, unsigned log2);
V_INLINE vf v_lookup(const v_table *t, unsigned log2, vu index);

#endif
