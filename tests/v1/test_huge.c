/* SPDX-License-Identifier: MIT
 * A cache of more than 4 GiB, of which only a few pages exist: offsets are 64-bit. */
#define _DEFAULT_SOURCE    /* MAP_ANONYMOUS and MAP_NORESERVE are in every system's headers, not in POSIX \
                              2008 */
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "calls.h"
#include "model.h"
#include "support/cm.h"

static void *reserve(size_t bytes) {
    void *p =
        mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

/* What a 32-bit byte or element offset would have hit instead has to be as it was: zero. */
static void assert_wrapped_untouched(const v1_call *c, size_t slot) {
    size_t row = v1_row_bytes(c), byte = slot * row, value = slot * c->norms_per_pos;
    const uint32_t wrong_bytes[] = {(uint32_t)byte, (uint32_t)(byte / 4) * 4};
    for (size_t i = 0; i < 2; i++) {
        if (wrong_bytes[i] == byte) continue;
        for (size_t k = 0; k < row; k++)
            assert_int_equal(c->packed[wrong_bytes[i] + k], 0);
    }
    const size_t wrong_values[] = {(uint32_t)value, (uint32_t)(value * sizeof(float)) / sizeof(float)};
    for (size_t i = 0; i < 2; i++)
        if (wrong_values[i] != value) assert_true(c->norms[wrong_values[i]] == 0.0f);
}

static void check_far_slots(v1_call *c) {
    float src[2 * V1_MAX_DIM], dst[2 * V1_MAX_DIM], want[V1_MAX_DIM], near_norms[4];
    uint8_t near_rows[2 * V1_MAX_DIM];
    v1_call near = v1_call_of(c->bits, c->head_dim, 2, 1);
    rng r = {c->bits};
    rng_gauss_fill(&r, src, 2 * (size_t)c->head_dim);
    near.packed = near_rows;
    near.packed_bytes = v1_packed_bytes(&near);
    near.norms = near_norms;
    near.n_norms = v1_norms(&near);
    near.dense = c->dense = src;
    near.n_dense = c->n_dense = 2 * (size_t)c->head_dim;
    assert_int_equal(v1_quantize(&near), TQ_OK);
    assert_int_equal(v1_quantize(c), TQ_OK);
    size_t row = v1_row_bytes(c);
    for (size_t g = 0; g < 2; g++) {
        size_t slot = g * c->capacity + c->position;
        assert_memory_equal(c->packed + slot * row, near_rows + g * row, row);
        assert_memory_equal(c->norms + slot * c->norms_per_pos, near_norms + g * c->norms_per_pos,
                            c->norms_per_pos * sizeof(float));
        assert_wrapped_untouched(c, slot);
    }
    c->dense = dst;
    assert_int_equal(v1_dequantize(c), TQ_OK);
    for (size_t g = 0; g < 2; g++) {
        for (uint32_t i = 0; i < c->head_dim; i++) {
            want[i] = model_decode(c->bits, c->head_dim, c->scale_factor, near_rows + g * row,
                                   near_norms + g * c->norms_per_pos, i);
        }
        assert_same_floats(dst + g * c->head_dim, want, c->head_dim, "decoded at the far end");
    }
}

/* The larger capacity puts the index of a norm, not only its byte, beyond 32 bits. */
static const uint32_t capacities[] = {
#ifndef TESTS_EMULATED
    (UINT32_C(1) << 31) + 12345,
#endif
    (UINT32_C(1) << 24) + 12345,
};

static void check(unsigned bits) {
    for (size_t i = 0; i < sizeof capacities / sizeof capacities[0]; i++) {
        v1_call c = v1_call_of(bits, 512, 2, capacities[i]);
        c.position = capacities[i] - 1;
        c.packed_bytes = v1_packed_bytes(&c);
        c.n_norms = v1_norms(&c);
        c.packed = reserve(c.packed_bytes);
        c.norms = reserve(c.n_norms * sizeof(float));
        bool there = c.packed != NULL && c.norms != NULL;
        if (there) {
            check_far_slots(&c);
            printf("  %u bits: %.1f GiB of codes, %.1f GiB of norms\n", bits,
                   (double)c.packed_bytes * 0x1p-30, (double)c.n_norms * sizeof(float) * 0x1p-30);
        }
        if (c.packed != NULL) munmap(c.packed, c.packed_bytes);
        if (c.norms != NULL) munmap(c.norms, c.n_norms * sizeof(float));
        if (there) return;
    }
    skip();
}

static void four_bits(void **state) {
    (void)state;
    check(4);
}

static void eight_bits(void **state) {
    (void)state;
    check(8);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(four_bits), cmocka_unit_test(eight_bits)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
