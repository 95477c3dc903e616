/* SPDX-License-Identifier: MIT
 * Calls that cannot be done are refused, and leave sequences as they were. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "io/io_support.h"
#include "lm_support.h"
#include "tiny.h"

static const lm_kv plain = {.store = LM_STORE_F32};

static lm_model *tiny(void) {
    image im = tiny_model();
    lm_model *m;
    put_file("tiny.safetensors", im.bytes, im.size);
    assert_ok(lm_model_load("tiny.safetensors", &m));
    free(im.bytes);
    return m;
}

static tq_status create(const lm_model *m, lm_kv kv, size_t capacity, size_t chunk) {
    lm_sequence *s = (lm_sequence *)1;
    tq_status status = lm_sequence_create(m, &kv, capacity, chunk, NULL, &s);
    assert_true((status == TQ_OK) == (s != NULL));
    lm_sequence_free(s);
    return status;
}

static void sequences_are_checked(void **state) {
    (void)state;
    lm_model *m = tiny();
    lm_sequence *s;
    uint64_t n;
    lm_kv kv = cache_of(TQ_TQ4);
    assert_fails(lm_sequence_create(m, &kv, 1, 1, NULL, NULL), TQ_E_NULL, "sequence is NULL");
    assert_fails(lm_sequence_create(NULL, &kv, 1, 1, NULL, &s), TQ_E_NULL, "NULL");
    assert_fails(lm_sequence_create(m, NULL, 1, 1, NULL, &s), TQ_E_NULL, "NULL");
    assert_fails(lm_sequence_create(m, &kv, 1, 1, &(tq_parallel){NULL, NULL}, &s), TQ_E_NULL,
                 "parallel->run is NULL");
    assert_fails(create(m, plain, 0, 1), TQ_E_SIZE, "capacity 0 and chunk 1");
    assert_fails(create(m, plain, 1, 0), TQ_E_SIZE, "capacity 1 and chunk 0");
    assert_fails(create(m, plain, SIZE_MAX / 2, 1), TQ_E_NO_MEMORY, "no memory for keys and values");
    assert_fails(create(m, (lm_kv){.store = (lm_store)4}, 1, 1), TQ_E_FORMAT, "store 4");
    assert_fails(create(m, (lm_kv){.store = (lm_store)-1}, 1, 1), TQ_E_FORMAT, "store -1");
    assert_fails(create(m, blocks_of(LM_N_BLOCKS, 0), 1, 1), TQ_E_FORMAT, "block 4 is none");
    assert_fails(create(m, blocks_of(LM_Q8_0, 0), 1, 1), TQ_E_HEAD_DIM,
                 "head_dim 48 does not fall into blocks");
    assert_fails(create(m, cache_of(TQ_TQ4_V1), 1, 1), TQ_E_HEAD_DIM, "32");
    assert_fails(create(m, cache_of((tq_format)9), 1, 1), TQ_E_FORMAT, "9");
    kv.recent = 2;
    assert_fails(create(m, kv, 1, 1), TQ_E_POSITION, "recent");
    assert_ok(create(m, kv, 2, 1));
    kv = cache_of(TQ_TQ4);
    kv.k_dense = 1;
    kv.learn_centre = 1;
    assert_fails(create(m, kv, 9, 1), TQ_E_POLICY, "centre");
    kv.learn_centre = 0;
    kv.v_dense = 1;
    assert_fails(create(m, kv, 9, 1), TQ_E_POLICY, "use LM_STORE_F32");
    assert_fails(lm_sequence_bytes(NULL, &n, &n), TQ_E_NULL, "NULL");
    lm_sequence_free(NULL);
    assert_int_equal(lm_sequence_length(NULL), 0);
    lm_model_free(m);
}

static void tokens_are_checked(void **state) {
    (void)state;
    enum { ROOM = 6 };
    static const uint32_t tokens[ROOM + 1] = {65, 109, 101, 110, 46};
    float logits[3 * VOCAB];
    lm_model *m = tiny(), *other = tiny();
    lm_sequence *s[3];
    for (size_t i = 0; i < 3; i++)
        s[i] = new_sequence(i == 2 ? other : m, plain, ROOM, 2, NULL);
    lm_sequence *twice[] = {s[0], s[1], s[0]}, *none[] = {s[0], NULL};
    assert_fails(lm_prefill(NULL, s[0], 1, tokens, NULL, NULL, NULL), TQ_E_NULL, "NULL");
    assert_fails(lm_prefill(m, NULL, 1, tokens, NULL, NULL, NULL), TQ_E_NULL, "NULL");
    assert_fails(lm_prefill(m, s[0], 1, NULL, NULL, NULL, NULL), TQ_E_NULL, "NULL");
    assert_fails(lm_prefill(other, s[0], 1, tokens, NULL, NULL, NULL), TQ_E_POLICY, "another model");
    assert_fails(lm_prefill(m, s[0], ROOM + 1, tokens, NULL, NULL, NULL), TQ_E_POSITION,
                 "7 tokens after 0: the sequence has a capacity of 6");
    assert_fails(lm_decode(NULL, 1, s, tokens, logits, NULL), TQ_E_NULL, "NULL");
    assert_fails(lm_decode(m, 1, NULL, tokens, logits, NULL), TQ_E_NULL, "NULL");
    assert_fails(lm_decode(m, 1, s, NULL, logits, NULL), TQ_E_NULL, "NULL");
    assert_fails(lm_decode(m, 1, s, tokens, NULL, NULL), TQ_E_NULL, "NULL");
    assert_fails(lm_decode(m, 2, none, tokens, logits, NULL), TQ_E_NULL, "sequence 1 is NULL");
    assert_fails(lm_decode(m, 3, s, tokens, logits, NULL), TQ_E_POLICY,
                 "sequence 2 was made for another");
    assert_fails(lm_decode(m, 3, twice, tokens, logits, NULL), TQ_E_OVERLAP, "sequence 2 is sequence 0");
    const float *there;
    assert_fails(lm_decode_text(NULL, 1, s, 1, tokens, &there, NULL), TQ_E_NULL, "NULL");
    assert_fails(lm_decode_text(m, 1, s, 1, tokens, NULL, NULL), TQ_E_NULL, "NULL");
    assert_fails(lm_decode_text(m, 1, s, 0, tokens, &there, NULL), TQ_E_SIZE, "0 steps of 1 sequences");
    assert_fails(lm_decode_text(m, 0, s, 1, tokens, &there, NULL), TQ_E_SIZE, "1 steps of 0 sequences");
    assert_fails(lm_decode_text(m, 1, s, ROOM + 1, tokens, &there, NULL), TQ_E_POSITION,
                 "7 tokens after 0: the sequence has a capacity of 6");
    assert_int_equal(lm_sequence_length(s[0]), 0);
    assert_ok(lm_decode(m, 0, NULL, NULL, NULL, NULL));
    assert_ok(lm_prefill(m, s[0], ROOM, tokens, NULL, NULL, NULL));
    assert_fails(lm_decode(m, 2, s, tokens, logits, NULL), TQ_E_POSITION, "1 tokens after 6");
    assert_int_equal(lm_sequence_length(s[1]), 0);
    for (size_t i = 0; i < 3; i++)
        lm_sequence_free(s[i]);
    lm_model_free(m);
    lm_model_free(other);
}

/* A watch sees what attention gets and gives, and may spoil it: values that no store takes make the pass
 * fail in the second layer, when the first one has appended already. */
