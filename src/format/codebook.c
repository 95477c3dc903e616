/* SPDX-License-Identifier: MIT
 * The codebooks, by format. */
#include "format/plan.h"
/* after the types */
#define TQ_TABLE static const
#include "format/codebooks.inc"
#include "format/digits.inc"

#define V1(bits, packing, octets)                                                                        \
    { bits, 1, packing, v1_levels_##bits, v1_bounds_##bits, v1_tree_##bits, octets, NULL }
#define V2(bits, octets)                                                                                 \
    {                                                                                                    \
        bits, 0, TQ_PACK_PLANES, v2_levels_##bits, v2_bounds_##bits, v2_tree_##bits, octets,             \
            &v2_digits_##bits                                                                            \
    }

#define ONE_DIGIT(bits)                                                                                  \
    static const tq_digit_tables v2_digits_##bits = {.unit = v2_unit_##bits, .high = v2_high_##bits}
#define TWO_DIGITS(bits)                                                                                 \
    static const tq_digit_tables v2_digits_##bits = {                                                    \
        .unit = v2_unit_##bits, .high = v2_high_##bits, .low = v2_low_##bits}
#define TWO_DIGITS_OR_WORDS(bits)                                                                        \
    static const tq_digit_tables v2_digits_##bits = {v2_unit_##bits,      v2_high_##bits,                \
                                                     v2_low_##bits,       v2_word_unit_##bits,           \
                                                     v2_word_high_##bits, v2_word_low_##bits}
ONE_DIGIT(2);
ONE_DIGIT(3);
ONE_DIGIT(4);
TWO_DIGITS_OR_WORDS(5);
TWO_DIGITS_OR_WORDS(6);
TWO_DIGITS(7);
TWO_DIGITS(8);

const tq_codebook_tables *tq_find_codebook(tq_format format) {
    static const struct {
        tq_format format;
        tq_codebook_tables book;
    } all[] = {
        {TQ_TQ2, V2(2, NULL)},
        {TQ_TQ3, V2(3, NULL)},
        {TQ_TQ4, V2(4, NULL)},
        {TQ_TQ5, V2(5, NULL)},
        {TQ_TQ6, V2(6, NULL)},
        {TQ_TQ7, V2(7, NULL)},
        {TQ_TQ8, V2(8, v2_octets_8)},
        {TQ_TQ4_V1, V1(4, TQ_PACK_PAIRS, NULL)},
        {TQ_TQ5_V1, V1(5, TQ_PACK_BYTES, NULL)},
        {TQ_TQ6_V1, V1(6, TQ_PACK_BYTES, NULL)},
        {TQ_TQ8_V1, V1(8, TQ_PACK_BYTES, v1_octets_8)},
    };
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        if (all[i].format == format) return &all[i].book;
    return NULL;
}

tq_status tq_fail_format(tq_format format) {
    return tq_fail(TQ_E_FORMAT, 0, "format", "no format has the number %d", (int)format);
}

tq_status tq_codebook(tq_format format, float *centroids, float *boundaries) {
    const tq_codebook_tables *book = tq_find_codebook(format);
    if (book == NULL) return tq_fail_format(format);
    const unsigned half = 1u << (book->bits - 1);
    const float *positive = book->ranked ? book->levels + half : book->levels;
    for (unsigned i = 0; i < half && centroids != NULL; i++) {
        centroids[half + i] = positive[i];
        centroids[half - 1 - i] = -positive[i];
    }
    if (boundaries == NULL) return TQ_OK;
    boundaries[half - 1] = 0.0f;
    for (unsigned i = 0; i + 1 < half; i++) {
        boundaries[half + i] = book->bounds[i];
        boundaries[half - 2 - i] = -book->bounds[i];
    }
    return TQ_OK;
}
