/* SPDX-License-Identifier: MIT
 * Attention in integers, to read and to compare with: codes become digits, digits are multiplied and
 * added up, and sums are exact in whatever order. Of two digits each the product of the low ones is left
 * out: it is 2^-14 of what the high ones may come to. */
#include <assert.h>
#include <math.h>
#include <string.h>

#include "kernels/attend/digits.h"
#include "kernels/kernels.h"

void tq_query_digits_scalar(const tq_codebook_tables *book, size_t dim, const float *query, void *row) {
    const tq_digit_tables *digits = book->digits;
    const bool words = tq_takes_words(book);
    const size_t room = tq_digit_room(dim), count = digits->low == NULL ? 1 : 2;
    const float most = (float)tq_query_most(book);
    tq_query_head head = {0};
    int8_t *to = (int8_t *)row + sizeof head;
    float top = 0.0f;
    memset(to, 0, count * room);
    for (size_t i = 0; i < dim; i++) {
        if (!isfinite(query[i])) head.factor = NAN;
        top = fabsf(query[i]) > top ? fabsf(query[i]) : top;
    }
    if (top >= TQ_DIGIT_LEAST && !isnan(head.factor)) {
        const float up = most / top;
        head.factor = top / most * tq_query_unit(book);
        for (size_t i = 0; i < dim; i++) {
            int high = (int)rintf(query[i] * up), low = 0;
            const size_t place = tq_digit_place(book->bits, dim, i);
            if (words) {
                to[room + place] = (int8_t)(uint8_t)high;
                to[place] = (int8_t)((high + 32768) / 256 - 128);
                continue;
            }
            if (count == 2) tq_query_split(high, &high, &low);
            to[place] = (int8_t)high;
            if (count == 2) to[room + place] = (int8_t)low;
            head.sums[0] += high;
            head.sums[1] += low;
        }
    }
    memcpy(row, &head, sizeof head);
}

void tq_score_digits_scalar(const tq_codebook_tables *book, size_t dim, size_t rows, const void *queries,
                            size_t query_stride, size_t n, tq_code_rows packed, float *scores,
                            size_t n_stride) {
    const tq_digit_tables *digits = book->digits;
    const size_t room = tq_digit_room(dim);
    uint8_t codes[TQ_MAX_DIM];
    assert(dim % TQ_LANES == 0 && dim <= TQ_MAX_DIM);
    for (size_t t = 0; t < n; t++) {
        tq_unpack_scalar(book, dim, tq_row_at(packed, t), codes);
        for (size_t r = 0; r < rows; r++) {
            const void *row = (const uint8_t *)queries + r * query_stride;
            const int8_t *q = tq_query_digits_of(row);
            int32_t sum = 0;
            for (size_t i = 0; i < dim; i++) {
                const size_t place = tq_digit_place(book->bits, dim, i);
                const int32_t high = digits->high[codes[i]];
                if (tq_takes_words(book))
                    sum += tq_word_of(q[place], q[room + place]) *
                           tq_word_of(digits->word_high[codes[i]], digits->word_low[codes[i]]);
                else if (digits->low == NULL)
                    sum += q[place] * high;
                else
                    sum +=
                        128 * q[place] * high + q[place] * digits->low[codes[i]] + q[room + place] * high;
            }
            scores[r * n_stride + t] = (float)sum * ((const tq_query_head *)row)->factor;
        }
    }
}

float tq_weight_digits_scalar(size_t count, size_t n, const float *weights, const float *scales,
                              uint8_t *high, uint8_t *low, uint32_t *squares) {
    const float most = count == 1 ? TQ_WEIGHT_ONE : TQ_WEIGHT_TWO;
    float top = 0.0f;
    *squares = 0;
    memset(high, 0, n);
    if (count == 2) memset(low, 0, n);
    for (size_t t = 0; t < n; t++)
        if (weights[t] * scales[t] < 0.0f) return -1.0f;
    for (size_t t = 0; t < n; t++) {
        const float x = weights[t] * scales[t];
        if (!isfinite(x)) return NAN;
        top = x > top ? x : top;
    }
    for (size_t t = 0; t < n && top >= TQ_DIGIT_LEAST; t++) {
        const int whole = (int)rintf(weights[t] * scales[t] * (most / top));
        high[t] = (uint8_t)(count == 1 ? whole : whole / 128);
        if (count == 2) low[t] = (uint8_t)(whole % 128);
        if (count == 1) *squares += (uint32_t)(whole * whole);
    }
    return top;
}

void tq_accumulate_digits_scalar(const tq_codebook_tables *book, size_t dim, size_t rows,
                                 const uint8_t *weights, size_t weight_stride, size_t n,
                                 tq_code_rows packed, int32_t *sums, size_t sum_stride) {
    const tq_digit_tables *digits = book->digits;
    uint8_t codes[TQ_MAX_DIM];
    assert(dim % TQ_LANES == 0 && dim <= TQ_MAX_DIM);
    for (size_t t = 0; t < n; t++) {
        tq_unpack_scalar(book, dim, tq_row_at(packed, t), codes);
        for (size_t r = 0; r < rows; r++) {
            const int32_t w = weights[r * weight_stride + t];
            const int32_t w_low = weights[r * weight_stride + weight_stride / 2 + t];
            for (size_t i = 0; i < dim; i++) {
                int32_t *sum = &sums[r * sum_stride + tq_sum_place(book->bits, dim, i)];
                const int32_t high = digits->high[codes[i]];
                if (digits->low == NULL)
                    *sum += w * high;
                else
                    *sum += 128 * w * high + w * digits->low[codes[i]] + w_low * high;
            }
        }
    }
}

void tq_add_sums_scalar(const tq_codebook_tables *book, size_t dim, const int32_t *sums, float factor,
                        float *acc) {
    for (size_t i = 0; i < dim; i++)
        acc[i] = fmaf((float)sums[tq_sum_place(book->bits, dim, i)], factor, acc[i]);
}