typedef struct spoiler {
    size_t calls, layer;
    float value;
} spoiler;

static void spoil(void *context, size_t layer, size_t n_rows, const float *q, const float *k,
                  const float *v) {
    spoiler *p = context;
    assert_non_null(q);
    assert_non_null(v);
    p->calls++;
    if (layer == p->layer) ((float *)(uintptr_t)k)[(n_rows - 1) * 2 * 48] = p->value;
}

static void a_failed_pass_leaves_nothing(void **state) {
    (void)state;
    enum { N = 30, BEFORE = 20 };
    uint32_t tokens[N];
    lm_kv half_dense = cache_of(TQ_TQ8);
    half_dense.v_dense = 1;
    const lm_kv kinds[] = {plain, {.store = LM_STORE_F16}, cache_of(TQ_TQ8), half_dense};
    lm_model *m = tiny();
    for (size_t i = 0; i < N; i++)
        tokens[i] = (uint32_t)(65 + i * 7 % 26);
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        float logits[VOCAB];
        uint64_t bytes[2], values;
        spoiler p = {.layer = 1, .value = i == 1 ? 65536.0f : NAN};
        const lm_watch watch = {.qkv = spoil, .context = &p};
        float *whole = run_tokens(m, kinds[i], tokens, N, 3, NULL);
        lm_sequence *s = new_sequence(m, kinds[i], N, 3, NULL);
        assert_ok(lm_prefill(m, s, BEFORE, tokens, NULL, NULL, NULL));
        assert_ok(lm_sequence_bytes(s, &bytes[0], &values));
        assert_fails(lm_prefill(m, s, 3, tokens, NULL, NULL, &watch),
                     i == 1 ? TQ_E_RANGE : TQ_E_NOT_FINITE, "layer 1, sequence 0: k");
        assert_fails(lm_decode(m, 1, &s, tokens, logits, &watch), i == 1 ? TQ_E_RANGE : TQ_E_NOT_FINITE,
                     "layer 1, sequence 0: k");
        assert_int_equal(p.calls, 4);
        assert_int_equal(lm_sequence_length(s), BEFORE);
        assert_ok(lm_sequence_bytes(s, &bytes[1], &values));
        assert_int_equal(bytes[0], bytes[1]);
        assert_ok(lm_prefill(m, s, N - BEFORE, tokens + BEFORE, NULL, logits, NULL));
        assert_true(largest_difference(logits, whole + (N - 1) * VOCAB, VOCAB) < 1e-6);
        lm_sequence_free(s);
        free(whole);
    }
    lm_model_free(m);
}

