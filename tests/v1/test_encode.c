/* SPDX-License-Identifier: MIT
 * v1 encoders against float64: codes, norms, ties, zero and tiny vectors. */
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "calls.h"
#include "model.h"
#include "support/cm.h"

/* How far float32 may put a value of unit variance from where float64 puts it. */
static const double tolerance = 1e-6;
/* 256 squares in float32 and a root: a few units in the last place. */
static const double norm_ulps = 4;

typedef struct tally {
    size_t codes, beside; /* beside: differs from float64, within the tolerance of a boundary */
    double worst_ulps;
} tally;

static void check_norm(float got, double want, tally *t) {
    /* Squares below FLT_MIN lose digits, then vanish: 256 of them are at most 256 * FLT_MIN. */
    if (want < 16 * sqrt((double)FLT_MIN)) {
        assert_true(fabs((double)got - want) <= 16 * sqrt((double)FLT_MIN));
        return;
    }
    double ulp = (double)nextafterf(got, INFINITY) - (double)got;
    double off = fabs((double)got - want) / ulp;
    t->worst_ulps = fmax(t->worst_ulps, off);
    if (off > norm_ulps) fail_msg("norm %.9g, float64 gives %.17g: %.1f ulp", (double)got, want, off);
}

static void check_code(const v1_call *c, unsigned got, double value, tally *t) {
    unsigned want = model_code(c->bits, value);
    t->codes++;
    if (got == want) return;
    double reach = tolerance * (c->head_dim == 512 ? fmax(1.0, (double)c->scale_factor) : 1.0);
    bool beside = (got == want + 1 || got + 1 == want) && model_near_boundary(c->bits, value, reach);
    if (!beside) fail_msg("%u bits: value %.17g has code %u, not %u", c->bits, value, want, got);
    t->beside++;
}

static void check_row(v1_call *c, const float *x, tally *t) {
    model_row want;
    model_encode(c->head_dim, c->scale_factor, x, &want);
    memcpy(c->dense, x, c->head_dim * sizeof *x);
    memset(c->packed, 0xff, c->packed_bytes);
    assert_int_equal(v1_quantize(c), TQ_OK);
    for (uint32_t b = 0; b < c->norms_per_pos; b++)
        check_norm(c->norms[b], want.norm[b], t);
    for (uint32_t i = 0; i < c->head_dim; i++) {
        /* High bits of a byte have to be zero: other engines read it whole. */
        unsigned code = c->hb ? c->packed[i] : model_stored_code(4, c->packed, i);
        check_code(c, code, want.value[i], t);
    }
}

static void fill(rng *r, unsigned kind, float *x, uint32_t n) {
    rng_gauss_fill(r, x, n);
    switch (kind) {
    case 0:
        break;
    case 1:
        x[rng_below(r, n)] *= 1000.0f;
        break;
    case 2:
        for (uint32_t i = 0; i < n; i++)
            x[i] *= 1e15f;
        break;
    case 3:
        for (uint32_t i = 0; i < n; i++)
            x[i] *= 1e-8f;
        break;
    case 4:
        for (uint32_t i = 0; i < n; i++)
            x[i] += 5.0f;
        break;
    default:
        for (uint32_t i = 0; i < n; i++)
            x[i] = i % 7 == 0 ? x[i] : 0.0f;
        break;
    }
}

static void codes_and_norms_follow_float64(void **state) {
    (void)state;
    static const float factors[] = {1.0f, 16.0f, 0.7310586f};
    printf("  bits    D  factor   codes  beside  norm ulp\n");
    for (size_t i = 0; i < 4; i++) {
        for (size_t k = 0; k < 4; k++) {
            v1_call c = v1_call_of(v1_all_bits[i], k == 3 ? 256 : 512, 1, 1);
            v1_buffers b = v1_buffers_for(&c, 0);
            c.scale_factor = k == 3 ? 1.0f : factors[k];
            tally t = {0, 0, 0};
            rng r = {i * 10 + k + 1};
            for (unsigned row = 0; row < 48; row++) {
                float x[V1_MAX_DIM];
                fill(&r, row % 6, x, c.head_dim);
                check_row(&c, x, &t);
            }
            printf("  %4u  %3u  %6.3f  %6zu  %6zu  %8.2f\n", c.bits, c.head_dim, (double)c.scale_factor,
                   t.codes, t.beside, t.worst_ulps);
            /* Where the codes lie beside the boundary is a matter of chance, and of one in thousands. */
            assert_true(t.beside * 1000 <= t.codes);
            v1_buffers_free(&b);
        }
    }
}

static void assert_all_codes(const v1_call *c, uint32_t from, uint32_t to, unsigned want) {
    for (uint32_t i = from; i < to; i++)
        assert_int_equal(model_stored_code(c->bits, c->packed, i), want);
}

static void zero_vectors(void **state) {
    (void)state;
    for (size_t k = 0; k < 8; k++) {
        v1_call c = v1_call_of(v1_all_bits[k / 2], v1_all_dims[k % 2], 1, 1);
        v1_buffers b = v1_buffers_for(&c, 0);
        for (int negative = 0; negative < 2; negative++) {
            for (uint32_t i = 0; i < c.head_dim; i++)
                c.dense[i] = negative ? -0.0f : 0.0f;
            assert_int_equal(v1_quantize(&c), TQ_OK);
            assert_all_codes(&c, 0, c.head_dim, (1U << (c.bits - 1)) - 1);
            for (uint32_t n = 0; n < c.norms_per_pos; n++)
                assert_true(c.norms[n] == 0.0f && !signbit(c.norms[n]));
        }
        v1_buffers_free(&b);
    }
}

