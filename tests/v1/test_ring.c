/* SPDX-License-Identifier: MIT
 * Where v1 encoders write: slots, rings, sequences, heads, and nothing else. */
#include <string.h>

#include "calls.h"
#include "support/cm.h"

static void fill(v1_call *c, uint64_t seed) {
    rng r = {seed};
    rng_gauss_fill(&r, c->dense, c->n_dense);
}

/* Codes and norms of one vector, encoded alone in a cache of one position. */
static void encode_alone(const v1_call *like, const float *x, uint8_t *row, float *norms) {
    v1_call c = v1_call_of(like->bits, like->head_dim, 1, 1);
    float copy[512];
    c.scale_factor = like->scale_factor;
    memcpy(copy, x, c.head_dim * sizeof *x);
    c.dense = copy;
    c.n_dense = c.head_dim;
    c.packed = row;
    c.packed_bytes = v1_row_bytes(&c);
    c.norms = norms;
    c.n_norms = c.norms_per_pos;
    assert_int_equal(v1_quantize(&c), TQ_OK);
}

/* The cache as `tokens` positions from c->position on should leave it, on top of what is there. */
static void expect(const v1_call *c, size_t tokens, uint8_t *packed, float *norms) {
    size_t row = v1_row_bytes(c);
    for (size_t t = 0; t < tokens; t++) {
        uint64_t position = (uint64_t)c->position + t;
        for (uint32_t g = 0; g < c->heads; g++) {
            size_t slot = (size_t)g * c->capacity + (size_t)(position % c->capacity);
            encode_alone(c, c->dense + (t * c->heads + g) * c->head_dim, packed + slot * row,
                         norms + slot * c->norms_per_pos);
        }
    }
}

static void check_sequence(unsigned bits, uint32_t head_dim, uint32_t heads, uint32_t capacity,
                           uint32_t position, size_t tokens, uint32_t is_sliding) {
    v1_call c = v1_call_of(bits, head_dim, heads, capacity);
    c.n_tokens = tokens;
    c.position = position;
    c.is_sliding = is_sliding;
    c.scale_factor = 1.5f;
    v1_buffers b = v1_buffers_for(&c, 5);
    fill(&c, bits + 1000 * heads + tokens);
    guard_save(&b.dense);
    guard want_packed = guard_new(c.packed_bytes), want_norms = guard_new(c.n_norms * sizeof(float));
    expect(&c, tokens, want_packed.data, want_norms.data);
    assert_int_equal(v1_quantize_seq(&c), TQ_OK);
    assert_memory_equal(c.packed, want_packed.data, c.packed_bytes);
    assert_memory_equal(c.norms, want_norms.data, c.n_norms * sizeof(float));
    guard_assert_only(&b.packed, 0, v1_packed_bytes(&c));
    guard_assert_only(&b.norms, 0, v1_norms(&c) * sizeof(float));
    guard_assert_untouched(&b.dense);
    guard_free(&want_packed);
    guard_free(&want_norms);
    v1_buffers_free(&b);
}

/* One position: its slot in every head and not a byte beside. */
static void check_single(unsigned bits, uint32_t head_dim, uint32_t heads, uint32_t capacity,
                         uint32_t position, uint32_t is_sliding) {
    v1_call c = v1_call_of(bits, head_dim, heads, capacity);
    c.position = position;
    c.is_sliding = is_sliding;
    v1_buffers b = v1_buffers_for(&c, 3);
    fill(&c, position + 7U * bits);
    guard_save(&b.dense);
    assert_int_equal(v1_quantize(&c), TQ_OK);
    guard_assert_untouched(&b.dense);
    size_t row = v1_row_bytes(&c), norms = c.norms_per_pos * sizeof(float);
    for (uint32_t g = 0; g < heads; g++) {
        uint8_t want_row[512];
        float want_norms[2];
        size_t slot = (size_t)g * capacity + position % capacity;
        encode_alone(&c, c.dense + g * head_dim, want_row, want_norms);
        assert_memory_equal(c.packed + slot * row, want_row, row);
        assert_memory_equal(c.norms + slot * c.norms_per_pos, want_norms, norms);
        guard_accept(&b.packed, slot * row, row);
        guard_accept(&b.norms, slot * norms, norms);
    }
    guard_assert_untouched(&b.packed);
    guard_assert_untouched(&b.norms);
    v1_buffers_free(&b);
}

