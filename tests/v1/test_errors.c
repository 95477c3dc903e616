/* SPDX-License-Identifier: MIT
 * Every error of every v1 function on a cache: status, record, and not a byte written. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "calls.h"
#include "support/cm.h"

typedef struct scene {
    v1_function *function;
    bool decoder;
    const char *dense_name;
    v1_call call; /* in order */
    v1_buffers buffers;
} scene;

static scene scene_of(v1_function *function, unsigned bits, uint32_t head_dim) {
    scene s = {0};
    s.function = function;
    s.decoder = function == v1_dequantize;
    s.dense_name = s.decoder ? "dst" : "src";
    s.call = v1_call_of(bits, head_dim, 2, 5);
    s.call.n_tokens = function == v1_quantize_seq ? 3 : 1;
    s.call.position = 2;
    s.buffers = v1_buffers_for(&s.call, 0);
    rng r = {bits + head_dim};
    rng_gauss_fill(&r, s.call.dense, s.call.n_dense);
    guard_save(&s.buffers.dense);
    return s;
}

static void assert_nothing_written(const scene *s) {
    guard_assert_untouched(&s->buffers.packed);
    guard_assert_untouched(&s->buffers.norms);
    guard_assert_untouched(&s->buffers.dense);
}

static void refused(const scene *s, v1_call c, tq_status want, const char *field, uint64_t index) {
    tq_status got = s->function(&c);
    const tq_error *e = tq_last_error();
    if (got != want || e->status != want || e->index != index || strcmp(e->field, field) != 0) {
        fail_msg("%s of %s wanted, index %llu; got %s, record: %s of %s, index %llu: %s",
                 tq_status_name(want), field, (unsigned long long)index, tq_status_name(got),
                 tq_status_name(e->status), e->field, (unsigned long long)e->index, e->message);
    }
    assert_true(strlen(e->message) > 0 && strchr(e->message, '\n') == NULL);
    assert_nothing_written(s);
}

static void pointers(const scene *s) {
    v1_call c = s->call;
    c.null_params = true;
    refused(s, c, TQ_E_NULL, "params", 0);
    c = s->call;
    c.packed = NULL;
    refused(s, c, TQ_E_NULL, "packed", 0);
    c = s->call;
    c.norms = NULL;
    refused(s, c, TQ_E_NULL, "norms", 0);
    c = s->call;
    c.dense = NULL;
    refused(s, c, TQ_E_NULL, s->dense_name, 0);
}

static void sizes(const scene *s) {
    v1_call c = s->call;
    c.packed_bytes--;
    refused(s, c, TQ_E_SIZE, "packed", 0);
    c.packed_bytes = 0;
    refused(s, c, TQ_E_SIZE, "packed", 0);
    c = s->call;
    c.n_norms--;
    refused(s, c, TQ_E_SIZE, "norms", 0);
    c = s->call;
    c.n_dense--;
    refused(s, c, TQ_E_SIZE, s->dense_name, 0);
    c = s->call;
    c.heads++;
    refused(s, c, TQ_E_SIZE, "packed", 0);
}

static void shapes(const scene *s) {
    static const uint32_t dims[] = {0, 1, 64, 128, 255, 257, 384, 768, 1024, 256U << 16, UINT32_MAX};
    v1_call c = s->call;
    for (size_t i = 0; i < sizeof dims / sizeof dims[0]; i++) {
        c.head_dim = dims[i];
        refused(s, c, TQ_E_HEAD_DIM, "head_dim", 0);
    }
    c = s->call;
    c.heads = 0;
    refused(s, c, TQ_E_HEADS, "num_kv_heads", 0);
    c = s->call;
    c.heads = c.capacity = UINT32_MAX;
    refused(s, c, TQ_E_OVERFLOW, "cache_capacity", 0);
    /* 2^63 bytes: they fit size_t, but no pointer difference. */
    c.heads = UINT32_C(1) << 31;
    c.capacity = UINT32_C(1) << (c.head_dim == 512 && c.hb ? 23 : c.head_dim == 512 || c.hb ? 24 : 25);
    refused(s, c, TQ_E_OVERFLOW, "cache_capacity", 0);
    static const uint32_t bits[] = {0, 1, 2, 3, 4, 7, 9, 16, 0x105, UINT32_MAX};
    for (size_t i = 0; i < sizeof bits / sizeof bits[0] && s->call.hb; i++) {
        c = s->call;
        c.bits = bits[i];
        refused(s, c, TQ_E_BITS, "codebook_bits", 0);
    }
}

