/* SPDX-License-Identifier: MIT
 * Centres: one for all or one a stretch, learned from keys, or rounded from known ones. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model.h"
#include "support/cm.h"
#include "support/guard.h"
#include "support/pool.h"
#include "support/rng.h"

static float gauss(rng *r) {
    return (float)rng_gauss(r);
}

/* Encoded vectors of [HEADS][rows], and what belongs to them. */
enum { HEADS = 3, MOST_ROWS = 1500, MOST_VALUES = HEADS * MOST_ROWS * 96 };

typedef struct scene {
    tq_codec codec;
    size_t rows, code_bytes, stretch, first, n_centre;
    uint16_t *centre;
    float x[MOST_VALUES], decoded[2][MOST_VALUES];
    uint8_t codes[MOST_VALUES];
    uint16_t norms[HEADS * MOST_ROWS];
} scene;

static size_t stretches_of(size_t rows, size_t stretch, size_t first) {
    return stretch == 0 ? 1 : (first + rows - 1) / stretch + 1;
}

static void open_scene(scene *s, tq_format format, size_t dim, size_t rows, size_t stretch,
                       size_t first) {
    rng r = {dim + rows + stretch + first};
    memset(s, 0, sizeof *s);
    s->codec = (tq_codec){.format = format, .head_dim = (uint32_t)dim, .norm_rule = TQ_NORM_UNBIASED};
    s->rows = rows;
    s->stretch = stretch;
    s->first = first;
    assert_int_equal(tq_row_size(&s->codec, &s->code_bytes, NULL), TQ_OK);
    s->n_centre = stretches_of(rows, stretch, first) * HEADS * dim;
    s->centre = test_alloc(s->n_centre * sizeof *s->centre);
    for (size_t i = 0; i < s->n_centre; i++)
        s->centre[i] = (uint16_t)(rng_next(&r) >> 48 & 0xbfff); /* magnitudes below 2, of both signs */
    for (size_t i = 0; i < HEADS * rows * dim; i++)
        s->x[i] = gauss(&r);
}

/* Rows [from, from + n) of a head by themselves, with one centre. */
static void encode_part(const scene *s, size_t head, size_t from, size_t n, const uint16_t *centre,
                        uint8_t *codes, uint16_t *norms, float *decoded[2]) {
    const size_t dim = s->codec.head_dim;
    const tq_batch batch = {.heads = 1, .rows = n};
    assert_int_equal(tq_encode(&s->codec, &batch, s->x + (head * s->rows + from) * dim, n * dim, centre,
                               dim, codes, n * s->code_bytes, norms, 2 * n),
                     TQ_OK);
    for (int domain = 0; domain < 2; domain++)
        assert_int_equal(tq_decode(&s->codec, &batch, (tq_domain)domain, codes, n * s->code_bytes, norms,
                                   2 * n, centre, dim, decoded[domain], n * dim),
                         TQ_OK);
}

/* What a centre a stretch gives is what each stretch gives by itself. */
static void check_parts(const scene *s) {
    const size_t dim = s->codec.head_dim, all = s->rows * dim;
    float *decoded[2] = {test_alloc(all * sizeof(float)), test_alloc(all * sizeof(float))};
    uint8_t *codes = test_alloc(s->rows * s->code_bytes);
    uint16_t *norms = test_alloc(s->rows * sizeof *norms);
    for (size_t h = 0; h < HEADS; h++) {
        for (size_t t = 0, n; t < s->rows; t += n) {
            const size_t number = s->stretch == 0 ? 0 : (s->first + t) / s->stretch, at = h * s->rows + t;
            n = 1;
            while (t + n < s->rows && (s->stretch == 0 || (s->first + t + n) / s->stretch == number))
                n++;
            encode_part(s, h, t, n, s->centre + (number * HEADS + h) * dim, codes, norms, decoded);
            assert_memory_equal(s->codes + at * s->code_bytes, codes, n * s->code_bytes);
            assert_memory_equal(s->norms + at, norms, 2 * n);
            for (int domain = 0; domain < 2; domain++)
                assert_same_floats(s->decoded[domain] + at * dim, decoded[domain], n * dim, "decoded");
        }
    }
    free(decoded[0]);
    free(decoded[1]);
    free(codes);
    free(norms);
}