/* A one-hot vector rotates to +-a/sqrt(D) everywhere: the norm is known, and so is the code if it counts.
 */
static void norms_up_to_1e_10_code_as_zero(void **state) {
    (void)state;
    for (size_t k = 0; k < 8; k++) {
        v1_call c = v1_call_of(v1_all_bits[k / 2], v1_all_dims[k % 2], 1, 1);
        v1_buffers b = v1_buffers_for(&c, 0);
        double per_norm = c.head_dim == 256 ? 1.0 : 1 / sqrt(512.0);
        static const double norms[] = {0.5e-10, 0.999e-10, 1.001e-10, 2e-10};
        for (size_t i = 0; i < 4; i++) {
            memset(c.dense, 0, c.n_dense * sizeof(float));
            c.dense[77] = (float)(norms[i] / per_norm);
            assert_int_equal(v1_quantize(&c), TQ_OK);
            assert_float_equal(c.norms[0] / 1e-10f, (float)(norms[i] / 1e-10), 1e-5f);
            unsigned zero = (1U << (c.bits - 1)) - 1, plus = model_code(c.bits, 1),
                     minus = model_code(c.bits, -1);
            for (uint32_t j = 0; j < c.head_dim; j++) {
                unsigned code = model_stored_code(c.bits, c.packed, j);
                assert_true(norms[i] < 1e-10 ? code == zero : code == plus || code == minus);
            }
        }
        v1_buffers_free(&b);
    }
}

/* Equal halves before the last butterfly cancel exactly: the second norm is zero, the first is not. */
static void one_zero_half(void **state) {
    (void)state;
    for (size_t k = 0; k < 4; k++) {
        v1_call c = v1_call_of(v1_all_bits[k], 512, 1, 1);
        v1_buffers b = v1_buffers_for(&c, 0);
        rng r = {k + 3};
        rng_gauss_fill(&r, c.dense, 256);
        for (uint32_t i = 0; i < 256; i++) {
            double same = model_sign(512, i) * model_sign(512, i + 256);
            c.dense[i + 256] = (float)same * c.dense[i];
        }
        assert_int_equal(v1_quantize(&c), TQ_OK);
        assert_true(c.norms[0] > 0.5f && c.norms[1] == 0.0f);
        assert_all_codes(&c, 256, 512, (1U << (c.bits - 1)) - 1);
        v1_buffers_free(&b);
    }
}

/* Pairs that cancel in the first stage put exact zeros at odd coordinates: 0 is a boundary. */
static void exact_zeros_take_the_lower_cell(void **state) {
    (void)state;
    for (size_t k = 0; k < 8; k++) {
        v1_call c = v1_call_of(v1_all_bits[k / 2], v1_all_dims[k % 2], 1, 1);
        v1_buffers b = v1_buffers_for(&c, 0);
        rng r = {k + 30};
        for (uint32_t i = 0; i < c.head_dim; i += 2) {
            c.dense[i] = (float)rng_gauss(&r);
            c.dense[i + 1] =
                (float)(model_sign(c.head_dim, i) * model_sign(c.head_dim, i + 1)) * c.dense[i];
        }
        assert_int_equal(v1_quantize(&c), TQ_OK);
        for (uint32_t i = 1; i < c.head_dim; i += 2)
            assert_all_codes(&c, i, i + 1, (1U << (c.bits - 1)) - 1);
        v1_buffers_free(&b);
    }
}

/* An amplitude that the rotation of 512 turns into exactly 1: then both RMS norms are 1, and the value is
 * the scale factor itself, which can be put on a boundary. */
static float amplitude_of_one(void) {
    float scale = (float)(1 / sqrt(512.0)), a = (float)sqrt(512.0);
    for (int i = 0; i < 4; i++)
        a = nextafterf(a, 0);
    for (int i = 0; i < 8 && a * scale != 1.0f; i++)
        a = nextafterf(a, INFINITY);
    assert_true(a * scale == 1.0f);
    return a;
}

static void exact_boundaries_take_the_lower_cell(void **state) {
    (void)state;
    float one = amplitude_of_one();
    for (size_t k = 0; k < 4; k++) {
        v1_call c = v1_call_of(v1_all_bits[k], 512, 1, 1);
        v1_buffers b = v1_buffers_for(&c, 0);
        const float *boundary = model_boundaries(c.bits);
        unsigned n = (1U << c.bits) - 1;
        for (unsigned i = n / 2 + 1; i < n; i++) {
            for (int above = 0; above < 2; above++) {
                memset(c.dense, 0, c.n_dense * sizeof(float));
                c.dense[0] = one * (float)model_sign(512, 0);
                c.scale_factor = above ? nextafterf(boundary[i], INFINITY) : boundary[i];
                assert_int_equal(v1_quantize(&c), TQ_OK);
                assert_true(c.norms[0] == 1.0f && c.norms[1] == 1.0f);
                assert_all_codes(&c, 0, 512, i + (unsigned)above);
                c.dense[0] = -c.dense[0];
                assert_int_equal(v1_quantize(&c), TQ_OK);
                assert_all_codes(&c, 0, 512, n - 1 - i);
            }
        }
        v1_buffers_free(&b);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(codes_and_norms_follow_float64),
        cmocka_unit_test(zero_vectors),
        cmocka_unit_test(norms_up_to_1e_10_code_as_zero),
        cmocka_unit_test(one_zero_half),
        cmocka_unit_test(exact_zeros_take_the_lower_cell),
        cmocka_unit_test(exact_boundaries_take_the_lower_cell),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
