/* SPDX-License-Identifier: MIT
 * tq_pack, tq_unpack, sizes of rows, and the names of formats. */
#include <string.h>

#include "model.h"
#include "support/cm.h"
#include "support/guard.h"
#include "support/rng.h"

enum { ROWS = 3 };

static void fill(rng *r, unsigned bits, uint8_t *codes, size_t n) {
    for (size_t i = 0; i < n; i++)
        codes[i] = (uint8_t)rng_below(r, 1U << bits);
}

/* Into the model's bytes and back, in every format and dimension. */
static void v2_rows(void **state) {
    (void)state;
    static uint8_t codes[ROWS * MODEL_MAX_DIM], want[ROWS * MODEL_MAX_DIM];
    rng r = {140};
    for (uint32_t dim = MODEL_FIRST_DIM; dim <= MODEL_MAX_DIM; dim += MODEL_DIM_STEP) {
        for (unsigned bits = 2; bits <= 8; bits++) {
            tq_codec codec = {.format = (tq_format)bits, .head_dim = dim};
            size_t row = dim * bits / 8, n = (size_t)ROWS * dim;
            guard packed = guard_new(ROWS * row), back = guard_new(n);
            fill(&r, bits, codes, n);
            for (size_t t = 0; t < ROWS; t++)
                model_pack(bits, dim, codes + t * dim, want + t * row);
            assert_int_equal(tq_pack(&codec, ROWS, codes, packed.data), TQ_OK);
            assert_memory_equal(packed.data, want, ROWS * row);
            guard_assert_only(&packed, 0, ROWS * row);
            guard_save(&packed);
            assert_int_equal(tq_unpack(&codec, ROWS, packed.data, back.data), TQ_OK);
            assert_memory_equal(back.data, codes, n);
            guard_assert_only(&back, 0, n);
            guard_assert_untouched(&packed);
            guard_free(&packed);
            guard_free(&back);
        }
    }
}

static void v1_rows(void **state) {
    (void)state;
    static const tq_format formats[] = {TQ_TQ4_V1, TQ_TQ5_V1, TQ_TQ6_V1, TQ_TQ8_V1};
    uint8_t codes[512], packed[512], back[512];
    rng r = {150};
    for (size_t f = 0; f < 4; f++) {
        for (uint32_t dim = 256; dim <= 512; dim += 256) {
            unsigned bits = tq_format_bits(formats[f]);
            tq_codec codec = {.format = formats[f], .head_dim = dim};
            fill(&r, bits, codes, dim);
            assert_int_equal(tq_pack(&codec, 1, codes, packed), TQ_OK);
            for (uint32_t i = 0; i < dim; i++)
                if (bits == 4)
                    assert_int_equal(packed[i / 2] >> (i % 2 * 4) & 15, codes[i]);
                else
                    assert_int_equal(packed[i], codes[i]);
            for (uint32_t i = 0; i < dim && (bits == 5 || bits == 6); i++)
                packed[i] |= (uint8_t)(0xffU << bits);
            assert_int_equal(tq_unpack(&codec, 1, packed, back), TQ_OK);
            for (uint32_t i = 0; i < dim; i++) {
                unsigned mask = (1U << bits) - 1;
                assert_int_equal(back[i], bits == 4 ? codes[i] : packed[i] & mask);
            }
        }
    }
}

/* What encode writes is what pack writes of the codes that unpack reads. */
static void encoded_rows_unpack(void **state) {
    (void)state;
    float x[176];
    uint16_t norm;
    uint8_t packed[176], codes[176], again[176], want[176];
    tq_batch one = {.heads = 1, .rows = 1};
    rng r = {160};
    rng_gauss_fill(&r, x, 176);
    for (unsigned bits = 2; bits <= 8; bits++) {
        tq_codec codec = {.format = (tq_format)bits, .head_dim = 176};
        assert_int_equal(tq_encode(&codec, &one, x, 176, NULL, 0, packed, sizeof packed, &norm, 2),
                         TQ_OK);
        assert_int_equal(tq_unpack(&codec, 1, packed, codes), TQ_OK);
        model_encode(bits, 176, TQ_NORM_PLAIN, x, NULL, want);
        assert_memory_equal(codes, want, 176);
        assert_int_equal(tq_pack(&codec, 1, codes, again), TQ_OK);
        assert_memory_equal(packed, again, 176 * bits / 8);
    }
}

