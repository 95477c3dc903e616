/* SPDX-License-Identifier: MIT
 * v1's attention against float64: shapes, masks, caps, rings, stretches. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "attend.h"
#include "support/cm.h"
#include "tqkv/attention.h"

static attend_worst worst;

static void check(unsigned bits, const tq_flash_attn_vec_tq_hb_params *p, size_t n_queries, rng *r) {
    attend_case c = attend_case_new(bits, p, n_queries, r);
    attend_case_run(&c);
    attend_assert(&c, &worst);
    attend_case_free(&c);
}

static uint32_t one_of(const uint32_t *from, size_t n, rng *r) {
    return from[rng_below(r, (uint32_t)n)];
}

/* Anything together with anything. */
static void draw_params(tq_flash_attn_vec_tq_hb_params *p, size_t *n_queries, rng *r) {
    static const float softcaps[] = {0, 0, 0.7f, 3, 50}, factors[] = {1, 0.37f, 2.5f};
    const uint32_t splits[] = {1, 2, 3, 7, 32, p->kv_seq_len + 1, UINT32_MAX};
    p->n_kv_heads = 1 + rng_below(r, 8);
    p->n_heads = p->n_kv_heads * (1 + rng_below(r, 8));
    /* What the model has to do stays about the same. */
    const uint32_t most = 1 + 1000000 / p->head_dim / p->n_heads;
    *n_queries = 1 + rng_below(r, 9);
    if (most / *n_queries < p->kv_seq_len) p->kv_seq_len = 1 + most / (uint32_t)*n_queries;
    if (*n_queries > p->kv_seq_len) *n_queries = p->kv_seq_len;
    p->kv_capacity = p->kv_seq_len + one_of((const uint32_t[]){0, 1, 7, p->kv_seq_len}, 4, r);
    p->ring_start = rng_below(r, p->kv_capacity);
    p->mask_type = rng_below(r, 3);
    p->sliding_window = 1 + rng_below(r, p->kv_seq_len + 2);
    p->scale *= (float)ldexp(1, -(int)rng_below(r, 3));
    p->softcap = softcaps[rng_below(r, 5)];
    p->scale_factor_d512 = factors[rng_below(r, 3)];
    p->nwg = one_of(splits, sizeof splits / sizeof splits[0], r);
}

static void random_calls(void **state) {
    (void)state;
    for (size_t k = 0; k < (size_t)2 * KINDS; k++) {
        const unsigned bits = attend_kinds[k / 2];
        rng r = {k};
        for (size_t i = 0; i < 32; i++) {
            size_t n_queries;
            tq_flash_attn_vec_tq_hb_params p =
                attend_params(bits, k % 2 == 0 ? 256 : 512, 1 + rng_below(&r, 400));
            draw_params(&p, &n_queries, &r);
            check(bits, &p, n_queries, &r);
        }
    }
}

static void all_head_counts(void **state) {
    (void)state;
    rng r = {11};
    for (size_t k = 0; k < (size_t)2 * KINDS; k++)
        for (uint32_t i = 0; i < 64; i++) {
            tq_flash_attn_vec_tq_hb_params p = attend_params(attend_kinds[k / 2], k % 2 ? 512 : 256, 3);
            p.n_kv_heads = 1 + i / 8;
            p.n_heads = p.n_kv_heads * (1 + i % 8);
            p.nwg = 2;
            check(attend_kinds[k / 2], &p, 1, &r);
        }
}

/* Every window around the number of positions, every number of queries, stretches that end everywhere. */
static void all_masks(void **state) {
    (void)state;
    static const uint32_t splits[] = {1, 2, 3, 7, 32};
    rng r = {12};
    for (size_t k = 0; k < KINDS; k++)
        for (uint32_t mask = TQ_MASK_NONE; mask <= TQ_MASK_SLIDING; mask++)
            for (size_t n = 1; n <= 9; n++)
                for (uint32_t window = 1; window <= (mask == TQ_MASK_SLIDING ? 13 : 1); window++) {
                    tq_flash_attn_vec_tq_hb_params p = attend_params(attend_kinds[k], 256, 11);
                    p.kv_capacity = 17;
                    p.ring_start = rng_below(&r, 17);
                    p.mask_type = mask;
                    p.sliding_window = window == 13 ? UINT32_MAX : window;
                    p.nwg = one_of(splits, 5, &r);
                    p.n_heads = 2;
                    check(attend_kinds[k], &p, n, &r);
                }
}

/* With a window no one looks at what the other masks ignore, and the other way round. */
static void unused_fields(void **state) {
    (void)state;
    rng r = {13};
    for (size_t k = 0; k < KINDS; k++) {
        tq_flash_attn_vec_tq_hb_params p = attend_params(attend_kinds[k], 256, 9);
        p.mask_type = TQ_MASK_CAUSAL;
        p.sliding_window = 0;
        p.scale_factor_d512 = NAN;
        p.nwg = 2;
        check(attend_kinds[k], &p, 4, &r);
        p.mask_type = TQ_MASK_NONE;
        check(attend_kinds[k], &p, 20, &r); /* unmasked queries stand nowhere: any number will do */
    }
}