/* Some rows against the model, which knows no batches. */
static void check_model(const scene *s, size_t step) {
    const size_t dim = s->codec.head_dim;
    const unsigned bits = tq_format_bits(s->codec.format);
    for (size_t i = 0; i < HEADS * s->rows; i += step) {
        const size_t h = i / s->rows,
                     number = s->stretch == 0 ? 0 : (s->first + i % s->rows) / s->stretch;
        const uint16_t *centre = s->centre + (number * HEADS + h) * dim;
        uint8_t codes[96], packed[96];
        float want[96];
        const float norm = model_encode(bits, dim, s->codec.norm_rule, s->x + i * dim, centre, codes);
        model_pack(bits, dim, codes, packed);
        assert_memory_equal(s->codes + i * s->code_bytes, packed, s->code_bytes);
        assert_int_equal(s->norms[i], model_half((double)norm));
        for (int domain = 0; domain < 2; domain++) {
            model_decode(bits, dim, (tq_domain)domain, codes, s->norms[i], centre, want);
            assert_same_floats(s->decoded[domain] + i * dim, want, dim, "decoded, by the model");
        }
    }
}

static void check_stretches(tq_format format, size_t dim, size_t rows, size_t stretch, size_t first,
                            const tq_parallel *parallel) {
    static scene s;
    open_scene(&s, format, dim, rows, stretch, first);
    const tq_batch batch = {.heads = HEADS,
                            .rows = rows,
                            .centre_stretch = stretch,
                            .centre_first = first,
                            .parallel = parallel};
    const size_t n = HEADS * rows;
    assert_int_equal(tq_encode(&s.codec, &batch, s.x, n * dim, s.centre, s.n_centre, s.codes,
                               n * s.code_bytes, s.norms, 2 * n),
                     TQ_OK);
    for (int domain = 0; domain < 2; domain++)
        assert_int_equal(tq_decode(&s.codec, &batch, (tq_domain)domain, s.codes, n * s.code_bytes,
                                   s.norms, 2 * n, s.centre, s.n_centre, s.decoded[domain], n * dim),
                         TQ_OK);
    check_parts(&s);
    check_model(&s, rows < 50 ? 1 : 101);
    free(s.centre);
}

static void a_centre_for_each_stretch(void **state) {
    (void)state;
    enum { ROWS = 37 };
    static const size_t firsts[] = {0, 1, 5, 36, 37, 1000};
    for (size_t stretch = 0; stretch <= ROWS + 2; stretch++)
        for (size_t f = 0; f < sizeof firsts / sizeof firsts[0]; f++)
            check_stretches(f % 2 == 0 ? TQ_TQ4 : TQ_TQ7, f < 3 ? 64 : 80, ROWS, stretch, firsts[f],
                            NULL);
    check_stretches(TQ_TQ3, 32, ROWS, 500, 480,
                    NULL); /* the end of one stretch and the beginning of the next */
    check_stretches(TQ_TQ3, 32, 1, 1, 0, NULL);
    check_stretches(TQ_TQ3, 32, 5, SIZE_MAX, SIZE_MAX - 5, NULL); /* the last positions that there are */
}

/* Rows enough for several tasks, whose borders lie elsewhere than those of stretches. */
static void on_any_number_of_threads(void **state) {
    (void)state;
    static const size_t stretches[] = {0, 1, 7, 64, 100, 1499, 1500, 4000};
    for (size_t threads = 1; threads <= POOL_MOST_THREADS; threads += 3)
        for (size_t i = 0; i < sizeof stretches / sizeof stretches[0]; i++) {
            pool p = {.threads = threads};
            const tq_parallel parallel = {pool_run, &p};
            check_stretches(TQ_TQ5, 96, MOST_ROWS, stretches[i], 33, &parallel);
            assert_true(p.tasks_seen > 3 * HEADS); /* three calls; a head is cut */
        }
}

/* Sums in order, the mean where it has half of the mean square or more. */
static void learn_by_definition(size_t dim, size_t rows, const float *keys, size_t stride,
                                uint16_t *centre) {
    double all = 0, shared = 0;
    for (size_t j = 0; j < dim; j++) {
        double sum = 0;
        for (size_t t = 0; t < rows; t++) {
            sum += (double)keys[t * stride + j];
            all += (double)keys[t * stride + j] * (double)keys[t * stride + j];
        }
        centre[j] = model_half((double)(float)(sum / (double)rows));
        shared += sum / (double)rows * sum;
    }
    for (size_t j = 0; j < dim && shared < all / 2; j++)
        centre[j] = 0;
}

