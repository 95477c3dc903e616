/* SPDX-License-Identifier: MIT
 * v1 decoders: every bit equal to the float32 formula; layout and positions. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "calls.h"
#include "model.h"
#include "support/cm.h"

_Static_assert(sizeof(tq_dequantize_kv_params) == 24, "as the GPU kernel reads it");
_Static_assert(sizeof(tq_dequantize_hb_kv_params) == 28, "as the GPU kernel reads it");
_Static_assert(sizeof(tq_hadamard_quantize_kv_params) == 24, "as the GPU kernel reads it");
_Static_assert(sizeof(tq_hadamard_quantize_hb_kv_params) == 28, "as the GPU kernel reads it");
#define AT(type, field, offset) _Static_assert(offsetof(type, field) == (offset), "order of the fields")
AT(tq_dequantize_kv_params, head_dim, 0);
AT(tq_dequantize_kv_params, num_kv_heads, 4);
AT(tq_dequantize_kv_params, read_pos, 8);
AT(tq_dequantize_kv_params, cache_capacity, 12);
AT(tq_dequantize_kv_params, norms_per_pos, 16);
AT(tq_dequantize_kv_params, scale_factor_d512, 20);
AT(tq_dequantize_hb_kv_params, head_dim, 0);
AT(tq_dequantize_hb_kv_params, num_kv_heads, 4);
AT(tq_dequantize_hb_kv_params, read_pos, 8);
AT(tq_dequantize_hb_kv_params, cache_capacity, 12);
AT(tq_dequantize_hb_kv_params, norms_per_pos, 16);
AT(tq_dequantize_hb_kv_params, scale_factor_d512, 20);
AT(tq_dequantize_hb_kv_params, codebook_bits, 24);
AT(tq_hadamard_quantize_kv_params, head_dim, 0);
AT(tq_hadamard_quantize_kv_params, num_kv_heads, 4);
AT(tq_hadamard_quantize_kv_params, write_pos, 8);
AT(tq_hadamard_quantize_kv_params, cache_capacity, 12);
AT(tq_hadamard_quantize_kv_params, is_sliding, 16);
AT(tq_hadamard_quantize_kv_params, scale_factor_d512, 20);
AT(tq_hadamard_quantize_hb_kv_params, head_dim, 0);
AT(tq_hadamard_quantize_hb_kv_params, num_kv_heads, 4);
AT(tq_hadamard_quantize_hb_kv_params, write_pos, 8);
AT(tq_hadamard_quantize_hb_kv_params, cache_capacity, 12);
AT(tq_hadamard_quantize_hb_kv_params, is_sliding, 16);
AT(tq_hadamard_quantize_hb_kv_params, scale_factor_d512, 20);
AT(tq_hadamard_quantize_hb_kv_params, codebook_bits, 24);

static const float hostile_norms[] = {0.0f,     -0.0f,    1e-40f,    0x1p-149f, FLT_MIN, FLT_MAX,
                                      -FLT_MAX, INFINITY, -INFINITY, NAN,       -0.75f,  1e-10f};

/* Norms in a cache are mostly ordinary lengths; one in four is one that must pass through as it is. */
static void fill_norms(rng *r, float *norms, size_t n) {
    for (size_t i = 0; i < n; i++) {
        uint32_t pick = rng_below(r, 4 * sizeof hostile_norms / sizeof hostile_norms[0]);
        norms[i] = pick < sizeof hostile_norms / sizeof hostile_norms[0] ? hostile_norms[pick]
                                                                         : (float)exp(3 * rng_gauss(r));
    }
}

static void check_position(const v1_call *c, v1_buffers *b) {
    float want[8 * V1_MAX_DIM];
    for (uint32_t g = 0; g < c->heads; g++) {
        size_t slot = (size_t)g * c->capacity + c->position;
        const uint8_t *row = c->packed + slot * v1_row_bytes(c);
        const float *norms = c->norms + slot * c->norms_per_pos;
        for (uint32_t i = 0; i < c->head_dim; i++) {
            want[g * c->head_dim + i] =
                model_decode(c->bits, c->head_dim, c->scale_factor, row, norms, i);
        }
    }
    guard_save(&b->dense);
    assert_int_equal(v1_dequantize(c), TQ_OK);
    size_t n = (size_t)c->heads * c->head_dim;
    assert_same_floats(c->dense, want, n, "decoded");
    guard_assert_only(&b->dense, 0, n * sizeof(float));
    guard_assert_untouched(&b->packed);
    guard_assert_untouched(&b->norms);
}