static void scale_factors(const scene *s) {
    static const float wrong[] = {0.0f, -0.0f, -1.0f, NAN, INFINITY, -INFINITY};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0] && s->call.head_dim == 512; i++) {
        v1_call c = s->call;
        c.scale_factor = wrong[i];
        refused(s, c, TQ_E_SCALE_FACTOR, "scale_factor_d512", 0);
    }
}

static void norms_per_pos(const scene *s) {
    for (uint32_t n = 0; n < 6; n++) {
        v1_call c = s->call;
        c.norms_per_pos = n == 5 ? UINT32_MAX : n;
        if (c.norms_per_pos == s->call.norms_per_pos) continue;
        refused(s, c, TQ_E_NORMS_PER_POS, "norms_per_pos", 0);
    }
}

static void read_positions(const scene *s) {
    static const uint32_t wrong[] = {5, 6, 1000, UINT32_MAX};
    for (size_t i = 0; i < 4; i++) {
        v1_call c = s->call;
        c.position = wrong[i];
        refused(s, c, TQ_E_POSITION, "read_pos", 0);
    }
    v1_call c = s->call;
    c.capacity = 0;
    refused(s, c, TQ_E_POSITION, "read_pos", 0);
}

static void write_positions(const scene *s) {
    static const uint32_t wrong[] = {5, 6, 1000, UINT32_MAX};
    v1_call c = s->call;
    for (size_t i = 0; i < 4; i++) {
        c.position = wrong[i];
        refused(s, c, TQ_E_POSITION, "write_pos", 0);
    }
    for (uint32_t ring = 0; ring < 2; ring++) {
        c = s->call;
        c.capacity = 0;
        c.is_sliding = ring;
        refused(s, c, TQ_E_POSITION, "cache_capacity", 0);
    }
    if (s->function != v1_quantize_seq) return;
    c = s->call;
    c.position = 3; /* three tokens, room for two */
    refused(s, c, TQ_E_POSITION, "write_pos", 0);
    c.position = 0;
    c.n_tokens = 6;
    refused(s, c, TQ_E_POSITION, "write_pos", 0);
    c.n_tokens = SIZE_MAX;
    refused(s, c, TQ_E_POSITION, "write_pos", 0);
    c.position = 4;
    c.n_tokens = SIZE_MAX - 3; /* 4 + (2^64 - 4) is 0 in 64 bits */
    refused(s, c, TQ_E_POSITION, "write_pos", 0);
    c.is_sliding = 1;
    refused(s, c, TQ_E_OVERFLOW, "src", 0);
    c.n_tokens = SIZE_MAX / 512;
    refused(s, c, TQ_E_OVERFLOW, "src", 0);
}

/* The buffer at fault is one of the two that overlap; which of them is not promised. */
static void overlapping(const scene *s, v1_call c, const char *a, const char *b) {
    tq_status got = s->function(&c);
    assert_int_equal(got, TQ_E_OVERLAP);
    assert_int_equal(tq_last_error()->status, TQ_E_OVERLAP);
    const char *field = tq_last_error()->field;
    if (strcmp(field, a) != 0 && strcmp(field, b) != 0)
        fail_msg("%s is blamed, not %s or %s", field, a, b);
    assert_nothing_written(s);
}

/* Laid out in one buffer: the first floats of one array inside the last bytes of the other, both ways. */
static void overlaps(const scene *s) {
    size_t packed = v1_packed_bytes(&s->call), norms = v1_norms(&s->call) * sizeof(float);
    size_t dense = s->call.n_dense * sizeof(float);
    guard all = guard_new(packed + norms + dense);
    uint8_t *base = all.data;
    v1_call c = s->call;
    c.packed = base;
    c.dense = (float *)(void *)(base + packed - sizeof(float));
    overlapping(s, c, "packed", s->dense_name);
    c.dense = (float *)(void *)base;
    overlapping(s, c, "packed", s->dense_name);
    c.packed = base + dense - 1;
    overlapping(s, c, "packed", s->dense_name);
    c = s->call;
    c.norms = (float *)(void *)base;
    c.dense = (float *)(void *)(base + norms - sizeof(float));
    overlapping(s, c, "norms", s->dense_name);
    c.dense = (float *)(void *)base;
    c.norms = (float *)(void *)(base + dense - sizeof(float));
    overlapping(s, c, "norms", s->dense_name);
    if (!s->decoder) {
        c = s->call;
        c.packed = base;
        c.norms = (float *)(void *)(base + packed - sizeof(float));
        overlapping(s, c, "packed", "norms");
        c.norms = (float *)(void *)base;
        c.packed = base + norms - 1;
        overlapping(s, c, "packed", "norms");
    }
    guard_assert_untouched(&all);
    guard_free(&all);
}

