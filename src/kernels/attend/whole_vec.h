/* SPDX-License-Identifier: MIT
 * Floats to digits, and sums of products of digits to floats, on vectors of 16 lanes. */
#include <assert.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "kernels/attend/digits.h"
#include "kernels/kernels.h"

/* The whole number nearest to x, ties to even, of a magnitude below 2^22: what is added leaves no place
 * for a fraction. */
V_INLINE vu whole_of(vf x) {
    return v_subu(v_bits(v_add(x, v_set(0x1.8p23f))), v_setu(0x4b400000));
}
/* The same as a float. */
V_INLINE vf rounded_of(vf x) {
    return v_sub(v_add(x, v_set(0x1.8p23f)), v_set(0x1.8p23f));
}

/* The largest magnitude, and NaN if there is one that is not finite: 0 times it is NaN. */
static float largest_of(size_t n, const float *x) {
    vf lanes = v_set(0.0f), zeros = v_set(0.0f);
    for (size_t i = 0; i < n; i += TQ_LANES) {
        const vf next = v_load(x + i);
        lanes = v_max(v_abs(next), lanes);
        zeros = v_fma(next, v_set(0.0f), zeros);
    }
    return v_fold(zeros) == 0.0f ? v_most(lanes) : NAN;
}

/* How a query's whole numbers are taken apart: one digit, two, or the bytes of words. */
typedef enum query_parts { ONE_DIGIT, TWO_DIGITS, WORDS } query_parts;

typedef struct query_split {
    vu high, low; /* modulo 2^32 */
} query_split;

V_INLINE query_split split_whole(const query_parts parts, vu whole) {
    if (parts == ONE_DIGIT) return (query_split){whole, v_setu(0)};
    if (parts == WORDS) return (query_split){v_shr(whole, 8), whole}; /* the lowest eight bits count */
    /* as if numbers were not below 0 */
    const vu high = v_subu(v_shr(v_addu(whole, v_setu(64 + (1 << 20))), 7), v_setu(1 << 13));
    return (query_split){high, v_subu(whole, v_shl(high, 7))};
}

/* The digits of a block of vectors side by side, as tq_digit_place says: a lane's fields of one half
 * follow each other, group / 2 of them. */
V_INLINE void place_block(const vu *digits, const unsigned group, size_t field, int8_t *to) {
    V_FOR (odd, 2) {
        vu lanes = v_and(digits[odd], v_setu(255));
        V_FOR (i, group / 2)
            if (i > 0) lanes = v_or(lanes, v_shl(v_and(digits[2 * i + odd], v_setu(255)), 8 * i));
        const size_t piece = field / TQ_DIGIT_PIECE * TQ_DIGIT_PIECE, in = field % TQ_DIGIT_PIECE / 2;
        v_lanes_store((uint8_t *)to + piece + odd * TQ_DIGIT_HALF + in, 4 * group, lanes);
    }
}

/* The digits of vectors [dim / 16], each to its place. */
static void place_digits(unsigned bits, size_t dim, const vu *digits, int8_t *to) {
    const unsigned group = tq_plane_group(bits, dim);
    for (size_t i = 0; i < dim; i += group * TQ_LANES, digits += group)
        if (bits == 8) {
            v_lanes_store((uint8_t *)to + i, 8, v_and(*digits, v_setu(255)));
        } else if (group == 8) {
            place_block(digits, 8, i, to);
        } else if (group == 4) {
            place_block(digits, 4, i, to);
        } else if (group == 2) {
            place_block(digits, 2, i, to);
        } else {
            uint8_t lane[TQ_LANES];
            v_lanes_store(lane, 8, v_and(*digits, v_setu(255)));
            for (size_t l = 0; l < TQ_LANES; l++)
                to[tq_digit_place(bits, dim, i + l)] = (int8_t)lane[l];
        }
}

static int32_t sum_of(vu lanes) {
    uint32_t lane[TQ_LANES], sum = 0;
    v_lanes_store((uint8_t *)lane, 32, lanes);
    for (size_t l = 0; l < TQ_LANES; l++)
        sum += lane[l];
    return (int32_t)sum;
}