static void codes_that_do_not_fit(void **state) {
    (void)state;
    size_t count;
    const tq_format *formats = tq_formats(&count);
    uint8_t codes[2 * 256] = {0};
    guard packed = guard_new(2 * 256);
    for (size_t f = 0; f < count; f++) {
        unsigned bits = tq_format_bits(formats[f]);
        tq_codec codec = {.format = formats[f], .head_dim = 256};
        for (size_t i = 0; i < 2 * 256 && bits < 8; i += 15) {
            const unsigned wrong[] = {1U << bits, 255};
            for (int k = 0; k < 2; k++) {
                codes[i] = (uint8_t)wrong[k];
                assert_int_equal(tq_pack(&codec, 2, codes, packed.data), TQ_E_CODE);
                assert_int_equal(tq_last_error()->index, i);
                assert_string_equal(tq_last_error()->field, "codes");
                guard_assert_untouched(&packed);
            }
            codes[i] = (uint8_t)((1U << bits) - 1);
        }
        memset(codes, (int)((1U << bits) - 1), sizeof codes);
        guard scratch = guard_new(2 * 256);
        assert_int_equal(tq_pack(&codec, 2, codes, scratch.data), TQ_OK);
        guard_free(&scratch);
        memset(codes, 0, sizeof codes);
    }
    guard_free(&packed);
}

static void sizes_of_rows(void **state) {
    (void)state;
    for (uint32_t dim = MODEL_FIRST_DIM; dim <= MODEL_MAX_DIM; dim += MODEL_DIM_STEP) {
        for (unsigned bits = 2; bits <= 8; bits++) {
            tq_codec codec = {.format = (tq_format)bits, .head_dim = dim};
            size_t bytes = 0, norms = 0;
            assert_int_equal(tq_row_size(&codec, &bytes, &norms), TQ_OK);
            assert_int_equal(bytes, dim * bits / 8);
            assert_int_equal(norms, 2);
        }
    }
    static const tq_format v1[] = {TQ_TQ4_V1, TQ_TQ5_V1, TQ_TQ6_V1, TQ_TQ8_V1};
    for (size_t f = 0; f < 4; f++) {
        for (uint32_t dim = 256; dim <= 512; dim += 256) {
            tq_codec codec = {.format = v1[f], .head_dim = dim};
            size_t bytes = 0, norms = 0;
            assert_int_equal(tq_row_size(&codec, &bytes, NULL), TQ_OK);
            assert_int_equal(tq_row_size(&codec, NULL, &norms), TQ_OK);
            assert_int_equal(bytes, f == 0 ? dim / 2 : dim);
            assert_int_equal(norms, dim / 256 * 4);
        }
    }
}

static void names(void **state) {
    (void)state;
    static const struct {
        tq_format format;
        const char *name;
        unsigned bits;
    } want[] = {{TQ_TQ2, "tq2", 2},       {TQ_TQ3, "tq3", 3},       {TQ_TQ4, "tq4", 4},
                {TQ_TQ5, "tq5", 5},       {TQ_TQ6, "tq6", 6},       {TQ_TQ7, "tq7", 7},
                {TQ_TQ8, "tq8", 8},       {TQ_TQ4_V1, "tq4-v1", 4}, {TQ_TQ5_V1, "tq5-v1", 5},
                {TQ_TQ6_V1, "tq6-v1", 6}, {TQ_TQ8_V1, "tq8-v1", 8}};
    size_t count = 0;
    const tq_format *formats = tq_formats(&count);
    assert_int_equal(count, sizeof want / sizeof want[0]);
    for (size_t f = 0; f < count; f++) {
        tq_format found = TQ_TQ2;
        assert_int_equal(formats[f], want[f].format);
        assert_string_equal(tq_format_name(want[f].format), want[f].name);
        assert_int_equal(tq_format_bits(want[f].format), want[f].bits);
        assert_int_equal(tq_format_from_name(want[f].name, &found), TQ_OK);
        assert_int_equal(found, want[f].format);
    }
    static const int none[] = {0, 1, 9, 0x102, 0x103, 0x107, 0x109, 0x204, 255, -1};
    for (size_t i = 0; i < sizeof none / sizeof none[0]; i++) {
        assert_null(tq_format_name((tq_format)none[i]));
        assert_int_equal(tq_format_bits((tq_format)none[i]), 0);
    }
    static const char *const wrong[] = {"",     "tq",   "tq1",    "tq9",    "TQ4",    "tq4 ",
                                        " tq4", "tq44", "tq7-v1", "tq4-v2", "tq4-v1x"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        tq_format kept = TQ_TQ7;
        assert_int_equal(tq_format_from_name(wrong[i], &kept), TQ_E_FORMAT);
        assert_int_equal(kept, TQ_TQ7);
    }
    assert_string_equal(tq_status_name(TQ_E_SIZE), "TQ_E_SIZE");
    assert_string_equal(tq_status_name(TQ_OK), "TQ_OK");
    assert_string_equal(tq_status_name((tq_status)999), "TQ_E_?");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(v2_rows),
        cmocka_unit_test(v1_rows),
        cmocka_unit_test(encoded_rows_unpack),
        cmocka_unit_test(codes_that_do_not_fit),
        cmocka_unit_test(sizes_of_rows),
        cmocka_unit_test(names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
