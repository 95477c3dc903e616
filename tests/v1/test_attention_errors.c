/* SPDX-License-Identifier: MIT
 * Every error of v1's attention: status, record, and not a byte written. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "attend.h"
#include "support/cm.h"

#define COUNT(x) (sizeof(x) / sizeof(x)[0])

enum { POSITIONS = 11, CAPACITY = 13, QUERIES = 3 };

typedef struct scene {
    attend_case is; /* in order */
    const char *k, *v;
} scene;

static scene scene_new(size_t kind) {
    const unsigned bits = attend_kinds[kind / 2];
    rng r = {kind};
    tq_flash_attn_vec_tq_hb_params p = attend_params(bits, kind % 2 ? 512 : 256, POSITIONS);
    p.kv_capacity = CAPACITY;
    p.ring_start = 5;
    p.mask_type = TQ_MASK_SLIDING;
    p.sliding_window = 6;
    p.nwg = 2;
    scene s = {.is = attend_case_new(bits, &p, QUERIES, &r)};
    s.k = bits == DENSE ? "k" : "k_packed";
    s.v = bits == DENSE ? "v" : "v_packed";
    return s;
}

static void assert_record(tq_status got, tq_status want, const char *field, uint64_t index) {
    const tq_error *e = tq_last_error();
    if (got != want || e->status != want || e->index != index || strcmp(e->field, field) != 0)
        fail_msg("%s of %s wanted, index %llu; got %s, record: %s of %s, index %llu: %s",
                 tq_status_name(want), field, (unsigned long long)index, tq_status_name(got),
                 tq_status_name(e->status), e->field, (unsigned long long)e->index, e->message);
    assert_true(strlen(e->message) > 0 && strchr(e->message, '\n') == NULL);
}

/* Not the workspace either: everything is checked before work begins. */
static void assert_nothing_written(const scene *s) {
    guard_assert_untouched(&s->is.dst);
    guard_assert_untouched(&s->is.workspace);
}

static void refused(const scene *s, const attend_call *c, tq_status want, const char *field) {
    assert_record(attend(c), want, field, 0);
    assert_nothing_written(s);
}

/* By the call, and by the question for its workspace. */
static void refused_by_both(const scene *s, const attend_call *c, tq_status want, const char *field) {
    size_t bytes = 12345;
    refused(s, c, want, field);
    assert_record(attend_workspace(c, &bytes), want, field, 0);
    assert_int_equal(bytes, 12345);
}

static void heads_and_dimensions(const scene *s) {
    static const uint32_t heads[][2] = {{0, 0}, {0, 2}, {4, 0}, {4, 3}, {2, 4}, {UINT32_MAX, 2}};
    static const uint32_t dims[] = {0, 1, 64, 128, 255, 257, 384, 1024, 256U << 16, UINT32_MAX};
    attend_call c = s->is.call;
    for (size_t i = 0; i < COUNT(heads); i++) {
        c.p.n_heads = heads[i][0];
        c.p.n_kv_heads = heads[i][1];
        refused_by_both(s, &c, TQ_E_HEADS, heads[i][1] == 0 ? "n_kv_heads" : "n_heads");
    }
    c = s->is.call;
    for (size_t i = 0; i < COUNT(dims); i++) {
        c.p.head_dim = dims[i];
        refused_by_both(s, &c, TQ_E_HEAD_DIM, "head_dim");
    }
    static const uint32_t bits[] = {0, 1, 2, 3, 4, 7, 9, 16, 32, 0x105, UINT32_MAX};
    c = s->is.call;
    for (size_t i = 0; i < COUNT(bits) && c.bits != 4 && c.bits != DENSE; i++) {
        c.p.codebook_bits = bits[i];
        refused(s, &c, TQ_E_BITS, "codebook_bits");
    }
}

static void positions(const scene *s) {
    attend_call c = s->is.call;
    c.p.kv_capacity = 0;
    refused_by_both(s, &c, TQ_E_POSITION, "kv_capacity");
    static const uint32_t lengths[] = {CAPACITY + 1, 2 * CAPACITY, UINT32_MAX};
    c = s->is.call;
    for (size_t i = 0; i < COUNT(lengths); i++) {
        c.p.kv_seq_len = lengths[i];
        refused_by_both(s, &c, TQ_E_POSITION, "kv_seq_len");
    }
    static const uint32_t starts[] = {CAPACITY, CAPACITY + 1, UINT32_MAX};
    c = s->is.call;
    for (size_t i = 0; i < COUNT(starts) && c.bits != DENSE; i++) {
        c.p.ring_start = starts[i];
        refused(s, &c, TQ_E_POSITION, "ring_start");
    }
    c = s->is.call;
    c.p.sliding_window = 0;
    refused_by_both(s, &c, TQ_E_POSITION, "sliding_window");
    static const size_t queries[] = {POSITIONS + 1, (size_t)1 << 32, SIZE_MAX};
    for (uint32_t mask = TQ_MASK_CAUSAL; mask <= TQ_MASK_SLIDING; mask++)
        for (size_t i = 0; i < COUNT(queries); i++) {
            c = s->is.call;
            c.p.mask_type = mask;
            c.n_queries = queries[i];
            refused_by_both(s, &c, TQ_E_POSITION, "n_queries");
            c.n_queries = 1;
            c.p.kv_seq_len = 0;
            refused_by_both(s, &c, TQ_E_POSITION, "n_queries");
        }
}

