/* SPDX-License-Identifier: MIT
 * From the encoder to the output: what the reference kernels were made to tell apart. Attention on codes
 * equals attention on a shadow cache that the decoder filled, and both are near the original's. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "attend.h"
#include "calls.h"
#include "support/cm.h"

/* A ring that `written` positions went through, `calls` at a time; K and V alike. */
typedef struct ring {
    v1_call call;
    v1_buffers buffers;
    float *values; /* [written][G][D] as they were */
} ring;

static ring ring_new(unsigned bits, uint32_t dim, uint32_t heads, uint32_t capacity, size_t written,
                     float scale_factor, rng *r) {
    ring s = {.call = v1_call_of(bits, dim, heads, capacity)};
    const size_t row = (size_t)heads * dim;
    s.values = test_alloc(written * row * sizeof *s.values);
    rng_gauss_fill(r, s.values, written * row);
    s.buffers = v1_buffers_for(&s.call, 0);
    memset(s.call.norms, 0xFF, s.call.n_norms * sizeof(float)); /* NaN where nothing is written */
    s.call.is_sliding = 1;
    s.call.scale_factor = scale_factor;
    for (size_t t = 0; t < written; t += s.call.n_tokens) {
        const size_t some = 1 + rng_below(r, 2 * capacity);
        s.call.position = (uint32_t)t;
        s.call.n_tokens = written - t < some ? written - t : some;
        s.call.dense = s.values + t * row;
        s.call.n_dense = s.call.n_tokens * row;
        assert_int_equal(v1_quantize_seq(&s.call), TQ_OK);
    }
    return s;
}

static void ring_free(ring *s) {
    v1_buffers_free(&s->buffers);
    free(s->values);
}

/* [G][T + 2][D]: the last T positions, decoded one by one. What follows them is NaN. */
static float *shadow_of(const ring *s, uint32_t ring_start, uint32_t positions) {
    const size_t dim = s->call.head_dim, rows = (size_t)positions + 2;
    float *shadow = test_alloc(s->call.heads * rows * dim * sizeof *shadow);
    float *one = test_alloc(s->call.heads * dim * sizeof *one);
    memset(shadow, 0xFF, s->call.heads * rows * dim * sizeof *shadow);
    v1_call c = s->call;
    c.dense = one;
    c.n_dense = s->call.heads * dim;
    for (uint32_t j = 0; j < positions; j++) {
        c.position = (ring_start + j) % c.capacity;
        assert_int_equal(v1_dequantize(&c), TQ_OK);
        for (size_t g = 0; g < c.heads; g++)
            memcpy(shadow + (g * rows + j) * dim, one + g * dim, dim * sizeof *one);
    }
    free(one);
    return shadow;
}

static attend_case on_codes(const ring *k, const ring *v, const tq_flash_attn_vec_tq_hb_params *p,
                            size_t n, const float *q) {
    const attend_call made = {.bits = k->call.bits,
                              .p = *p,
                              .n_queries = n,
                              .q = q,
                              .k = k->call.packed,
                              .k_norms = k->call.norms,
                              .v = v->call.packed,
                              .v_norms = v->call.norms};
    attend_case c = attend_case_of(&made);
    attend_case_run(&c);
    return c;
}

static attend_case on_shadows(const ring *k, const ring *v, const tq_flash_attn_vec_tq_hb_params *p,
                              size_t n, const float *q) {
    float *k_shadow = shadow_of(k, p->ring_start, p->kv_seq_len);
    float *v_shadow = shadow_of(v, p->ring_start, p->kv_seq_len);
    attend_call made = {.bits = DENSE, .p = *p, .n_queries = n, .q = q, .k = k_shadow, .v = v_shadow};
    made.p.kv_capacity = p->kv_seq_len + 2;
    attend_case c = attend_case_of(&made);
    attend_case_run(&c);
    free(k_shadow);
    free(v_shadow);
    return c;
}

/* Rows of both within the bound of each other; terms are those of the model. */
static double assert_near(const attend_case *a, const attend_case *b) {
    const size_t dim = a->call.p.head_dim;
    double worst = 0, out[512], terms[512];
    for (size_t row = 0; row < attend_rows(&a->call); row++) {
        double error = 0, norm = 0;
        assert_true(attend_model(&a->call, a->call.q, a->k_values, a->v_values, row, out, terms));
        for (size_t d = 0; d < dim; d++) {
            error += pow((double)a->call.dst[row * dim + d] - (double)b->call.dst[row * dim + d], 2);
            norm += terms[d] * terms[d];
        }
        if (!(sqrt(error) <= ATTEND_BOUND * sqrt(norm)))
            fail_msg("row %zu: codes and shadow differ by %g of %g", row, sqrt(error), sqrt(norm));
        worst = fmax(worst, sqrt(error / norm));
    }
    return worst;
}

/* The last T of `written` positions as [G][T][D]. */
static float *originals_of(const ring *s, size_t written, size_t positions) {
    const size_t dim = s->call.head_dim, heads = s->call.heads;
    float *x = test_alloc(heads * positions * dim * sizeof *x);
    for (size_t i = 0; i < heads * positions; i++)
        memcpy(x + i * dim,
               s->values + ((written - positions + i % positions) * heads + i / positions) * dim,
               dim * sizeof *x);
    return x;
}