static void bad_value(scene *s, size_t i, float value, tq_status want) {
    float keep = s->call.dense[i];
    s->call.dense[i] = value;
    guard_save(&s->buffers.dense);
    refused(s, s->call, want, "src", i);
    s->call.dense[i] = keep;
    guard_save(&s->buffers.dense);
}

static void values(scene *s) {
    size_t n = s->call.n_dense;
    const size_t at[] = {0, 1, 15, 16, 100, 255, 256, n / 2, n - 17, n - 1};
    float above = nextafterf(TQ_MAX_ABS, INFINITY);
    for (size_t i = 0; i < sizeof at / sizeof at[0]; i++) {
        bad_value(s, at[i], NAN, TQ_E_NOT_FINITE);
        bad_value(s, at[i], INFINITY, TQ_E_NOT_FINITE);
        bad_value(s, at[i], -INFINITY, TQ_E_NOT_FINITE);
        bad_value(s, at[i], above, TQ_E_RANGE);
        bad_value(s, at[i], -above, TQ_E_RANGE);
    }
    /* The first of several is named. */
    s->call.dense[n - 1] = NAN;
    bad_value(s, 40, -above, TQ_E_RANGE);
    s->call.dense[n - 1] = 0.5f;
    guard_save(&s->buffers.dense);
}

/* Five of the eight tokens are dropped by the ring, and checked all the same. */
static void dropped_tokens_are_checked(unsigned bits) {
    v1_call c = v1_call_of(bits, 256, 1, 3);
    c.n_tokens = 8;
    c.is_sliding = 1;
    scene s = {v1_quantize_seq, false, "src", c, {{0}, {0}, {0}}};
    s.buffers = v1_buffers_for(&s.call, 0);
    memset(s.call.dense, 0, s.call.n_dense * sizeof(float));
    bad_value(&s, 256 + 9, NAN, TQ_E_NOT_FINITE);
    v1_buffers_free(&s.buffers);
}

/* A scene that is always refused would pass every test above: unspoiled it has to succeed. */
static void in_order(const scene *s) {
    assert_int_equal(s->function(&s->call), TQ_OK);
}

static void run(v1_function *function) {
    for (size_t k = 0; k < 8; k++) {
        scene s = scene_of(function, v1_all_bits[k / 2], v1_all_dims[k % 2]);
        pointers(&s);
        sizes(&s);
        shapes(&s);
        scale_factors(&s);
        overlaps(&s);
        if (s.decoder) {
            norms_per_pos(&s);
            read_positions(&s);
        } else {
            write_positions(&s);
            values(&s);
        }
        in_order(&s);
        v1_buffers_free(&s.buffers);
    }
}

static void dequantize(void **state) {
    (void)state;
    run(v1_dequantize);
}

static void quantize(void **state) {
    (void)state;
    run(v1_quantize);
}

static void quantize_seq(void **state) {
    (void)state;
    run(v1_quantize_seq);
    for (size_t i = 0; i < 4; i++)
        dropped_tokens_are_checked(v1_all_bits[i]);
}

/* The limit itself is accepted. */
static void largest_value(void **state) {
    (void)state;
    for (size_t k = 0; k < 8; k++) {
        scene s = scene_of(v1_quantize, v1_all_bits[k / 2], v1_all_dims[k % 2]);
        for (size_t i = 0; i < s.call.n_dense; i++)
            s.call.dense[i] = i % 2 ? TQ_MAX_ABS : -TQ_MAX_ABS;
        assert_int_equal(s.function(&s.call), TQ_OK);
        const float *norms = s.call.norms + (size_t)s.call.position * s.call.norms_per_pos;
        assert_true(isfinite(norms[0]) && norms[0] > TQ_MAX_ABS / 2);
        v1_buffers_free(&s.buffers);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(dequantize), cmocka_unit_test(quantize),
                                       cmocka_unit_test(quantize_seq), cmocka_unit_test(largest_value)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