/* Heads whose common part has so much of the keys' mean square; gaps hold what is not to be read. */
static void check_learned(size_t dim, size_t rows, size_t gap) {
    static const double parts[] = {0, 0.3, 0.45, 0.55, 0.9};
    enum { N = sizeof parts / sizeof parts[0] };
    const size_t row = dim + gap, head = rows * row + gap, n = N * head;
    const tq_batch batch = {.heads = N, .rows = rows, .dense_row_stride = row, .dense_head_stride = head};
    float *keys = test_alloc(n * sizeof *keys);
    guard centre = guard_new(N * dim * sizeof(uint16_t));
    uint16_t want[1024];
    rng r = {dim + rows + gap};
    for (size_t i = 0; i < n; i++)
        keys[i] = NAN;
    for (size_t h = 0; h < N; h++) {
        for (size_t j = 0; j < dim; j++) {
            const double common = sqrt(parts[h]) * (rng_below(&r, 2) == 0 ? -1 : 1);
            for (size_t t = 0; t < rows; t++)
                keys[h * head + t * row + j] = (float)(common + sqrt(1 - parts[h]) * rng_gauss(&r));
        }
    }
    assert_int_equal(tq_learn_centre((uint32_t)dim, &batch, keys, n - 2 * gap, centre.data, N * dim),
                     TQ_OK);
    for (size_t h = 0; h < N; h++) {
        size_t zeros = 0;
        const uint16_t *got = (const uint16_t *)centre.data + h * dim;
        learn_by_definition(dim, rows, keys + h * head, row, want);
        assert_memory_equal(got, want, dim * sizeof *want);
        for (size_t j = 0; j < dim; j++)
            zeros += got[j] == 0;
        if (rows >= 64 && dim >= 64) assert_true(parts[h] < 0.5 ? zeros == dim : zeros < dim);
    }
    guard_assert_only(&centre, 0, centre.size);
    guard_free(&centre);
    free(keys);
}

static void means_of_keys(void **state) {
    (void)state;
    static const size_t dims[] = {16, 32, 80, 128, 1024}, counts[] = {1, 2, 3, 64, 200};
    for (size_t d = 0; d < 5; d++)
        for (size_t c = 0; c < 5; c++)
            for (size_t gap = 0; gap < 4; gap += 3)
                check_learned(dims[d], counts[c], gap);
}

/* Two keys, (1, 1, ...) and another: the mean has half of the mean square if they are at right angles. */
static void half_of_the_mean_square_is_enough(void **state) {
    (void)state;
    enum { D = 32 };
    const tq_batch batch = {.heads = 1, .rows = 2};
    static const struct {
        float other;
        uint16_t centre;
    } cases[] = {{0, 0x3800}, {-0x1p-20f, 0}, {0x1p-20f, 0x3800}, {1, 0x3c00}, {-1, 0}};
    for (size_t i = 0; i < 5; i++) {
        float keys[2 * D];
        uint16_t centre[D];
        for (size_t j = 0; j < D; j++) {
            keys[j] = 1;
            keys[D + j] = cases[i].other;
        }
        assert_int_equal(tq_learn_centre(D, &batch, keys, 2 * D, centre, D), TQ_OK);
        for (size_t j = 0; j < D; j++)
            assert_int_equal(centre[j], cases[i].centre);
    }
}

/* Keys at the limit have a mean; zeros have one of zeros. */
static void means_at_the_ends(void **state) {
    (void)state;
    enum { D = 32, ROWS = 100 };
    static float keys[ROWS * D];
    const tq_batch batch = {.heads = 1, .rows = ROWS};
    uint16_t centre[D];
    assert_int_equal(tq_learn_centre(D, &batch, keys, ROWS * D, centre, D), TQ_OK);
    for (size_t j = 0; j < D; j++)
        assert_int_equal(centre[j], 0);
    for (size_t i = 0; i < ROWS * D; i++)
        keys[i] = i % 2 == 0 ? 65504 : -65504;
    assert_int_equal(tq_learn_centre(D, &batch, keys, ROWS * D, centre, D), TQ_OK);
    for (size_t j = 0; j < D; j++)
        assert_int_equal(centre[j], j % 2 == 0 ? 0x7bff : 0xfbff);
}

static void assert_refused(tq_status got, tq_status want, const char *field, const guard *out) {
    assert_int_equal(got, want);
    assert_int_equal(tq_last_error()->status, want);
    assert_string_equal(tq_last_error()->field, field);
    guard_assert_untouched(out);
}