/* A query times `up` as digits and their sums, or as words. */
static void take_query(unsigned bits, size_t dim, const query_parts parts, const float *query, float up,
                       int8_t *to, int32_t sums[2]) {
    vu high[TQ_MAX_DIM / TQ_LANES], low[TQ_MAX_DIM / TQ_LANES];
    vu highs = v_setu(0), lows = v_setu(0);
    size_t i = 0;
    do { /* dim is not 0; compilers do not know */
        const query_split s =
            split_whole(parts, whole_of(v_mul(v_load(query + i * TQ_LANES), v_set(up))));
        high[i] = s.high;
        low[i] = s.low;
        highs = v_addu(highs, s.high);
        lows = v_addu(lows, s.low);
    } while (++i < dim / TQ_LANES);
    place_digits(bits, dim, high, to);
    if (parts != ONE_DIGIT) place_digits(bits, dim, low, to + tq_digit_room(dim));
    if (parts == WORDS) return;
    sums[0] = sum_of(highs);
    sums[1] = sum_of(lows);
}

void V_NAME(query_digits)(const tq_codebook_tables *book, size_t dim, const float *query, void *row) {
    const query_parts parts = tq_takes_words(book)        ? WORDS
                              : book->digits->low == NULL ? ONE_DIGIT
                                                          : TWO_DIGITS;
    const float most = (float)tq_query_most(book), top = largest_of(dim, query);
    tq_query_head head = {0};
    int8_t *to = (int8_t *)row + sizeof head;
    assert(dim % TQ_LANES == 0 && dim <= TQ_MAX_DIM);
    memset(to, 0, (parts == ONE_DIGIT ? 1 : 2) * tq_digit_room(dim));
    if (!(top < TQ_DIGIT_LEAST)) head.factor = top / most * tq_query_unit(book);
    if (top >= TQ_DIGIT_LEAST) take_query(book->bits, dim, parts, query, most / top, to, head.sums);
    memcpy(row, &head, sizeof head);
}

/* Largest and least products of weights and scales, lane by lane; zeros: 0 times each, NaN for what is
 * not finite. */
typedef struct weight_lanes {
    vf most, least, zeros;
} weight_lanes;

V_INLINE void meet_weights(weight_lanes *w, vf x) {
    w->most = v_max(x, w->most);
    w->least = v_min(x, w->least);
    w->zeros = v_fma(x, v_set(0.0f), w->zeros);
}

static float largest_weight(const weight_lanes *w) {
    if (v_most(v_sub(v_set(0.0f), w->least)) > 0.0f) return -1.0f;
    return v_fold(w->zeros) == 0.0f ? v_most(w->most) : NAN;
}

/* Returns squares and those of these digits, if they are single. */
V_INLINE vf store_weight(const size_t count, vf weight, vf up, uint8_t *high, uint8_t *low, vf squares) {
    const vf x = v_mul(weight, up), rounded = rounded_of(x);
    const vu whole = whole_of(x);
    v_lanes_store(high, 8, count == 1 ? whole : v_shr(whole, 7));
    if (count == 2) v_lanes_store(low, 8, v_and(whole, v_setu(127)));
    return count == 1 ? v_fma(rounded, rounded, squares) : squares;
}