/* A query that sees one position alone gives that position's value. */
typedef struct seen {
    float v[2][3 * 2 * 48];
    size_t calls[2];
    lm_model *m;
} seen;

static void keep_values(void *context, size_t layer, size_t n_rows, const float *q, const float *k,
                        const float *v) {
    seen *p = context;
    const lm_layer_shape s = lm_model_layer(p->m, layer);
    (void)q;
    (void)k;
    assert_int_equal(n_rows, 3);
    memcpy(p->v[layer], v, n_rows * s.n_kv_heads * s.head_dim * sizeof *v);
}

static void compare_values(void *context, size_t layer, size_t n_rows, const float *out) {
    seen *p = context;
    const lm_layer_shape s = lm_model_layer(p->m, layer);
    const size_t dim = s.head_dim;
    p->calls[layer]++;
    assert_int_equal(n_rows, 3);
    for (size_t i = 0; i < n_rows * s.n_heads; i++) {
        const size_t row = i / s.n_heads, head = i % s.n_heads / (s.n_heads / s.n_kv_heads);
        const float *want = p->v[layer] + (row * s.n_kv_heads + head) * dim;
        assert_true(largest_difference(out + i * dim, want, dim) < 1e-6);
    }
}

static void a_watch_sees_rows(void **state) {
    (void)state;
    seen p = {.m = tiny()};
    float logits[3 * VOCAB];
    lm_sequence *s[3];
    const lm_watch watch = {keep_values, compare_values, &p};
    for (size_t i = 0; i < 3; i++)
        s[i] = new_sequence(p.m, plain, 5, 1, NULL);
    assert_ok(lm_decode(p.m, 3, s, (const uint32_t[]){71, 111, 100}, logits, &watch));
    assert_int_equal(p.calls[0], 1);
    assert_int_equal(p.calls[1], 1);
    for (size_t i = 0; i < 3; i++)
        lm_sequence_free(s[i]);
    lm_model_free(p.m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(sequences_are_checked, enter_folder, leave_folder),
        cmocka_unit_test_setup_teardown(tokens_are_checked, enter_folder, leave_folder),
        cmocka_unit_test_setup_teardown(a_watch_sees_rows, enter_folder, leave_folder),
        cmocka_unit_test_setup_teardown(a_failed_pass_leaves_nothing, enter_folder, leave_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
