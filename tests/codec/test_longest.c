/* SPDX-License-Identifier: MIT
 * The longest vector that a cache takes: whatever its direction, its norm fits float16. */
#include <math.h>
#include <stdio.h>

#include "codec/rows.h"
#include "model.h"
#include "support/cm.h"
#include "support/rng.h"

static const tq_batch one = {.heads = 1, .rows = 1};

typedef struct limits {
    tq_codec codec;
    double alone, centred;
    double largest; /* norm stored so far */
} limits;

static limits limits_of(unsigned bits, size_t dim, int rule) {
    limits l = {.codec = {(tq_format)bits, (uint32_t)dim, (tq_norm_rule)rule, 1}};
    tq_plan plan;
    assert_int_equal(tq_plan_init(&plan, &l.codec), TQ_OK);
    l.alone = (double)tq_longest_vector(&plan, false);
    l.centred = (double)tq_longest_vector(&plan, true);
    return l;
}

/* A vector of that length whose image under the rotation has that direction. */
static void vector_along(const limits *l, const float *direction, double length, float *x) {
    const size_t dim = l->codec.head_dim;
    double squares = 0;
    for (size_t j = 0; j < dim; j++)
        squares += (double)direction[j] * (double)direction[j];
    for (size_t j = 0; j < dim; j++)
        x[j] = (float)((double)direction[j] * (length / sqrt(squares)));
    assert_int_equal(tq_rotate(&l->codec, TQ_ORIGINAL, 1, x, x), TQ_OK);
}

static void check_encodes(limits *l, const float *x, const uint16_t *centre) {
    const size_t dim = l->codec.head_dim;
    uint8_t codes[MODEL_MAX_DIM];
    uint16_t norm;
    const tq_status status =
        tq_encode(&l->codec, &one, x, dim, centre, dim, codes, sizeof codes, &norm, sizeof norm);
    if (status != TQ_OK)
        fail_msg("tq%d, D %zu, rule %d: %s", (int)l->codec.format, dim, (int)l->codec.norm_rule,
                 tq_last_error()->message);
    l->largest = fmax(l->largest, (double)model_half_value(norm));
}

/* As long as it may be, alone, and against a centre as long that points the other way. */
static void check_direction(limits *l, const float *direction) {
    const size_t dim = l->codec.head_dim;
    float x[MODEL_MAX_DIM] = {0}, away[MODEL_MAX_DIM];
    uint16_t centre[MODEL_MAX_DIM];
    vector_along(l, direction, l->alone, x);
    check_encodes(l, x, NULL);
    vector_along(l, direction, l->centred, x);
    for (size_t j = 0; j < dim; j++)
        away[j] = -x[j];
    assert_int_equal(tq_round_centre(away, centre, dim), TQ_OK);
    check_encodes(l, x, centre);
}

/* Some coordinates far out, the others just above or below a boundary of the codebook, for which codes
 * are longest and shortest; and one nearly at zero. */
static void check_mixtures(limits *l) {
    const size_t dim = l->codec.head_dim;
    const unsigned bits = (unsigned)l->codec.format, half = 1U << (bits - 1);
    const float *bounds = model_boundaries(bits);
    float direction[MODEL_MAX_DIM];
    for (size_t far = 1; far <= dim; far *= 2) {
        for (unsigned b = 0; b + 1 < half; b += 1 + half / 8) {
            const double rest = (double)bounds[b] * (double)bounds[b], n = (double)dim;
            const double left = n - rest * (n - (double)far);
            for (int side = -1; side <= 1 && left > 0; side += 2) {
                for (size_t j = 0; j < dim; j++)
                    direction[j] = j < far ? (float)sqrt(left / (double)far)
                                           : (float)sqrt(rest) * (1 + (float)side * 1e-4f);
                check_direction(l, direction);
            }
        }
        for (size_t j = 0; j < dim; j++) /* the same, and nothing in the others */
            direction[j] = j < far ? 1 : 0;
        check_direction(l, direction);
    }
}

static void check_all_directions(limits *l, rng *r) {
    const size_t dim = l->codec.head_dim;
    float direction[MODEL_MAX_DIM];
    for (size_t axis = 0; axis < dim; axis += 1 + dim / 16) {
        for (size_t j = 0; j < dim; j++)
            direction[j] = j == axis ? -1 : 0;
        check_direction(l, direction);
    }
    for (int i = 0; i < 50; i++) {
        rng_gauss_fill(r, direction, dim);
        for (size_t j = 0; j < dim && i % 2 == 1; j++) /* heavy tails */
            direction[j] *= direction[j] * direction[j];
        check_direction(l, direction);
    }
    check_mixtures(l);
}

static void the_longest_vector_can_be_encoded(void **state) {
    (void)state;
    static const size_t dims[] = {32, 48, 64, 128, 256, 576, 1024};
    printf("  longest vector, over 65504, and the largest norm stored of such, over 65504\n");
    for (unsigned bits = 2; bits <= 8; bits++) {
        for (size_t d = 0; d < sizeof dims / sizeof dims[0]; d++) {
            printf("  tq%u %4zu", bits, dims[d]);
            for (int rule = TQ_NORM_PLAIN; rule <= TQ_NORM_UNBIASED; rule++) {
                limits l = limits_of(bits, dims[d], rule);
                rng r = {bits + dims[d]};
                check_all_directions(&l, &r);
                printf("   %.3f %.3f", l.alone / 65504, l.largest / 65504);
                assert_true(l.largest > 0.97 * 65504); /* the worst directions are among them */
            }
            printf("\n");
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_longest_vector_can_be_encoded)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