/* Relative error of all rows together, of outputs rotated back, against attention on the originals. */
static double distance(const attend_case *c, const float *q, const float *k, const float *v) {
    const size_t dim = c->call.p.head_dim, rows = attend_rows(&c->call);
    float *back = test_alloc(rows * dim * sizeof *back);
    double error = 0, norm = 0, out[512], terms[512];
    assert_int_equal(tq_hadamard_rotate_out(c->call.dst, back, rows, c->call.p.head_dim), TQ_OK);
    for (size_t row = 0; row < rows; row++) {
        attend_model(&c->call, q, k, v, row, out, terms);
        for (size_t d = 0; d < dim; d++) {
            error += pow((double)back[row * dim + d] - out[d], 2);
            norm += out[d] * out[d];
        }
    }
    free(back);
    return sqrt(error / norm);
}

typedef struct figures {
    double shadow, original; /* largest */
    attend_worst worst;
} figures;

enum { HEADS = 2, GROUP = 3, CAPACITY = 37, WRITTEN = 3 * CAPACITY + 11 };

static void check(unsigned bits, uint32_t dim, uint32_t positions, float scale_factor, figures *f,
                  rng *r) {
    ring k = ring_new(bits, dim, HEADS, CAPACITY, WRITTEN, scale_factor, r);
    ring v = ring_new(bits, dim, HEADS, CAPACITY, WRITTEN, scale_factor, r);
    tq_flash_attn_vec_tq_hb_params p = attend_params(bits, dim, positions);
    p.n_kv_heads = HEADS;
    p.n_heads = HEADS * GROUP;
    p.kv_capacity = CAPACITY;
    p.ring_start = (WRITTEN - positions) % CAPACITY;
    p.scale_factor_d512 = scale_factor;
    p.mask_type = rng_below(r, 3);
    p.sliding_window = 1 + positions / 2;
    p.softcap = positions % 2 ? 20.0f : 0.0f;
    p.nwg = 1 + rng_below(r, 8);
    const size_t n = 1 + rng_below(r, 5), values = n * p.n_heads * dim;
    float *q = test_alloc(values * sizeof *q), *rotated = test_alloc(values * sizeof *q);
    rng_gauss_fill(r, q, values);
    assert_int_equal(tq_hadamard_rotate_in(q, rotated, n * p.n_heads, dim), TQ_OK);
    attend_case codes = on_codes(&k, &v, &p, n, rotated), shadow = on_shadows(&k, &v, &p, n, rotated);
    attend_assert(&codes, &f->worst);
    attend_assert(&shadow, &f->worst);
    f->shadow = fmax(f->shadow, assert_near(&codes, &shadow));
    float *k_was = originals_of(&k, WRITTEN, positions), *v_was = originals_of(&v, WRITTEN, positions);
    f->original = fmax(f->original, distance(&codes, q, k_was, v_was));
    free(q);
    free(rotated);
    free(k_was);
    free(v_was);
    attend_case_free(&codes);
    attend_case_free(&shadow);
    ring_free(&k);
    ring_free(&v);
}

/* A full ring starts at the slot after the one just written, one that is not read whole a few later. */
static void run(unsigned bits, uint32_t dim, double distortion) {
    static const uint32_t positions[] = {CAPACITY, CAPACITY - 1, 20, 7};
    figures f = {0};
    rng r = {bits + dim};
    for (size_t i = 0; i < 4; i++)
        check(bits, dim, positions[i], 1.0f, &f, &r);
    /* Errors of keys move the weights about as much as errors of values move what is weighed. */
    const double limit = 3 * sqrt(distortion);
    if (!(f.original <= limit))
        fail_msg("%u bits, D %u: %g from the original, %g allowed", bits, dim, f.original, limit);
    const double original = f.original;
    for (size_t i = 0; i < 4; i++)
        check(bits, dim, positions[i], 1.3f, &f, &r);
    printf("%u bits, D %u: codes to shadow %.2e, to float64 %.2e, to the original %.3f (limit %.3f)\n",
           bits, dim, f.shadow, f.worst.error, original, limit);
}

/* Distortions of the codebooks on N(0, 1): 8 bits in v1 have 1.52 times the least there is. */
static void bits_4(void **state) {
    (void)state;
    run(4, 256, 0.0095);
    run(4, 512, 0.0095);
}

static void bits_5(void **state) {
    (void)state;
    run(5, 256, 0.0025);
    run(5, 512, 0.0025);
}

static void bits_6(void **state) {
    (void)state;
    run(6, 256, 0.00065);
    run(6, 512, 0.00065);
}

static void bits_8(void **state) {
    (void)state;
    run(8, 256, 6.28e-5);
    run(8, 512, 6.28e-5);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(bits_4), cmocka_unit_test(bits_5),
                                       cmocka_unit_test(bits_6), cmocka_unit_test(bits_8)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
