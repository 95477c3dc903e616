/* SPDX-License-Identifier: MIT
 * Batches: heads, rows and strides on both sides, centres per head, and the bytes between rows. */
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "model.h"
#include "support/cm.h"
#include "support/guard.h"
#include "support/levels.h"
#include "support/rng.h"

enum { HEADS = 3, ROWS = 4 };

/* Strides in elements, of codes and norms in bytes; those of 0 are what contiguous rows would have. */
typedef struct layout {
    size_t row, head;
} layout;

typedef struct scene {
    tq_codec codec;
    tq_batch batch;
    size_t code_bytes, norm_bytes;
    layout dense, codes, norms; /* effective strides */
    guard dense_in, dense_out, codes_out, norms_out, centre;
    size_t shift; /* codes and norms begin so many bytes into theirs */
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

static scene scene_of(tq_format format, uint32_t dim, tq_batch batch, size_t shift) {
    scene s = {.shift = shift};
    s.codec.format = format;
    s.codec.head_dim = dim;
    s.codec.scale_factor_d512 = 1.25f;
    s.batch = batch;
    s.batch.heads = HEADS;
    s.batch.rows = ROWS;
    assert_int_equal(tq_row_size(&s.codec, &s.code_bytes, &s.norm_bytes), TQ_OK);
    s.dense = effective(batch.dense_row_stride, batch.dense_head_stride, dim);
    s.codes = effective(batch.code_row_stride, batch.code_head_stride, s.code_bytes);
    s.norms = effective(batch.norm_row_stride, batch.norm_head_stride, s.norm_bytes);
    s.dense_in = guard_new(extent(s.dense, dim) * sizeof(float));
    s.dense_out = guard_new(extent(s.dense, dim) * sizeof(float));
    s.codes_out = guard_new(shift + extent(s.codes, s.code_bytes));
    s.norms_out = guard_new(shift + extent(s.norms, s.norm_bytes));
    s.centre = guard_new((size_t)HEADS * dim * sizeof(uint16_t));
    rng r = {dim + (uint64_t)format};
    for (size_t i = 0; i < (size_t)HEADS * dim; i++)
        ((uint16_t *)s.centre.data)[i] = model_half(rng_gauss(&r));
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
static void check_row(scene *s, size_t h, size_t t, const uint16_t *centre) {
    uint32_t dim = s->codec.head_dim;
    tq_batch one = {.heads = 1, .rows = 1};
    uint8_t codes[MODEL_MAX_DIM];
    float norms[2], dense[MODEL_MAX_DIM];
    size_t at_dense = h * s->dense.head + t * s->dense.row;
    size_t at_codes = s->shift + h * s->codes.head + t * s->codes.row;
    size_t at_norms = s->shift + h * s->norms.head + t * s->norms.row;
    const float *x = (const float *)s->dense_in.data + at_dense;
    if (centre != NULL) centre += h * dim;
    assert_int_equal(
        tq_encode(&s->codec, &one, x, dim, centre, dim, codes, sizeof codes, norms, sizeof norms), TQ_OK);
    assert_memory_equal((uint8_t *)s->codes_out.data + at_codes, codes, s->code_bytes);
    assert_memory_equal((uint8_t *)s->norms_out.data + at_norms, norms, s->norm_bytes);
    guard_accept(&s->codes_out, at_codes, s->code_bytes);
    guard_accept(&s->norms_out, at_norms, s->norm_bytes);
    assert_int_equal(tq_decode(&s->codec, &one, TQ_ROTATED, codes, sizeof codes, norms, sizeof norms,
                               centre, dim, dense, dim),
                     TQ_OK);
    assert_memory_equal((float *)s->dense_out.data + at_dense, dense, dim * sizeof(float));
    guard_accept(&s->dense_out, at_dense * sizeof(float), dim * sizeof(float));
}

static void check(tq_format format, uint32_t dim, tq_batch batch, size_t shift, bool centred) {
    scene s = scene_of(format, dim, batch, shift);
    const uint16_t *centre = centred ? s.centre.data : NULL;
    const size_t n_dense = s.dense_in.size / sizeof(float), n_centre = HEADS * dim;
    uint8_t *codes = (uint8_t *)s.codes_out.data + shift, *norms = (uint8_t *)s.norms_out.data + shift;
    const size_t n_codes = s.codes_out.size - shift, n_norms = s.norms_out.size - shift;
    assert_int_equal(tq_encode(&s.codec, &s.batch, s.dense_in.data, n_dense, centre, n_centre, codes,
                               n_codes, norms, n_norms),
                     TQ_OK);
    assert_int_equal(tq_decode(&s.codec, &s.batch, TQ_ROTATED, codes, n_codes, norms, n_norms, centre,
                               n_centre, s.dense_out.data, n_dense),
                     TQ_OK);
    for (size_t h = 0; h < HEADS; h++)
        for (size_t t = 0; t < ROWS; t++)
            check_row(&s, h, t, centre);
    guard_assert_untouched(&s.codes_out);
    guard_assert_untouched(&s.norms_out);
    guard_assert_untouched(&s.dense_out);
    guard_assert_untouched(&s.dense_in);
    guard_assert_untouched(&s.centre);
    scene_free(&s);
}

/* At any address: codes and norms have no alignment. */
static void check_all_formats(uint32_t dim, tq_batch batch) {
    size_t count;
    const tq_format *formats = tq_formats(&count);
    for (size_t f = 0; f < count; f++) {
        tq_codec codec = {.format = formats[f], .head_dim = dim};
        if (tq_row_size(&codec, NULL, NULL) != TQ_OK) continue;
        for (size_t shift = 0; shift < 4; shift++) {
            check(formats[f], dim, batch, shift, false);
            check(formats[f], dim, batch, shift, true);
        }
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
    tq_batch rows = {.dense_row_stride = 263, .code_row_stride = 259, .norm_row_stride = 7};
    check_all_formats(256, rows);
    tq_batch both = {.dense_row_stride = 257,
                     .dense_head_stride = 257 * ROWS + 5,
                     .code_row_stride = 301,
                     .code_head_stride = 301 * ROWS + 1,
                     .norm_row_stride = 5,
                     .norm_head_stride = 5 * ROWS + 8};
    check_all_formats(256, both);
    check_all_formats(96, both);
    tq_batch heads = {.dense_head_stride = 96 * ROWS + 1,
                      .code_head_stride = 96 * ROWS + 9,
                      .norm_head_stride = 2 * ROWS + 1};
    check_all_formats(96, heads);
}

/* [T][G][D]: the heads of a position side by side, as projections write them. */
static void positions_outermost(void **state) {
    (void)state;
    tq_batch batch = {.dense_row_stride = 128 * HEADS,
                      .dense_head_stride = 128,
                      .code_row_stride = 128 * HEADS,
                      .code_head_stride = 128,
                      .norm_row_stride = 2 * HEADS,
                      .norm_head_stride = 2};
    check_all_formats(128, batch);
}

enum { MANY = 40 };

/* Rows enough for whole vectors of norms, at any address and stride of norms. */
static void check_addresses_of(tq_format format, const float *x) {
    enum { D = 256, MOST = MANY * (D + 8) + 4 };
    static float y[2][MANY * D];
    static uint8_t want[MOST], codes[MOST], norms[MANY * 4], moved[MOST];
    const tq_codec codec = {.format = format, .head_dim = D};
    const tq_batch plain = {.heads = 1, .rows = MANY};
    size_t code_bytes, norm_bytes;
    assert_int_equal(tq_row_size(&codec, &code_bytes, &norm_bytes), TQ_OK);
    assert_int_equal(
        tq_encode(&codec, &plain, x, MANY * D, NULL, 0, want, sizeof want, norms, sizeof norms), TQ_OK);
    assert_int_equal(tq_decode(&codec, &plain, TQ_ORIGINAL, want, sizeof want, norms, sizeof norms, NULL,
                               0, y[0], MANY * D),
                     TQ_OK);
    for (size_t at = 0; at < 4; at++) {
        for (size_t gap = 0; gap < 4; gap++) {
            const tq_batch batch = {.heads = 1,
                                    .rows = MANY,
                                    .code_row_stride = code_bytes + gap,
                                    .norm_row_stride = norm_bytes + gap};
            assert_int_equal(tq_encode(&codec, &batch, x, MANY * D, NULL, 0, codes + at, MOST - at,
                                       moved + at, MOST - at),
                             TQ_OK);
            assert_int_equal(tq_decode(&codec, &batch, TQ_ORIGINAL, codes + at, MOST - at, moved + at,
                                       MOST - at, NULL, 0, y[1], MANY * D),
                             TQ_OK);
            assert_memory_equal(y[0], y[1], sizeof y[0]);
            for (size_t t = 0; t < MANY; t++) {
                assert_memory_equal(codes + at + t * (code_bytes + gap), want + t * code_bytes,
                                    code_bytes);
                assert_memory_equal(moved + at + t * (norm_bytes + gap), norms + t * norm_bytes,
                                    norm_bytes);
            }
        }
    }
}

static void check_addresses(void) {
    static float x[MANY * 256];
    size_t n;
    const tq_format *formats = tq_formats(&n);
    rng r = {75};
    rng_gauss_fill(&r, x, sizeof x / sizeof x[0]);
    for (size_t i = 0; i < n; i++)
        check_addresses_of(formats[i], x);
}

static void codes_and_norms_at_any_address(void **state) {
    (void)state;
    at_every_level(check_addresses);
}

/* Where a record of codes and a norm of (head, row) lies. */
typedef struct records {
    size_t heads, rows, row_stride, head_stride;
    size_t code_at, norm_at; /* of the first */
    size_t norm_row, norm_head;
} records;

enum { RECORD_DIM = 64, RECORD_CODES = RECORD_DIM / 2, MOST_RECORDS = 1200 };

/* Vectors there and back, codes at `codes` and norms at `norms`. */
static void through(const tq_batch *batch, const float *x, uint8_t *codes, size_t n_codes, uint8_t *norms,
                    size_t n_norms, float *y) {
    const tq_codec codec = {.format = TQ_TQ4, .head_dim = RECORD_DIM};
    const size_t n = batch->heads * batch->rows * RECORD_DIM;
    assert_int_equal(tq_encode(&codec, batch, x, n, NULL, 0, codes, n_codes, norms, n_norms), TQ_OK);
    assert_int_equal(tq_decode(&codec, batch, TQ_ORIGINAL, codes, n_codes, norms, n_norms, NULL, 0, y, n),
                     TQ_OK);
}

static void check_record(const records *l, size_t i, const uint8_t *codes, const uint8_t *norms,
                         guard *all) {
    const size_t h = i / l->rows, t = i % l->rows;
    const size_t code_at = l->code_at + h * l->head_stride + t * l->row_stride;
    const size_t norm_at = l->norm_at + h * l->norm_head + t * l->norm_row;
    const uint8_t *together = all->data;
    assert_memory_equal(together + code_at, codes + i * RECORD_CODES, RECORD_CODES);
    assert_memory_equal(together + norm_at, norms + 2 * i, 2);
    guard_accept(all, code_at, RECORD_CODES);
    guard_accept(all, norm_at, 2);
}

/* Both pieces of all records, in one array, are those of separate arrays, and nothing else is written. */
static void check_records(const records *l) {
    const tq_batch plain = {.heads = l->heads, .rows = l->rows};
    const tq_batch batch = {.heads = l->heads,
                            .rows = l->rows,
                            .code_row_stride = l->row_stride,
                            .code_head_stride = l->head_stride,
                            .norm_row_stride = l->norm_row,
                            .norm_head_stride = l->norm_head};
    const size_t n = l->heads * l->rows;
    float x[HEADS * ROWS * RECORD_DIM], y[2][HEADS * ROWS * RECORD_DIM];
    uint8_t codes[HEADS * ROWS * RECORD_CODES], norms[HEADS * ROWS * 2];
    guard all = guard_new(MOST_RECORDS);
    uint8_t *together = all.data;
    rng r = {70};
    assert_true(n <= HEADS * ROWS);
    rng_gauss_fill(&r, x, n * RECORD_DIM);
    through(&plain, x, codes, sizeof codes, norms, sizeof norms, y[0]);
    through(&batch, x, together + l->code_at, all.size - l->code_at, together + l->norm_at,
            all.size - l->norm_at, y[1]);
    assert_memory_equal(y[0], y[1], n * RECORD_DIM * sizeof(float));
    for (size_t i = 0; i < n; i++)
        check_record(l, i, codes, norms, &all);
    guard_assert_untouched(&all);
    guard_free(&all);
}

static void records_of_codes_and_norms(void **state) {
    (void)state;
    enum { C = RECORD_CODES, R = C + 2, WIDE = R + 5 };
    static const records all[] = {
        /* heads, rows, strides of codes, where both begin, strides of norms */
        {1, ROWS, R, 0, 0, C, R, 0},                           /* codes, norm */
        {1, ROWS, R, 0, 2, 0, R, 0},                           /* norm, codes */
        {1, ROWS, WIDE, 0, 1, C + 4, WIDE, 0},                 /* odd, with gaps */
        {HEADS, ROWS, R, R * ROWS, 0, C, R, R * ROWS},         /* heads outermost */
        {HEADS, ROWS, R, R * ROWS + 3, 0, C, R, R * ROWS + 3}, /* and a gap after each */
        {HEADS, ROWS, R * HEADS, R, 2, 0, R * HEADS, R},       /* positions outermost */
        {HEADS, ROWS, WIDE * HEADS + 7, WIDE, 3, 0, WIDE * HEADS + 7, WIDE},
        {HEADS, ROWS, R * HEADS, C, 0, C * HEADS, R * HEADS, 2}, /* all codes of a position, all norms */
        /* all norms of a head, all codes */
        {HEADS, ROWS, C, R * ROWS + 1, 2 * ROWS + 1, 0, 2, R * ROWS + 1},
        {HEADS, 1, 0, R, 0, C, 0, R}, /* one position */
        {HEADS, 1, 0, C, 0, C * HEADS, 0, 2},
        {1, 1, 0, 0, 5, 1, 0, 0},
    };
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        check_records(&all[i]);
}

static tq_status encode_records(size_t code_at, size_t norm_at, const tq_batch *batch, guard *all) {
    const tq_codec codec = {.format = TQ_TQ4, .head_dim = RECORD_DIM};
    const float x[HEADS * ROWS * RECORD_DIM] = {1};
    uint8_t *together = all->data;
    return tq_encode(&codec, batch, x, sizeof x / sizeof x[0], NULL, 0, together + code_at,
                     all->size - code_at, together + norm_at, all->size - norm_at);
}

/* Pieces that interleave and do touch, in every layout: a norm inside the codes. */
static void records_that_touch(void **state) {
    (void)state;
    enum { C = RECORD_CODES, R = C + 2 };
    const tq_batch layouts[] = {
        {1, ROWS, .code_row_stride = R, .norm_row_stride = R},
        {HEADS, ROWS, .code_row_stride = R, .norm_row_stride = R},
        {HEADS, ROWS, .code_row_stride = R * HEADS, .code_head_stride = R, .norm_row_stride = R * HEADS,
         .norm_head_stride = R},
        {HEADS, 1, .code_head_stride = R, .norm_head_stride = R},
    };
    guard all = guard_new(MOST_RECORDS);
    for (size_t i = 0; i < sizeof layouts / sizeof layouts[0]; i++) {
        for (size_t at = 0; at < C; at++) {
            assert_int_equal(encode_records(0, at, &layouts[i], &all), TQ_E_OVERLAP);
            guard_assert_untouched(&all);
        }
        assert_int_equal(encode_records(0, C, &layouts[i], &all), TQ_OK);
        guard_save(&all);
        assert_int_equal(encode_records(0, C + 1, &layouts[i], &all), TQ_E_OVERLAP);
        guard_assert_untouched(&all);
    }
    guard_free(&all);
}

/* Whether no byte of codes (8 a row) and norms (2) is of two pieces. */
static bool are_apart(const tq_batch *b, size_t code_at, size_t norm_at) {
    bool taken[MOST_RECORDS] = {false};
    for (size_t i = 0; i < b->heads * b->rows * 10; i++) {
        const size_t h = i / 10 / b->rows, t = i / 10 % b->rows, k = i % 10;
        const size_t at = k < 8 ? code_at + h * b->code_head_stride + t * b->code_row_stride + k
                                : norm_at + h * b->norm_head_stride + t * b->norm_row_stride + k - 8;
        assert_true(at < MOST_RECORDS);
        if (taken[at]) return false;
        taken[at] = true;
    }
    return true;
}

/* Strides and places at random: what is taken does not overlap. */
static void strides_at_random(void **state) {
    (void)state;
    enum { D = 32 };
    const tq_codec codec = {.format = TQ_TQ2, .head_dim = D};
    const float x[HEADS * ROWS * D] = {1};
    uint8_t all[MOST_RECORDS];
    size_t taken = 0, refused = 0, needlessly = 0;
    rng r = {77};
    for (int i = 0; i < 50000; i++) {
        const size_t small = 8 + rng_below(&r, 12), large = small * rng_below(&r, 6) + rng_below(&r, 30);
        const bool rows_inside = rng_below(&r, 2) == 0, alike = rng_below(&r, 4) != 0;
        tq_batch b = {.heads = 1 + rng_below(&r, HEADS), .rows = 1 + rng_below(&r, ROWS)};
        b.code_row_stride = rows_inside ? small : large + 8;
        b.code_head_stride = rows_inside ? large + 8 : small;
        b.norm_row_stride = alike ? b.code_row_stride : 2 + rng_below(&r, 40);
        b.norm_head_stride = alike ? b.code_head_stride : 2 + rng_below(&r, 40);
        const size_t code_at = rng_below(&r, 200), norm_at = rng_below(&r, 200);
        const tq_status status = tq_encode(&codec, &b, x, HEADS * ROWS * D, NULL, 0, all + code_at,
                                           sizeof all - code_at, all + norm_at, sizeof all - norm_at);
        if (status == TQ_E_STRIDE) continue;
        const bool apart = are_apart(&b, code_at, norm_at);
        if (status == TQ_OK) assert_true(apart);
        taken += status == TQ_OK;
        refused += status == TQ_E_OVERLAP && !apart;
        needlessly += status == TQ_E_OVERLAP && apart;
    }
    printf("  %zu layouts taken, %zu overlap, %zu more refused\n", taken, refused, needlessly);
    assert_true(taken > 10000 && refused > 5000);
}

/* Codes in the gaps between vectors: ten floats of gap hold the 32 bytes at their first three places
 * only. */
static void codes_between_vectors(void **state) {
    (void)state;
    enum { D = RECORD_DIM, WIDE = D + 10 };
    const tq_codec codec = {.format = TQ_TQ4, .head_dim = D};
    const tq_batch wide = {
        .heads = 1, .rows = ROWS, .dense_row_stride = WIDE, .code_row_stride = WIDE * sizeof(float)};
    uint16_t norms[ROWS];
    guard all = guard_new((ROWS + 1) * WIDE * sizeof(float));
    float *together = all.data;
    memset(together, 0, all.size);
    guard_save(&all);
    for (size_t at = 0; at < WIDE; at++) {
        tq_status want = at >= D && at <= D + 2 ? TQ_OK : TQ_E_OVERLAP;
        assert_int_equal(tq_encode(&codec, &wide, together, ROWS * WIDE, NULL, 0,
                                   (uint8_t *)(together + at), all.size - at * sizeof(float), norms,
                                   sizeof norms),
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
        assert_int_equal(tq_encode(&codec, &batch, NULL, 0, NULL, 0, NULL, 0, NULL, 0), TQ_OK);
        assert_int_equal(tq_decode(&codec, &batch, TQ_ROTATED, NULL, 0, NULL, 0, NULL, 0, NULL, 0),
                         TQ_OK);
    }
}

/* A centre taken away and given back: the error is that of the deviation alone, however large the centre.
 */
static void a_centre_pays_off(void **state) {
    (void)state;
    enum { D = 128, N = 64 };
    tq_codec codec = {.format = TQ_TQ4, .head_dim = D};
    tq_batch batch = {.heads = 1, .rows = N};
    static float x[N * D], y[N * D];
    static uint16_t norms[N];
    static uint8_t codes[N * D / 2];
    uint16_t centre[D];
    rng r = {80};
    for (size_t j = 0; j < D; j++)
        centre[j] = model_half(50 * rng_gauss(&r));
    rng_gauss_fill(&r, x, N * D);
    for (size_t i = 0; i < N * D; i++)
        x[i] += model_half_value(centre[i % D]);
    assert_int_equal(
        tq_encode(&codec, &batch, x, N * D, centre, D, codes, sizeof codes, norms, sizeof norms), TQ_OK);
    assert_int_equal(tq_decode(&codec, &batch, TQ_ORIGINAL, codes, sizeof codes, norms, sizeof norms,
                               centre, D, y, N * D),
                     TQ_OK);
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
        cmocka_unit_test(codes_and_norms_at_any_address),
        cmocka_unit_test(records_of_codes_and_norms),
        cmocka_unit_test(records_that_touch),
        cmocka_unit_test(strides_at_random),
        cmocka_unit_test(codes_between_vectors),
        cmocka_unit_test(nothing_to_do),
        cmocka_unit_test(a_centre_pays_off),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
