/* SPDX-License-Identifier: MIT
 * Batches: heads, rows and strides on both sides, centres per head, and the bytes between rows. */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "model.h"
#include "support/cm.h"
#include "support/guard.h"
#include "support/rng.h"

enum { HEADS = 3, ROWS = 4 };

/* Strides in elements; those of 0 are what contiguous rows would have. */
typedef struct layout {
    size_t row, head;
} layout;

typedef struct scene {
    tq_codec codec;
    tq_batch batch;
    size_t code_bytes, n_norms;
    layout dense, codes, norms; /* effective strides */
    guard dense_in, dense_out, codes_out, norms_out, centre;
} scene;

static layout effective(size_t row_stride, size_t head_stride, size_t length) {
    layout l = {row_stride == 0 ? length : row_stride, 0};
    l.head = head_stride == 0 ? ROWS * l.row : head_stride;
    return l;
}

/* Exactly up to the end of the last piece: the call may not ask for the gap after it. */
static size_t extent(layout l, size_t length) {
    return (HEADS - 1) * l.head + (ROWS - 1) * l.row + length;
}

static scene scene_of(tq_format format, uint32_t dim, tq_batch batch) {
    scene s = {0};
    s.codec.format = format;
    s.codec.head_dim = dim;
    s.codec.scale_factor_d512 = 1.25f;
    s.batch = batch;
    s.batch.heads = HEADS;
    s.batch.rows = ROWS;
    assert_int_equal(tq_row_size(&s.codec, &s.code_bytes, &s.n_norms), TQ_OK);
    s.dense = effective(batch.dense_row_stride, batch.dense_head_stride, dim);
    s.codes = effective(batch.code_row_stride, batch.code_head_stride, s.code_bytes);
    s.norms = effective(batch.norm_row_stride, batch.norm_head_stride, s.n_norms);
    s.dense_in = guard_new(extent(s.dense, dim) * sizeof(float));
    s.dense_out = guard_new(extent(s.dense, dim) * sizeof(float));
    s.codes_out = guard_new(extent(s.codes, s.code_bytes));
    s.norms_out = guard_new(extent(s.norms, s.n_norms) * sizeof(float));
    s.centre = guard_new((size_t)HEADS * dim * sizeof(float));
    rng r = {dim + (uint64_t)format};
    rng_gauss_fill(&r, s.centre.data, (size_t)HEADS * dim);
    for (size_t i = 0; i < HEADS * ROWS; i++) {
        rng_gauss_fill(&r, (float *)s.dense_in.data + i / ROWS * s.dense.head + i % ROWS * s.dense.row,
                       dim);
    }
    guard_save(&s.dense_in);
    guard_save(&s.centre);
    return s;
}

static void scene_free(scene *s) {
    guard_free(&s->dense_in);
    guard_free(&s->dense_out);
    guard_free(&s->codes_out);
    guard_free(&s->norms_out);
    guard_free(&s->centre);
}

/* One row at a time, contiguous: what the batch has to equal. Its bytes are then accepted as written. */
static void check_row(scene *s, size_t h, size_t t, const float *centre, const float *rotated_centre) {
    uint32_t dim = s->codec.head_dim;
    tq_batch one = {.heads = 1, .rows = 1};
    uint8_t codes[MODEL_MAX_DIM];
    float norms[2], dense[MODEL_MAX_DIM];
    size_t at_dense = h * s->dense.head + t * s->dense.row,
           at_codes = h * s->codes.head + t * s->codes.row;
    size_t at_norms = h * s->norms.head + t * s->norms.row;
    const float *x = (const float *)s->dense_in.data + at_dense;
    if (centre != NULL) centre += h * dim;
    if (rotated_centre != NULL) rotated_centre += h * dim;
    assert_int_equal(tq_encode(&s->codec, &one, x, dim, centre, codes, sizeof codes, norms, 2), TQ_OK);
    assert_memory_equal((uint8_t *)s->codes_out.data + at_codes, codes, s->code_bytes);
    assert_memory_equal((float *)s->norms_out.data + at_norms, norms, s->n_norms * sizeof(float));
    guard_accept(&s->codes_out, at_codes, s->code_bytes);
    guard_accept(&s->norms_out, at_norms * sizeof(float), s->n_norms * sizeof(float));
    assert_int_equal(
        tq_decode(&s->codec, &one, TQ_ROTATED, codes, sizeof codes, norms, 2, rotated_centre, dense, dim),
        TQ_OK);
    assert_memory_equal((float *)s->dense_out.data + at_dense, dense, dim * sizeof(float));
    guard_accept(&s->dense_out, at_dense * sizeof(float), dim * sizeof(float));
}

