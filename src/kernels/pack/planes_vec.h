/* SPDX-License-Identifier: MIT
 * Codes in lanes to and from planes, a block of `group` vectors at a time. `bits` and `bytes` are
 * constants where these are called; bytes: one code a byte, not planes. */
#ifndef TQ_KERNELS_PLANES_VEC_H
#define TQ_KERNELS_PLANES_VEC_H

#include <stdbool.h>

#include "format/planes.h"
#include "kernels/kernels.h"

typedef struct planes {
    uint8_t *nibbles, *crumbs, *flags; /* of a row; the planes that `bits` does not have are unused */
    unsigned group;
} planes;

V_INLINE bool has_nibbles(const unsigned bits) {
    return bits >= 4;
}
V_INLINE bool has_crumbs(const unsigned bits) {
    return (bits & 2) != 0;
}
V_INLINE bool has_flags(const unsigned bits) {
    return (bits & 1) != 0;
}

V_INLINE planes planes_of(const unsigned bits, const bool bytes, unsigned group, size_t n, uint8_t *row) {
    planes p = {row, row, row, bytes ? 1 : group};
    if (!bytes && has_nibbles(bits)) p.crumbs = p.flags = row + n / 2;
    if (!bytes && has_crumbs(bits)) p.flags = p.crumbs + n / 4;
    return p;
}

V_INLINE uint8_t *nibble_block(const planes *p, size_t vector) {
    return p->nibbles + vector * 8;
}
V_INLINE uint8_t *crumb_block(const planes *p, size_t vector) {
    return p->crumbs + vector * 4;
}
V_INLINE uint8_t *flag_block(const planes *p, size_t vector) {
    return p->flags + vector * 2;
}

/* A block on its way out: fields come in at the top and move down as others follow; flags lie where they
 * stay, which is an operation less. */
typedef struct block_out {
    vu nibbles, crumbs, flags;
} block_out;

/* The k-th vector's codes; flag: their highest bit, 0 or 1. */
V_INLINE void block_put(block_out *b, const planes *p, const unsigned bits, const bool bytes,
                        size_t vector, const unsigned k, vu code, vu flag) {
    if (bytes) {
        v_lanes_store(p->nibbles + (vector + k) * 16, 8, code);
        return;
    }
    if (has_nibbles(bits)) b->nibbles = v_shift_in(b->nibbles, code, 4);
    if (has_crumbs(bits)) b->crumbs = v_shift_in(b->crumbs, has_nibbles(bits) ? v_shr(code, 4) : code, 2);
    if (has_flags(bits)) b->flags = v_or(b->flags, v_shl(flag, k));
}

V_INLINE void block_store(const block_out *b, const planes *p, const unsigned bits, const bool bytes,
                          size_t vector) {
    if (!bytes && has_nibbles(bits))
        v_lanes_store(nibble_block(p, vector), 4 * p->group, v_shr(b->nibbles, 32 - 4 * p->group));
    if (!bytes && has_crumbs(bits))
        v_lanes_store(crumb_block(p, vector), 2 * p->group, v_shr(b->crumbs, 32 - 2 * p->group));
    if (!bytes && has_flags(bits)) v_lanes_store(flag_block(p, vector), p->group, b->flags);
}

/* Codes of so many bits are looked up whole; of others that have flags these are the centroid's sign. */
V_INLINE bool is_whole(const unsigned bits) {
    return bits <= V_LOOKUP_LOG2;
}

/* A block on its way in: the vector at hand lies lowest, crumbs above their nibbles, and flags above both
 * if codes are looked up whole, else as v_signed() takes them. */
typedef struct block_in {
    vu nibbles, crumbs, flags;
} block_in;

V_INLINE block_in block_load(const planes *p, const unsigned bits, const bool bytes, size_t vector) {
    block_in b = {v_setu(0), v_setu(0), v_setu(0)};
    if (bytes)
        b.nibbles = v_lanes_load(p->nibbles + vector * 16, 8);
    else if (has_nibbles(bits))
        b.nibbles = v_lanes_load(nibble_block(p, vector), 4 * p->group);
    if (!bytes && has_crumbs(bits)) {
        b.crumbs = v_lanes_load(crumb_block(p, vector), 2 * p->group);
        if (has_nibbles(bits)) b.crumbs = v_shl(b.crumbs, 4);
    }
    if (!bytes && has_flags(bits)) {
        b.flags = v_lanes_load(flag_block(p, vector), p->group);
        b.flags = is_whole(bits) ? v_shl(b.flags, bits - 1) : v_sign_plane(b.flags);
    }
    return b;
}

