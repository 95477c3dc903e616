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

/* The largest magnitude, and NaN if there is one that is not finite: 0 times it is NaN. */
static float largest_of(size_t n, const float *x) {
    vf lanes = v_set(0.0f), zeros = v_set(0.0f);
    float lane[TQ_LANES], top = 0.0f;
    for (size_t i = 0; i < n; i += TQ_LANES) {
        const vf next = v_load(x + i);
        lanes = v_max(v_abs(next), lanes);
        zeros = v_fma(next, v_set(0.0f), zeros);
    }
    v_store(lane, lanes);
    for (size_t l = 0; l < TQ_LANES; l++)
        top = lane[l] > top ? lane[l] : top;
    return v_fold(zeros) == 0.0f ? top : NAN;
}

/* The digits of whole numbers [dim], each to its place, and their sums. */
static void place_digits(unsigned bits, size_t dim, size_t count, const int32_t *whole, int8_t *to,
                         int32_t sums[2]) {
    const size_t room = tq_digit_room(dim);
    for (size_t i = 0; i < dim; i++) {
        const size_t place = tq_digit_place(bits, dim, i);
        int high = whole[i], low = 0;
        if (count == 2) {
            tq_query_split(whole[i], &high, &low);
            to[room + place] = (int8_t)low;
        }
        to[place] = (int8_t)high;
        sums[0] += high;
        sums[1] += low;
    }
}

void V_NAME(query_digits)(const tq_codebook_tables *book, size_t dim, const float *query, void *row) {
    const size_t count = book->digits->low == NULL ? 1 : 2;
    const float most = count == 1 ? TQ_QUERY_ONE : TQ_QUERY_TWO, top = largest_of(dim, query);
    _Alignas(64) int32_t whole[TQ_MAX_DIM];
    tq_query_head head = {0};
    int8_t *to = (int8_t *)row + sizeof head;
    assert(dim % TQ_LANES == 0 && dim <= TQ_MAX_DIM);
    memset(to, 0, count * tq_digit_room(dim));
    if (!(top < TQ_DIGIT_LEAST)) head.factor = top / most * book->digits->unit;
    if (top >= TQ_DIGIT_LEAST) {
        const vf up = v_set(most / top);
        for (size_t i = 0; i < dim; i += TQ_LANES)
            v_lanes_store((uint8_t *)(whole + i), 32, whole_of(v_mul(v_load(query + i), up)));
        place_digits(book->bits, dim, count, whole, to, head.sums);
    }
    memcpy(row, &head, sizeof head);
}

V_INLINE void store_weight(size_t count, vf weight, vf up, uint8_t *high, uint8_t *low) {
    const vu whole = whole_of(v_mul(weight, up));
    v_lanes_store(high, 8, count == 1 ? whole : v_shr(whole, 7));
    if (count == 2) v_lanes_store(low, 8, v_and(whole, v_setu(127)));
}

void V_NAME(weight_digits)(size_t count, size_t n, const float *weights, float up, uint8_t *high,
                           uint8_t *low) {
    size_t t = 0;
    for (; n - t >= TQ_LANES; t += TQ_LANES)
        store_weight(count, v_load(weights + t), v_set(up), high + t, low + t);
    if (t == n) return;
    float rest[TQ_LANES] = {0};
    uint8_t digits[2][TQ_LANES];
    memcpy(rest, weights + t, (n - t) * sizeof *rest);
    store_weight(count, v_load(rest), v_set(up), digits[0], digits[1]);
    memcpy(high + t, digits[0], n - t);
    if (count == 2) memcpy(low + t, digits[1], n - t);
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

void V_NAME(add_sums)(const tq_codebook_tables *book, size_t dim, const int32_t *sums, float factor,
                      float *acc) {
    assert(dim % TQ_LANES == 0 && dim <= TQ_MAX_DIM);
    if (dim % TQ_DIGIT_PIECE != 0) {
        for (size_t i = 0; i < dim; i++)
            acc[i] = fmaf((float)sums[tq_sum_place(book->bits, dim, i)], factor, acc[i]);
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