static void check(tq_format format, uint32_t dim, tq_batch batch, bool centred) {
    scene s = scene_of(format, dim, batch);
    float *rotated = test_alloc((size_t)HEADS * dim * sizeof *rotated);
    const float *centre = centred ? s.centre.data : NULL;
    size_t n_dense = s.dense_in.size / sizeof(float), n_norms = s.norms_out.size / sizeof(float);
    assert_int_equal(tq_rotate(&s.codec, TQ_ROTATED, HEADS, s.centre.data, rotated), TQ_OK);
    assert_int_equal(tq_encode(&s.codec, &s.batch, s.dense_in.data, n_dense, centre, s.codes_out.data,
                               s.codes_out.size, s.norms_out.data, n_norms),
                     TQ_OK);
    assert_int_equal(tq_decode(&s.codec, &s.batch, TQ_ROTATED, s.codes_out.data, s.codes_out.size,
                               s.norms_out.data, n_norms, centred ? rotated : NULL, s.dense_out.data,
                               n_dense),
                     TQ_OK);
    for (size_t h = 0; h < HEADS; h++)
        for (size_t t = 0; t < ROWS; t++)
            check_row(&s, h, t, centre, centred ? rotated : NULL);
    guard_assert_untouched(&s.codes_out);
    guard_assert_untouched(&s.norms_out);
    guard_assert_untouched(&s.dense_out);
    guard_assert_untouched(&s.dense_in);
    guard_assert_untouched(&s.centre);
    free(rotated);
    scene_free(&s);
}

static void check_all_formats(uint32_t dim, tq_batch batch) {
    size_t count;
    const tq_format *formats = tq_formats(&count);
    for (size_t f = 0; f < count; f++) {
        tq_codec codec = {.format = formats[f], .head_dim = dim};
        if (tq_row_size(&codec, NULL, NULL) != TQ_OK) continue;
        check(formats[f], dim, batch, false);
        check(formats[f], dim, batch, true);
    }
}

static void contiguous(void **state) {
    (void)state;
    tq_batch batch = {0};
    check_all_formats(80, batch);
    check_all_formats(256, batch);
    check_all_formats(512, batch);
}

static void gaps_between_rows_and_heads(void **state) {
    (void)state;
    tq_batch rows = {.dense_row_stride = 263, .code_row_stride = 259, .norm_row_stride = 3};
    check_all_formats(256, rows);
    tq_batch both = {.dense_row_stride = 257,
                     .dense_head_stride = 257 * ROWS + 5,
                     .code_row_stride = 301,
                     .code_head_stride = 301 * ROWS + 1,
                     .norm_row_stride = 2,
                     .norm_head_stride = 2 * ROWS + 7};
    check_all_formats(256, both);
    check_all_formats(96, both);
    tq_batch heads = {.dense_head_stride = 96 * ROWS + 1,
                      .code_head_stride = 96 * ROWS + 9,
                      .norm_head_stride = ROWS + 1};
    check_all_formats(96, heads);
}

/* [T][G][D]: the heads of a position side by side, as projections write them. */
static void positions_outermost(void **state) {
    (void)state;
    tq_batch batch = {.dense_row_stride = 128 * HEADS,
                      .dense_head_stride = 128,
                      .code_row_stride = 128 * HEADS,
                      .code_head_stride = 128,
                      .norm_row_stride = HEADS,
                      .norm_head_stride = 1};
    check_all_formats(128, batch);
}

/* Codes of a row followed by its norm in one array: pieces interleave and never touch. */
static void norms_after_the_codes(void **state) {
    (void)state;
    enum { D = 64, STEP = D / 2 + 4 };
    tq_codec codec = {.format = TQ_TQ4, .head_dim = D};
    tq_batch batch = {.heads = 1, .rows = ROWS, .code_row_stride = STEP, .norm_row_stride = STEP / 4};
    tq_batch plain = {.heads = 1, .rows = ROWS};
    float x[ROWS * D], norms[ROWS], together[ROWS * STEP / 4];
    uint8_t codes[ROWS * D / 2];
    rng r = {70};
    rng_gauss_fill(&r, x, ROWS * D);
    assert_int_equal(tq_encode(&codec, &plain, x, ROWS * D, NULL, codes, sizeof codes, norms, ROWS),
                     TQ_OK);
    assert_int_equal(tq_encode(&codec, &batch, x, ROWS * D, NULL, (uint8_t *)together, sizeof together,
                               together + D / 8, sizeof together / 4 - D / 8),
                     TQ_OK);
    for (size_t t = 0; t < ROWS; t++) {
        assert_memory_equal((uint8_t *)together + t * STEP, codes + t * D / 2, D / 2);
        assert_memory_equal(together + t * STEP / 4 + D / 8, norms + t, sizeof(float));
    }
}