/* The codes of the vector at hand but for their flags; bits above are anything. */
V_INLINE vu block_low(const block_in *b, const unsigned bits, const bool bytes) {
    if (bytes || !has_crumbs(bits)) return b->nibbles;
    return has_nibbles(bits) ? v_select_low(4, b->nibbles, b->crumbs) : b->crumbs;
}

/* The whole codes; bits above are anything. */
V_INLINE vu block_code(const block_in *b, const unsigned bits, const bool bytes) {
    const vu low = block_low(b, bits, bytes);
    if (bytes || !has_flags(bits)) return low;
    return v_select_low(bits - 1, low, is_whole(bits) ? b->flags : v_sign_bit(b->flags, bits - 1));
}

/* On to the vector after it. */
V_INLINE void block_next(block_in *b, const unsigned bits, const bool bytes) {
    if (!bytes && has_nibbles(bits)) b->nibbles = v_shr(b->nibbles, 4);
    if (!bytes && has_crumbs(bits)) b->crumbs = v_shr(b->crumbs, 2);
    if (!bytes && has_flags(bits))
        b->flags = is_whole(bits) ? v_shr(b->flags, 1) : v_sign_next(b->flags, 1);
}

/* Leaves out the next n vectors of a block of planes. */
V_INLINE void block_skip(block_in *b, const unsigned bits, unsigned n) {
    b->nibbles = v_shr(b->nibbles, 4 * n);
    b->crumbs = v_shr(b->crumbs, 2 * n);
    b->flags = is_whole(bits) ? v_shr(b->flags, n) : v_sign_next(b->flags, n);
}

/* Calls RUN(bits, ranked, bytes) with constants for the book at hand. */
#define PLANES_SWITCH(book, RUN)                                                                         \
    switch ((book)->bits + ((book)->ranked ? 16u : 0u)) {                                                \
    case 2:                                                                                              \
        RUN(2, false, false);                                                                            \
        break;                                                                                           \
    case 3:                                                                                              \
        RUN(3, false, false);                                                                            \
        break;                                                                                           \
    case 4:                                                                                              \
        RUN(4, false, false);                                                                            \
        break;                                                                                           \
    case 5:                                                                                              \
        RUN(5, false, false);                                                                            \
        break;                                                                                           \
    case 6:                                                                                              \
        RUN(6, false, false);                                                                            \
        break;                                                                                           \
    case 7:                                                                                              \
        RUN(7, false, false);                                                                            \
        break;                                                                                           \
    case 8:                                                                                              \
        RUN(8, false, true);                                                                             \
        break;                                                                                           \
    case 16 + 4:                                                                                         \
        RUN(4, true, false);                                                                             \
        break;                                                                                           \
    case 16 + 5:                                                                                         \
        RUN(5, true, true);                                                                              \
        break;                                                                                           \
    case 16 + 6:                                                                                         \
        RUN(6, true, true);                                                                              \
        break;                                                                                           \
    default:                                                                                             \
        RUN(8, true, true);                                                                              \
        break;                                                                                           \
    }

/* Calls RUN(bits, ranked, bytes, group) likewise for rows of n. v1's pairs are blocks of one vector. */
#define PLANES_GROUPS(bits, ranked, bytes, n, RUN)                                                       \
    switch ((ranked) || (bytes) ? 1 : tq_plane_group(bits, n)) {                                         \
    case 8:                                                                                              \
        RUN(bits, ranked, bytes, 8);                                                                     \
        break;                                                                                           \
    case 4:                                                                                              \
        RUN(bits, ranked, bytes, 4);                                                                     \
        break;                                                                                           \
    case 2:                                                                                              \
        RUN(bits, ranked, bytes, 2);                                                                     \
        break;                                                                                           \
    default:                                                                                             \
        RUN(bits, ranked, bytes, 1);                                                                     \
        break;                                                                                           \
    }

#endif