/* Every start of a ring, full or not, and stretches across its seam. */
static void rings(void **state) {
    (void)state;
    rng r = {14};
    for (size_t k = 0; k < 2 * (KINDS - 1); k++)
        for (uint32_t start = 0; start < 13; start++)
            for (uint32_t positions = 5; positions <= 13; positions += 4) {
                tq_flash_attn_vec_tq_hb_params p =
                    attend_params(attend_kinds[k / 2], k % 2 ? 512 : 256, positions);
                p.kv_capacity = 13;
                p.ring_start = start;
                p.scale_factor_d512 = 1.75f;
                p.mask_type = start % 3;
                p.sliding_window = 4;
                p.nwg = 1 + start % 4;
                check(attend_kinds[k / 2], &p, 2, &r);
            }
}

/* More than one chunk, tile and split of tq_attention() to a stretch. */
static void long_caches(void **state) {
    (void)state;
    rng r = {15};
    for (size_t k = 0; k < KINDS; k++)
        for (uint32_t nwg = 1; nwg <= 3; nwg += 2) {
            tq_flash_attn_vec_tq_hb_params p = attend_params(attend_kinds[k], 256, 9001);
            p.n_heads = p.n_kv_heads = 1;
            p.kv_capacity = 9500;
            p.ring_start = 7777;
            p.nwg = nwg;
            p.mask_type = nwg == 1 ? TQ_MASK_CAUSAL : TQ_MASK_SLIDING;
            p.sliding_window = 5000;
            check(attend_kinds[k], &p, 2, &r);
        }
}

static void nothing_to_see(void **state) {
    (void)state;
    rng r = {16};
    for (size_t k = 0; k < (size_t)2 * KINDS; k++) {
        const size_t before = worst.unseen;
        tq_flash_attn_vec_tq_hb_params p = attend_params(attend_kinds[k / 2], k % 2 ? 512 : 256, 0);
        p.kv_capacity = 3;
        p.ring_start = 2;
        p.nwg = 1 + (uint32_t)k;
        check(attend_kinds[k / 2], &p, 3, &r);
        assert_int_equal(worst.unseen - before, 12);
    }
}

/* No queries: nothing is looked at, nothing written. */
static void nothing_to_do(void **state) {
    (void)state;
    for (size_t k = 0; k < KINDS; k++) {
        attend_call c = {.bits = attend_kinds[k], .p = attend_params(attend_kinds[k], 512, 7)};
        assert_int_equal(attend(&c), TQ_OK);
        c.p.n_kv_heads = 3;
        assert_int_equal(attend(&c), TQ_E_HEADS);
    }
}

/* Positions [first, first + length) by tq_attention_partial(). */
static void part_of(const attend_call *c, size_t first, size_t length, size_t part, float *acc,
                    float *max, float *sum) {
    const bool dense = c->bits == DENSE;
    tq_view k = {.store = dense ? TQ_STORE_F32 : TQ_STORE_CODES,
                 .domain = TQ_ROTATED,
                 .codec = {dense ? TQ_TQ4_V1 : (tq_format)(TQ_TQ4_V1 - 4 + c->bits), c->p.head_dim,
                           TQ_NORM_PLAIN, c->p.scale_factor_d512},
                 .data = c->k,
                 .data_bytes = attend_cache_rows(c) * attend_row_bytes(c),
                 .norms = c->k_norms,
                 .n_norms = c->n_k_norms * sizeof(float),
                 .capacity = c->p.kv_capacity,
                 .ring_start = ((dense ? 0 : c->p.ring_start) + first) % c->p.kv_capacity};
    tq_view v = k;
    v.data = c->v;
    v.norms = c->v_norms;
    const tq_segment s = {.k = k, .v = v, .length = length, .first_position = first};
    const tq_attention_params p = {.size = sizeof p,
                                   .n_heads = c->p.n_heads,
                                   .n_kv_heads = c->p.n_kv_heads,
                                   .head_dim = c->p.head_dim,
                                   .n_queries = c->n_queries,
                                   .query_end = c->p.kv_seq_len,
                                   .scale = c->p.scale,
                                   .domain = TQ_ROTATED};
    const size_t rows = attend_rows(c);
    size_t bytes;
    assert_int_equal(tq_attention_workspace(&p, &s, 1, &bytes), TQ_OK);
    edge workspace = edge_new((bytes + 63) / 64 * 64);
    assert_int_equal(tq_attention_partial(&p, &s, 1, c->q, rows * c->p.head_dim,
                                          acc + part * rows * c->p.head_dim, rows * c->p.head_dim,
                                          max + part * rows, sum + part * rows, rows, workspace.data,
                                          workspace.size),
                     TQ_OK);
    edge_free(&workspace);
}