/* Pieces that interleave with equal steps and do touch: a norm inside the codes, codes inside a vector.
 */
static void interleaved_pieces_that_touch(void **state) {
    (void)state;
    enum { D = 64, STEP = D / 2 + 4, WIDE = D + 10 };
    tq_codec codec = {.format = TQ_TQ4, .head_dim = D};
    tq_batch batch = {.heads = 1, .rows = ROWS, .code_row_stride = STEP, .norm_row_stride = STEP / 4};
    float x[ROWS * D], norms[ROWS];
    guard all = guard_new((ROWS + 1) * WIDE * sizeof(float));
    float *together = all.data;
    rng r = {71};
    rng_gauss_fill(&r, x, ROWS * D);
    for (size_t at = 0; at < D / 8; at++) {
        assert_int_equal(tq_encode(&codec, &batch, x, ROWS * D, NULL, all.data, all.size, together + at,
                                   ROWS * WIDE / 2),
                         TQ_E_OVERLAP);
    }
    tq_batch wide = {
        .heads = 1, .rows = ROWS, .dense_row_stride = WIDE, .code_row_stride = WIDE * sizeof(float)};
    memset(together, 0, all.size);
    guard_save(&all);
    /* Ten floats of gap hold the 32 bytes of codes at their first three places only. */
    for (size_t at = 0; at < WIDE; at++) {
        tq_status want = at >= D && at <= D + 2 ? TQ_OK : TQ_E_OVERLAP;
        assert_int_equal(tq_encode(&codec, &wide, together, ROWS * WIDE, NULL, (uint8_t *)(together + at),
                                   all.size - at * sizeof(float), norms, ROWS),
                         want);
        if (want != TQ_OK)
            guard_assert_untouched(&all);
        else
            guard_save(&all);
    }
    guard_free(&all);
}

static void nothing_to_do(void **state) {
    (void)state;
    tq_codec codec = {.format = TQ_TQ3, .head_dim = 64};
    for (int i = 0; i < 3; i++) {
        tq_batch batch = {.heads = i == 0 ? 0 : 2, .rows = i == 1 ? 5 : 0};
        if (i == 1) batch.heads = 0;
        assert_int_equal(tq_encode(&codec, &batch, NULL, 0, NULL, NULL, 0, NULL, 0), TQ_OK);
        assert_int_equal(tq_decode(&codec, &batch, TQ_ROTATED, NULL, 0, NULL, 0, NULL, NULL, 0), TQ_OK);
    }
}

/* A centre taken away and given back: the error is that of the deviation alone, however large the centre.
 */
static void a_centre_pays_off(void **state) {
    (void)state;
    enum { D = 128, N = 64 };
    tq_codec codec = {.format = TQ_TQ4, .head_dim = D};
    tq_batch batch = {.heads = 1, .rows = N};
    static float x[N * D], y[N * D], norms[N];
    static uint8_t codes[N * D / 2];
    float centre[D];
    rng r = {80};
    rng_gauss_fill(&r, centre, D);
    rng_gauss_fill(&r, x, N * D);
    for (size_t i = 0; i < N * D; i++)
        x[i] += 50.0f * centre[i % D];
    for (size_t j = 0; j < D; j++)
        centre[j] *= 50.0f;
    assert_int_equal(tq_encode(&codec, &batch, x, N * D, centre, codes, sizeof codes, norms, N), TQ_OK);
    assert_int_equal(
        tq_decode(&codec, &batch, TQ_ORIGINAL, codes, sizeof codes, norms, N, centre, y, N * D), TQ_OK);
    double off = 0;
    for (size_t i = 0; i < N * D; i++)
        off += ((double)x[i] - (double)y[i]) * ((double)x[i] - (double)y[i]);
    assert_true(off / (N * D) < 1.1 * model_table[4]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(contiguous),
        cmocka_unit_test(gaps_between_rows_and_heads),
        cmocka_unit_test(positions_outermost),
        cmocka_unit_test(norms_after_the_codes),
        cmocka_unit_test(interleaved_pieces_that_touch),
        cmocka_unit_test(nothing_to_do),
        cmocka_unit_test(a_centre_pays_off),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