static void numbers(const scene *s) {
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    static const uint32_t masks[] = {3, 4, 256, UINT32_MAX};
    static const float factors[] = {0.0f, -0.0f, -1.0f, NAN, INFINITY, -INFINITY};
    attend_call c = s->is.call;
    for (size_t i = 0; i < COUNT(bad); i++) {
        c = s->is.call;
        c.p.scale = bad[i];
        refused_by_both(s, &c, TQ_E_NOT_FINITE, "scale");
        c = s->is.call;
        c.p.softcap = bad[i];
        refused_by_both(s, &c, TQ_E_NOT_FINITE, "softcap");
    }
    c.p.softcap = -1;
    refused_by_both(s, &c, TQ_E_NOT_FINITE, "softcap");
    c = s->is.call;
    for (size_t i = 0; i < COUNT(masks); i++) {
        c.p.mask_type = masks[i];
        refused_by_both(s, &c, TQ_E_MASK, "mask_type");
    }
    c = s->is.call;
    c.p.nwg = 0;
    refused_by_both(s, &c, TQ_E_SIZE, "nwg");
    c = s->is.call;
    for (size_t i = 0; i < COUNT(factors) && c.bits != DENSE && c.p.head_dim == 512; i++) {
        c.p.scale_factor_d512 = factors[i];
        c.n_queries = QUERIES;
        refused(s, &c, TQ_E_SCALE_FACTOR, "scale_factor_d512");
        c.n_queries = 0; /* nothing to do, but not with such parameters */
        refused(s, &c, TQ_E_SCALE_FACTOR, "scale_factor_d512");
    }
}

/* Sizes that no memory holds; nothing may be read before that is known. */
static void overflows(const scene *s) {
    attend_call c = s->is.call;
    c.p.n_heads = c.p.n_kv_heads = c.p.kv_capacity = UINT32_MAX;
    refused_by_both(s, &c, TQ_E_OVERFLOW, "kv_capacity");
    c = s->is.call;
    c.p.mask_type = TQ_MASK_NONE;
    static const size_t queries[] = {SIZE_MAX, SIZE_MAX / 4, SIZE_MAX / 16, SIZE_MAX / 4096};
    for (size_t i = 0; i < COUNT(queries); i++) {
        c.n_queries = queries[i];
        refused_by_both(s, &c, TQ_E_OVERFLOW, "n_queries");
    }
    /* One stretch would fit, 2^32 of them do not. */
    c.n_queries = (size_t)1 << 32;
    c.p.kv_capacity = c.p.kv_seq_len = c.p.nwg = UINT32_MAX;
    refused_by_both(s, &c, TQ_E_OVERFLOW, "nwg");
}

/* Arguments with a size, in the order of the calls. */
enum { Q, K, K_NORMS, V, V_NORMS, DST, WORKSPACE, ARGUMENTS };

typedef struct argument {
    const char *name;
    void *data;
    size_t n, bytes;
} argument;

static argument get(const scene *s, size_t which) {
    const attend_case *is = &s->is;
    const attend_call *c = &is->call;
    const argument all[ARGUMENTS] = {{"q", is->q.data, c->n_q, is->q.size},
                                     {s->k, is->k.data, c->n_k, is->k.size},
                                     {"k_norms", is->k_norms.data, c->n_k_norms, is->k_norms.size},
                                     {s->v, is->v.data, c->n_v, is->v.size},
                                     {"v_norms", is->v_norms.data, c->n_v_norms, is->v_norms.size},
                                     {"dst", c->dst, c->n_dst, is->dst.size},
                                     {"workspace", c->workspace, c->workspace_bytes, c->workspace_bytes}};
    return all[which];
}

static void set(attend_call *c, size_t which, void *data, size_t n) {
    const float **const inputs[] = {&c->q, NULL, &c->k_norms, NULL, &c->v_norms, NULL, NULL};
    const void **const codes[] = {NULL, &c->k, NULL, &c->v, NULL, NULL, NULL};
    size_t *const sizes[] = {&c->n_q,       &c->n_k,   &c->n_k_norms,      &c->n_v,
                             &c->n_v_norms, &c->n_dst, &c->workspace_bytes};
    *sizes[which] = n;
    if (inputs[which] != NULL) *inputs[which] = data;
    if (codes[which] != NULL) *codes[which] = data;
    if (which == DST) c->dst = data;
    if (which == WORKSPACE) c->workspace = data;
}