enum {
    LEARN_DIM = 48,
    LEARN_ROWS = 5,
    LEARN_HEADS = 2,
    LEARN_ALL = LEARN_HEADS * LEARN_ROWS * LEARN_DIM
};

static void learning_refuses_arguments(void **state) {
    (void)state;
    static const uint32_t no_dims[] = {0, 1, 8, 40, 1040, UINT32_MAX};
    const tq_batch good = {.heads = LEARN_HEADS, .rows = LEARN_ROWS};
    const size_t n = LEARN_HEADS * LEARN_DIM;
    float keys[LEARN_ALL] = {0};
    guard out = guard_new(n * sizeof(uint16_t));
    uint16_t *c = out.data;
    assert_refused(tq_learn_centre(LEARN_DIM, NULL, keys, LEARN_ALL, c, n), TQ_E_NULL, "batch", &out);
    assert_refused(tq_learn_centre(LEARN_DIM, &good, NULL, LEARN_ALL, c, n), TQ_E_NULL, "keys", &out);
    assert_refused(tq_learn_centre(LEARN_DIM, &good, keys, LEARN_ALL, NULL, n), TQ_E_NULL, "centre",
                   &out);
    assert_refused(tq_learn_centre(LEARN_DIM, &good, keys, LEARN_ALL - 1, c, n), TQ_E_SIZE, "keys", &out);
    assert_refused(tq_learn_centre(LEARN_DIM, &good, keys, LEARN_ALL, c, n - 1), TQ_E_SIZE, "centre",
                   &out);
    for (size_t i = 0; i < sizeof no_dims / sizeof no_dims[0]; i++)
        assert_refused(tq_learn_centre(no_dims[i], &good, keys, LEARN_ALL, c, n), TQ_E_HEAD_DIM,
                       "head_dim", &out);
    tq_batch bad = good;
    bad.heads = 0;
    assert_refused(tq_learn_centre(LEARN_DIM, &bad, keys, LEARN_ALL, c, n), TQ_E_HEADS, "heads", &out);
    bad = good;
    bad.rows = 0;
    assert_refused(tq_learn_centre(LEARN_DIM, &bad, keys, LEARN_ALL, c, n), TQ_E_POSITION, "rows", &out);
    bad = good;
    bad.dense_row_stride = LEARN_DIM - 1;
    assert_refused(tq_learn_centre(LEARN_DIM, &bad, keys, LEARN_ALL, c, n), TQ_E_STRIDE, "keys", &out);
    bad = good;
    bad.rows = SIZE_MAX / 4;
    assert_refused(tq_learn_centre(LEARN_DIM, &bad, keys, LEARN_ALL, c, n), TQ_E_OVERFLOW, "keys", &out);
    assert_int_equal(tq_learn_centre(LEARN_DIM, &good, keys, LEARN_ALL, c, n), TQ_OK);
    guard_free(&out);
}

static void learning_refuses_overlaps(void **state) {
    (void)state;
    const tq_batch batch = {.heads = LEARN_HEADS, .rows = LEARN_ROWS};
    const size_t n = LEARN_HEADS * LEARN_DIM, keys_bytes = LEARN_ALL * sizeof(float);
    guard all = guard_new(keys_bytes + 2 * n * sizeof(uint16_t));
    memset(all.data, 0, all.size);
    guard_save(&all);
    for (size_t at = 0; at < keys_bytes; at += 62) {
        uint16_t *centre = (uint16_t *)(void *)((uint8_t *)all.data + at);
        assert_refused(tq_learn_centre(LEARN_DIM, &batch, all.data, LEARN_ALL, centre, n), TQ_E_OVERLAP,
                       "centre", &all);
    }
    uint16_t *behind = (uint16_t *)(void *)((uint8_t *)all.data + keys_bytes);
    assert_int_equal(tq_learn_centre(LEARN_DIM, &batch, all.data, LEARN_ALL, behind, n), TQ_OK);
    guard_free(&all);
}

static const struct {
    float value;
    tq_status status;
} faults[] = {{NAN, TQ_E_NOT_FINITE},   {INFINITY, TQ_E_NOT_FINITE}, {-INFINITY, TQ_E_NOT_FINITE},
              {65504.004f, TQ_E_RANGE}, {-65520, TQ_E_RANGE},        {1e30f, TQ_E_RANGE}};