static void check_cache(unsigned bits, uint32_t head_dim, uint32_t heads, uint32_t capacity,
                        float factor) {
    v1_call c = v1_call_of(bits, head_dim, heads, capacity);
    v1_buffers b = v1_buffers_for(&c, heads % 3);
    rng r = {bits * 1000 + head_dim + heads};
    c.scale_factor = factor;
    rng_bytes(&r, c.packed, c.packed_bytes);
    fill_norms(&r, c.norms, c.n_norms);
    guard_save(&b.packed);
    guard_save(&b.norms);
    for (c.position = 0; c.position < capacity; c.position++)
        check_position(&c, &b);
    v1_buffers_free(&b);
}

static void every_bit_follows_the_formula(void **state) {
    (void)state;
    static const float factors[] = {1.0f, 16.0f, 0.7310586f, 1e-30f};
    for (size_t f = 0; f < 4; f++) {
        for (size_t d = 0; d < 2; d++)
            for (size_t i = 0; i < 4; i++)
                check_cache(v1_all_bits[i], v1_all_dims[d], 3, 24, factors[f]);
    }
}

static void heads_one_to_eight(void **state) {
    (void)state;
    for (uint32_t heads = 1; heads <= 8; heads++)
        for (size_t i = 0; i < 4; i++)
            check_cache(v1_all_bits[i], v1_all_dims[heads % 2], heads, 3, 1.0f);
}

static void a_capacity_of_one(void **state) {
    (void)state;
    for (size_t i = 0; i < 4; i++)
        check_cache(v1_all_bits[i], 256, 2, 1, 1.0f);
}

/* At D = 256 the factor is not used, so no value of it may matter, and none is an error. */
static void d256_ignores_the_scale_factor(void **state) {
    (void)state;
    static const float factors[] = {16.0f, 0.0f, -1.0f, NAN, INFINITY};
    for (size_t f = 0; f < 5; f++)
        for (size_t i = 0; i < 4; i++)
            check_cache(v1_all_bits[i], 256, 1, 2, factors[f]);
}

/* 5 and 6 bits live in bytes whose high bits other engines may have left dirty. */
static void high_bits_are_masked(void **state) {
    (void)state;
    for (unsigned bits = 5; bits <= 6; bits++) {
        v1_call c = v1_call_of(bits, 256, 1, 1);
        v1_buffers b = v1_buffers_for(&c, 0);
        float clean[256];
        c.norms[0] = 16.0f;
        for (unsigned i = 0; i < 256; i++)
            c.packed[i] = (uint8_t)(i & ((1U << bits) - 1));
        assert_int_equal(v1_dequantize(&c), TQ_OK);
        memcpy(clean, c.dense, sizeof clean);
        for (unsigned i = 0; i < 256; i++) {
            c.packed[i] = (uint8_t)i;
            assert_true(clean[i] == model_centroids(bits)[i % (1U << bits)]);
        }
        assert_int_equal(v1_dequantize(&c), TQ_OK);
        assert_memory_equal(clean, c.dense, sizeof clean);
        v1_buffers_free(&b);
    }
}

/* The published error: 1/sqrt(512) applied once more would make values 22.6 times too small. */
static void d512_has_no_further_root(void **state) {
    (void)state;
    for (size_t i = 0; i < 4; i++) {
        unsigned bits = v1_all_bits[i];
        v1_call c = v1_call_of(bits, 512, 1, 1);
        v1_buffers b = v1_buffers_for(&c, 0);
        memset(c.packed, 0, c.packed_bytes);
        c.norms[0] = 1.0f;
        c.norms[1] = 2.0f;
        assert_int_equal(v1_dequantize(&c), TQ_OK);
        assert_true(c.dense[255] == model_centroids(bits)[0]);
        assert_true(c.dense[256] == model_centroids(bits)[0] * 2.0f);
        v1_buffers_free(&b);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_bit_follows_the_formula),
        cmocka_unit_test(heads_one_to_eight),
        cmocka_unit_test(a_capacity_of_one),
        cmocka_unit_test(d256_ignores_the_scale_factor),
        cmocka_unit_test(high_bits_are_masked),
        cmocka_unit_test(d512_has_no_further_root),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