static void single_positions(void **state) {
    (void)state;
    for (size_t k = 0; k < 8; k++) {
        unsigned bits = v1_all_bits[k / 2];
        uint32_t dim = v1_all_dims[k % 2];
        check_single(bits, dim, 2, 7, 0, 0);
        check_single(bits, dim, 2, 7, 3, 0);
        check_single(bits, dim, 2, 7, 6, 0);
        check_single(bits, dim, 2, 7, 6, 1);
        check_single(bits, dim, 2, 7, 7, 1);
        check_single(bits, dim, 2, 7, 7 * 1000 + 5, 1);
        check_single(bits, dim, 2, 7, UINT32_MAX, 1);
        check_single(bits, dim, 1, 1, UINT32_MAX, 2);
    }
}

static void heads_one_to_eight(void **state) {
    (void)state;
    for (uint32_t heads = 1; heads <= 8; heads++) {
        for (size_t k = 0; k < 8; k++) {
            check_single(v1_all_bits[k / 2], v1_all_dims[k % 2], heads, 3, heads, 1);
            check_sequence(v1_all_bits[k / 2], v1_all_dims[k % 2], heads, 5, 1, 4, 0);
        }
    }
}

static void sequences_in_a_global_cache(void **state) {
    (void)state;
    for (size_t k = 0; k < 8; k++) {
        unsigned bits = v1_all_bits[k / 2];
        uint32_t dim = v1_all_dims[k % 2];
        check_sequence(bits, dim, 2, 9, 0, 9, 0);
        check_sequence(bits, dim, 2, 9, 8, 1, 0);
        check_sequence(bits, dim, 2, 9, 2, 5, 0);
        check_sequence(bits, dim, 2, 9, 4, 0, 0);
    }
}

/* More tokens than slots: the last C stay, in order, however often the ring has gone round. */
static void sequences_in_a_ring(void **state) {
    (void)state;
    static const size_t tokens[] = {0, 1, 4, 5, 6, 11, 17, 38};
    for (size_t k = 0; k < 8; k++) {
        for (size_t i = 0; i < sizeof tokens / sizeof tokens[0]; i++)
            for (uint32_t position = 0; position < 12; position += 3)
                check_sequence(v1_all_bits[k / 2], v1_all_dims[k % 2], 2, 5, position, tokens[i], 1);
    }
}

/* 2^32 is no multiple of 5 or 7: 32-bit slot arithmetic would jump where the position passes it. */
static void slots_are_64_bit(void **state) {
    (void)state;
    for (size_t k = 0; k < 8; k++) {
        unsigned bits = v1_all_bits[k / 2];
        uint32_t dim = v1_all_dims[k % 2];
        check_sequence(bits, dim, 1, 7, UINT32_MAX, 1, 1);
        check_sequence(bits, dim, 1, 7, UINT32_MAX, 2, 1);
        check_sequence(bits, dim, 2, 5, UINT32_MAX - 2, 5, 1);
        check_sequence(bits, dim, 2, 5, UINT32_MAX - 3, 23, 1);
    }
}

/* A sequence and as many single calls leave the same bytes. */
static void singles_equal_the_sequence(void **state) {
    (void)state;
    enum { TOKENS = 13 };
    for (size_t k = 0; k < 8; k++) {
        v1_call c = v1_call_of(v1_all_bits[k / 2], v1_all_dims[k % 2], 3, 5);
        c.n_tokens = TOKENS;
        c.is_sliding = 1;
        c.position = 4;
        v1_buffers whole = v1_buffers_for(&c, 0);
        fill(&c, k);
        assert_int_equal(v1_quantize_seq(&c), TQ_OK);
        v1_call one = c;
        guard packed = guard_new(c.packed_bytes), norms = guard_new(c.n_norms * sizeof(float));
        one.packed = packed.data;
        one.norms = norms.data;
        for (size_t t = 0; t < TOKENS; t++, one.position++) {
            one.dense = c.dense + t * c.heads * c.head_dim;
            one.n_dense = (size_t)c.heads * c.head_dim;
            assert_int_equal(v1_quantize(&one), TQ_OK);
        }
        assert_memory_equal(packed.data, c.packed, c.packed_bytes);
        assert_memory_equal(norms.data, c.norms, c.n_norms * sizeof(float));
        guard_free(&packed);
        guard_free(&norms);
        v1_buffers_free(&whole);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(single_positions),
        cmocka_unit_test(heads_one_to_eight),
        cmocka_unit_test(sequences_in_a_global_cache),
        cmocka_unit_test(sequences_in_a_ring),
        cmocka_unit_test(slots_are_64_bit),
        cmocka_unit_test(singles_equal_the_sequence),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