V_INLINE float weight_digits(const size_t count, size_t n, const float *weights, const float *scales,
                             uint8_t *high, uint8_t *low, uint32_t *squares) {
    const size_t whole = n / TQ_LANES * TQ_LANES, left = n - whole;
    float rest[2][TQ_LANES] = {{0}};
    uint8_t digits[2][TQ_LANES];
    memcpy(rest[0], weights + whole, left * sizeof **rest);
    memcpy(rest[1], scales + whole, left * sizeof **rest);
    const vf last = v_mul(v_load(rest[0]), v_load(rest[1]));
    weight_lanes w = {v_set(0.0f), v_set(0.0f), v_set(0.0f)};
    for (size_t t = 0; t < whole; t += TQ_LANES)
        meet_weights(&w, v_mul(v_load(weights + t), v_load(scales + t)));
    meet_weights(&w, last);
    const float top = largest_weight(&w);
    *squares = 0;
    if (!(top >= TQ_DIGIT_LEAST)) {
        memset(high, 0, n);
        if (count == 2) memset(low, 0, n);
        return top;
    }
    const vf up = v_set((count == 1 ? TQ_WEIGHT_ONE : TQ_WEIGHT_TWO) / top);
    vf sum = v_set(0.0f); /* below 2^24: exact */
    for (size_t t = 0; t < whole; t += TQ_LANES)
        sum = store_weight(count, v_mul(v_load(weights + t), v_load(scales + t)), up, high + t, low + t,
                           sum);
    if (left > 0) {
        sum = store_weight(count, last, up, digits[0], digits[1], sum);
        memcpy(high + whole, digits[0], left);
        if (count == 2) memcpy(low + whole, digits[1], left);
    }
    *squares = (uint32_t)v_fold(sum);
    return top;
}

float V_NAME(weight_digits)(size_t count, size_t n, const float *weights, const float *scales,
                            uint8_t *high, uint8_t *low, uint32_t *squares) {
    assert(n <= 256);
    return count == 1 ? weight_digits(1, n, weights, scales, high, low, squares)
                      : weight_digits(2, n, weights, scales, high, low, squares);
}

/* acc + sums of 16 coordinates. */
V_INLINE void add_lanes(float *acc, vf sums, vf factor) {
    v_store(acc, v_fma(sums, factor, v_load(acc)));
}

/* A half of a piece of 128 coordinates: eight vectors, whose fields a lane has side by side. */
V_INLINE void add_half(const int32_t *sums, const bool octets, unsigned odd, vf factor, float *acc) {
    vf x[4];
    V_FOR (j, 4)
        x[j] = v_load_ints(sums + 16 * j);
    if (octets)
        v_transpose_quads(x);
    else
        v_transpose(x);
    V_FOR (j, 4)
        add_lanes(acc + TQ_LANES * (octets ? 4 * odd + j : 2 * j + odd), x[j], factor);
}

/* Of dimensions that are not whole pieces: tq_sum_place for a vector at a time. */
static void add_scattered(unsigned bits, size_t dim, const int32_t *sums, float factor, float *acc) {
    const size_t group = tq_plane_group(bits, dim);
    for (size_t v = 0; v < dim / TQ_LANES; v++, acc += TQ_LANES) {
        const size_t first = bits == 8 ? v * TQ_LANES : v / group * group * TQ_LANES + v % group;
        for (size_t l = 0; l < TQ_LANES; l++) {
            const size_t field = first + l * group, in = field % TQ_DIGIT_PIECE;
            const size_t half = bits == 8 ? in / TQ_DIGIT_HALF : in % 2;
            const size_t at = bits == 8 ? in % TQ_DIGIT_HALF : in / 2;
            const size_t place = at % 16 / 4 * 16 + at / 16 * 4 + at % 4;
            acc[l] = fmaf((float)sums[field - in + half * TQ_DIGIT_HALF + place], factor, acc[l]);
        }
    }
}

void V_NAME(add_sums)(const tq_codebook_tables *book, size_t dim, const int32_t *sums, float factor,
                      float *acc) {
    assert(dim % TQ_LANES == 0 && dim <= TQ_MAX_DIM);
    if (dim % TQ_DIGIT_PIECE != 0) {
        add_scattered(book->bits, dim, sums, factor, acc);
        return;
    }
    for (size_t piece = 0; piece < dim; piece += TQ_DIGIT_PIECE)
        for (unsigned odd = 0; odd < 2; odd++) {
            const int32_t *from = sums + piece + odd * TQ_DIGIT_HALF;
            if (book->bits == 8)
                add_half(from, true, odd, v_set(factor), acc + piece);
            else
                add_half(from, false, odd, v_set(factor), acc + piece);
        }
}