static void learning_names_bad_keys(void **state) {
    (void)state;
    const tq_batch batch = {.heads = LEARN_HEADS, .rows = LEARN_ROWS};
    const size_t n = LEARN_HEADS * LEARN_DIM;
    float keys[LEARN_ALL] = {0};
    guard out = guard_new(n * sizeof(uint16_t));
    for (size_t f = 0; f < sizeof faults / sizeof faults[0]; f++) {
        for (size_t i = 0; i < LEARN_ALL; i += 11) {
            keys[i] = faults[f].value;
            keys[LEARN_ALL - 1] = NAN; /* a later one does not matter */
            assert_refused(tq_learn_centre(LEARN_DIM, &batch, keys, LEARN_ALL, out.data, n),
                           faults[f].status, "keys", &out);
            assert_int_equal(tq_last_error()->index, i);
            keys[i] = 0;
            keys[LEARN_ALL - 1] = 0;
        }
    }
    guard_free(&out);
}

/* Lengths beside whole vectors of 16, with numbers between those of float16 and at both ends. */
static void known_centres_are_rounded(void **state) {
    (void)state;
    enum { MOST = 70 };
    float x[MOST];
    rng r = {3};
    for (size_t n = 0; n <= MOST; n++) {
        guard out = guard_new(n * sizeof(uint16_t));
        for (size_t i = 0; i < n; i++) {
            const uint16_t h = (uint16_t)rng_below(&r, 0x7bff);
            const float down = model_half_value(h), up = model_half_value((uint16_t)(h + 1));
            const float middle = down + (up - down) / 2;
            const float some[] = {down,      nextafterf(middle, 0),
                                  middle,    nextafterf(middle, up),
                                  -middle,   -up,
                                  65504,     -65504,
                                  0x1p-149f, -0.0f};
            x[i] = some[rng_below(&r, sizeof some / sizeof some[0])];
        }
        assert_int_equal(tq_round_centre(x, out.data, n), TQ_OK);
        for (size_t i = 0; i < n; i++)
            assert_int_equal(((uint16_t *)out.data)[i], model_half((double)x[i]));
        guard_assert_only(&out, 0, out.size);
        guard_free(&out);
    }
}

static void rounding_refuses(void **state) {
    (void)state;
    enum { N = 37 };
    float x[N] = {0};
    guard out = guard_new(N * sizeof(uint16_t)), all = guard_new(4 * N * sizeof(float));
    assert_refused(tq_round_centre(NULL, out.data, N), TQ_E_NULL, "src", &out);
    assert_refused(tq_round_centre(x, NULL, N), TQ_E_NULL, "dst", &out);
    assert_refused(tq_round_centre(x, out.data, SIZE_MAX / 4 + 1), TQ_E_OVERFLOW, "src", &out);
    assert_refused(tq_round_centre(x, out.data, SIZE_MAX / 8 + 1), TQ_E_OVERFLOW, "src", &out);
    assert_int_equal(tq_round_centre(NULL, NULL, 0), TQ_OK);
    for (size_t f = 0; f < sizeof faults / sizeof faults[0]; f++) {
        for (size_t i = 0; i < N; i++) {
            x[i] = faults[f].value;
            assert_refused(tq_round_centre(x, out.data, N), faults[f].status, "src", &out);
            assert_int_equal(tq_last_error()->index, i);
            x[i] = 0;
        }
    }
    memset(all.data, 0, all.size);
    guard_save(&all);
    for (size_t at = 0; at < 2 * N; at++) /* dst in src, and src in dst */
        assert_refused(tq_round_centre(all.data, (uint16_t *)all.data + at, N), TQ_E_OVERLAP, "dst",
                       &all);
    for (size_t at = 0; 2 * at < N; at++)
        assert_refused(tq_round_centre((float *)all.data + at, all.data, N), TQ_E_OVERLAP, "dst", &all);
    assert_int_equal(tq_round_centre(all.data, (uint16_t *)all.data + 2 * N, N), TQ_OK);
    guard_free(&out);
    guard_free(&all);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_centre_for_each_stretch),
        cmocka_unit_test(on_any_number_of_threads),
        cmocka_unit_test(means_of_keys),
        cmocka_unit_test(half_of_the_mean_square_is_enough),
        cmocka_unit_test(means_at_the_ends),
        cmocka_unit_test(learning_refuses_arguments),
        cmocka_unit_test(learning_refuses_overlaps),
        cmocka_unit_test(learning_names_bad_keys),
        cmocka_unit_test(known_centres_are_rounded),
        cmocka_unit_test(rounding_refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