/* dst by nwg stretches of ceil(T / nwg) positions, merged in order. */
static void by_parts(const attend_call *c, float *dst) {
    enum { MOST = 64 };
    const size_t length = (c->p.kv_seq_len + c->p.nwg - 1) / c->p.nwg, rows = attend_rows(c);
    const size_t dim = c->p.head_dim;
    float *acc = test_alloc(MOST * rows * dim * sizeof *acc);
    float *max = test_alloc(MOST * rows * sizeof *max), *sum = test_alloc(MOST * rows * sizeof *sum);
    const float *accs[MOST], *maxs[MOST], *sums[MOST];
    size_t first = 0;
    for (size_t part = 0; part < c->p.nwg; part++) {
        const size_t left = c->p.kv_seq_len - first, n = left < length ? left : length;
        part_of(c, first, n, part, acc, max, sum);
        accs[part] = acc + part * rows * dim;
        maxs[part] = max + part * rows;
        sums[part] = sum + part * rows;
        first += n;
    }
    assert_int_equal(
        tq_attention_merge(c->p.nwg, c->p.n_heads, c->n_queries, dim, accs, maxs, sums, NULL, dst, NULL),
        TQ_OK);
    free(acc);
    free(max);
    free(sum);
}

/* nwg decides the stretches: the same bits as from so many partial results, other bits than from one. */
static void stretches(void **state) {
    (void)state;
    static const uint32_t splits[] = {1, 2, 3, 7, 32, 61, 64};
    rng r = {17};
    for (size_t k = 0; k < (size_t)2 * KINDS; k++) {
        tq_flash_attn_vec_tq_hb_params p = attend_params(attend_kinds[k / 2], k % 2 ? 512 : 256, 60);
        p.kv_capacity = 71;
        p.ring_start = 50;
        p.mask_type = TQ_MASK_CAUSAL;
        p.nwg = 64;
        attend_case c = attend_case_new(attend_kinds[k / 2], &p, 5, &r);
        float *want = test_alloc(c.dst.size), *one = test_alloc(c.dst.size);
        for (size_t i = 0; i < sizeof splits / sizeof splits[0]; i++) {
            c.call.p.nwg = splits[i];
            by_parts(&c.call, want);
            if (i == 0) memcpy(one, want, c.dst.size);
            attend_case_run(&c);
            assert_memory_equal(c.call.dst, want, c.dst.size);
            /* One position a stretch may be the order of a single one again. */
            if (splits[i] > 1 && splits[i] < 60) assert_memory_not_equal(c.call.dst, one, c.dst.size);
        }
        free(want);
        free(one);
        attend_case_free(&c);
    }
}

/* Whatever the workspace held, and however much larger it is; and the result of a call repeated. */
static void workspaces(void **state) {
    (void)state;
    rng r = {18};
    for (size_t k = 0; k < KINDS; k++) {
        tq_flash_attn_vec_tq_hb_params p = attend_params(attend_kinds[k], 256, 40);
        p.nwg = 3;
        attend_case c = attend_case_new(attend_kinds[k], &p, 2, &r);
        attend_case_run(&c);
        float *first = test_alloc(c.dst.size);
        memcpy(first, c.call.dst, c.dst.size);
        edge larger = edge_new((c.call.workspace_bytes + 1000) / 64 * 64); /* full of NaN */
        c.call.workspace = larger.data;
        c.call.workspace_bytes = larger.size;
        assert_int_equal(attend(&c.call), TQ_OK);
        assert_memory_equal(c.call.dst, first, c.dst.size);
        edge_free(&larger);
        free(first);
        attend_case_free(&c);
    }
}

/* A workspace for a full cache will do while it fills, for all stretches that it may be cut into. */
static void workspace_of_a_cache_that_fills(void **state) {
    (void)state;
    static const uint32_t splits[] = {1, 2, 3, 7, 32, 1000};
    for (size_t i = 0; i < sizeof splits / sizeof splits[0]; i++) {
        size_t before = 0, bytes;
        attend_call c = {.bits = DENSE, .p = attend_params(DENSE, 256, 0), .n_queries = 3};
        c.p.kv_capacity = 40000;
        c.p.nwg = splits[i];
        for (; c.p.kv_seq_len <= c.p.kv_capacity; c.p.kv_seq_len += c.p.kv_seq_len < 200 ? 1 : 997) {
            assert_int_equal(attend_workspace(&c, &bytes), TQ_OK);
            assert_true(bytes >= before);
            before = bytes;
        }
    }
}

static int print_worst(void **state) {
    (void)state;
    printf("%zu rows, %zu that see nothing, largest error %.2e (bound %.1e)\n", worst.rows, worst.unseen,
           worst.error, ATTEND_BOUND);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_calls),
        cmocka_unit_test(all_head_counts),
        cmocka_unit_test(all_masks),
        cmocka_unit_test(unused_fields),
        cmocka_unit_test(rings),
        cmocka_unit_test(long_caches),
        cmocka_unit_test(nothing_to_see),
        cmocka_unit_test(nothing_to_do),
        cmocka_unit_test(stretches),
        cmocka_unit_test(workspaces),
        cmocka_unit_test(workspace_of_a_cache_that_fills),
    };
    return cmocka_run_group_tests(tests, NULL, print_worst);
}