/* One element too few, none, and no pointer. */
static void buffers(const scene *s) {
    attend_call c = s->is.call;
    c.null_params = true;
    refused_by_both(s, &c, TQ_E_NULL, "params");
    assert_record(attend_workspace(&s->is.call, NULL), TQ_E_NULL, "bytes", 0);
    for (size_t i = 0; i < ARGUMENTS; i++) {
        const argument a = get(s, i);
        if (a.bytes == 0) continue; /* norms of dense vectors */
        c = s->is.call;
        set(&c, i, a.data, a.n - 1);
        refused(s, &c, TQ_E_SIZE, a.name);
        set(&c, i, a.data, 0);
        refused(s, &c, TQ_E_SIZE, a.name);
        set(&c, i, NULL, a.n);
        refused(s, &c, TQ_E_NULL, a.name);
    }
    c = s->is.call;
    for (size_t off = 1; off < 64; off *= 2) {
        c.workspace = (uint8_t *)s->is.call.workspace + off;
        refused(s, &c, TQ_E_SIZE, "workspace");
    }
    c = s->is.call; /* a larger shape in the same buffers */
    c.p.kv_capacity++;
    refused(s, &c, TQ_E_SIZE, s->k);
    c = s->is.call;
    c.n_queries++;
    refused(s, &c, TQ_E_SIZE, "q");
    c = s->is.call;
    c.p.nwg++;
    refused(s, &c, TQ_E_SIZE, "workspace");
}

static void first_not_finite(scene *s) {
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    const argument q = get(s, Q);
    float *copy = test_alloc(q.bytes);
    attend_call c = s->is.call;
    c.q = copy;
    for (size_t i = 0; i < q.n; i += i == 63 ? 1 : 21) {
        memcpy(copy, q.data, q.bytes);
        copy[q.n - 1] = NAN;
        copy[i] = bad[i % COUNT(bad)];
        assert_record(attend(&c), TQ_E_NOT_FINITE, "q", i);
        assert_nothing_written(s);
    }
    memcpy(copy, q.data, q.bytes);
    copy[q.n - 1] = INFINITY;
    assert_record(attend(&c), TQ_E_NOT_FINITE, "q", q.n - 1);
    free(copy);
}

/* `lower`, then `upper` where it still shares a few bytes with it. */
static void overlapping(const scene *s, size_t lower, size_t upper, uint8_t *base) {
    const argument a = get(s, lower), b = get(s, upper);
    attend_call c = s->is.call;
    set(&c, lower, base, a.n);
    set(&c, upper, base + (a.bytes - 1) / 64 * 64, b.n);
    const tq_status got = attend(&c);
    const char *field = tq_last_error()->field;
    /* The one at fault is one of the two; which of them is not promised. */
    if (got != TQ_E_OVERLAP || (strcmp(field, a.name) != 0 && strcmp(field, b.name) != 0))
        fail_msg("%s over %s: %s of %s", a.name, b.name, tq_status_name(got), field);
    assert_nothing_written(s);
}

static void overlaps(const scene *s) {
    size_t all = 64;
    for (size_t i = 0; i < ARGUMENTS; i++)
        all += get(s, i).bytes;
    guard memory = guard_new(all);
    uint8_t *base = (uint8_t *)memory.data + (64 - (uintptr_t)memory.data % 64) % 64;
    for (size_t i = DST; i < ARGUMENTS; i++)
        for (size_t j = 0; j < ARGUMENTS; j++) {
            if (i == j || get(s, j).bytes == 0) continue;
            overlapping(s, i, j, base);
            overlapping(s, j, i, base);
        }
    guard_assert_untouched(&memory);
    guard_free(&memory);
}

/* A scene that is always refused would pass every test above: unspoiled it succeeds, and so it does with
 * inputs that are the same and outputs that touch. */
static void in_order(scene *s) {
    attend_case *is = &s->is;
    attend_call kept = is->call;
    attend_worst w = {0};
    attend_case_run(is);
    attend_assert(is, &w);
    is->call.v = is->call.k;
    is->call.v_norms = is->call.k_norms;
    attend_case_run(is);
    is->call = kept;
    const size_t gap = (is->dst.size + 63) / 64 * 64;
    guard both = guard_new(64 + gap + kept.workspace_bytes);
    uint8_t *base = (uint8_t *)both.data + (64 - (uintptr_t)both.data % 64) % 64;
    is->call.workspace = base + gap;
    is->call.dst = (float *)(void *)(base + gap - is->dst.size);
    assert_int_equal(attend(&is->call), TQ_OK);
    attend_assert(is, &w);
    is->call = kept;
    guard_free(&both);
}

static void all_errors(void **state) {
    (void)state;
    for (size_t kind = 0; kind < (size_t)2 * KINDS; kind++) {
        scene s = scene_new(kind);
        heads_and_dimensions(&s);
        positions(&s);
        numbers(&s);
        overflows(&s);
        buffers(&s);
        first_not_finite(&s);
        overlaps(&s);
        in_order(&s);
        attend_case_free(&s.is);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(all_errors)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
