/* SPDX-License-Identifier: MIT
 * Many rows a KV head: the kernels of a prefill and of long verifications. Both arrangements of warps are
 * asked for by the rows that are planned for. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "answer.h"
#include "check.h"
#include "usual.h"

enum { FEW_TOKENS = 9, MANY_TOKENS = 33 }; /* of four heads: each warp by itself, all warps together */

static tq_cuda_attention_config config_for(size_t n_queries) {
    tq_cuda_attention_config config = usual(TQ_CUDA_FAST);
    config.layer.max_sequences = 4, config.layer.max_queries = 4 * n_queries;
    return config;
}

static scene scene_for(const char *name, const tq_cuda_attention_config *config, size_t n_queries) {
    scene s = plain(name, config, n_queries);
    s.n_sequences = 4;
    return s;
}

/* The kernel of many rows is there and takes part. */
static void expect_kernel(const planned *p, const tq_cuda_attention_config *config) {
    expect(p->info.many_from > 0 && p->info.many.warps > 0,
           "kernel of many rows from %zu rows on, of %u warps: D %u, %s/%s", p->info.many_from,
           p->info.many.warps, config->layer.head_dim, tq_format_name(config->layer.k_format),
           tq_format_name(config->layer.v_format));
}

static planned plan_many(const tq_cuda_attention_config *config) {
    const planned p = plan_for(config);
    expect_kernel(&p, config);
    return p;
}

static void check_and_free(scene *s, planned *p) {
    check_scene(s, p->plan, &p->info);
    tq_cuda_attention_free(p->plan);
}

/* The smallest that can be wrong, first: one sequence, one KV head, one tile. */
static void check_first(size_t n_queries) {
    static const size_t lengths[] = {16, 17, 33, 64, 65, 200};
    tq_cuda_attention_config config = config_for(n_queries);
    config.layer.n_heads = 4, config.layer.n_kv_heads = 1;
    config.layer.bidirectional = 1;
    planned p = plan_many(&config);
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        scene s = scene_for("prefill, one tile", &config, n_queries);
        s.n_sequences = 1, s.lengths[0] = n_queries > lengths[i] ? n_queries : lengths[i];
        check_scene(&s, p.plan, &p.info);
    }
    tq_cuda_attention_free(p.plan);
}

/* As many tokens as calls have, on pages in any order. */
static void check_counts(void) {
    static const size_t counts[] = {5, 8, 9, 16, 17, 64, 130, 512};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        const size_t n = counts[i];
        tq_cuda_attention_config config = config_for(n);
        planned p = plan_many(&config);
        scene s = scene_for("prefill, tokens", &config, n);
        const size_t lengths[] = {n + 133, 0, n / 2 + 1, n + 61};
        memcpy(s.lengths, lengths, sizeof lengths);
        s.page_rows = i % 2 == 0 ? 16 : 64;
        check_scene(&s, p.plan, &p.info);
        if (n > 9) { /* and fewer than were planned for */
            scene few = scene_for("prefill, fewer tokens", &config, n / 3);
            memcpy(few.lengths, lengths, sizeof lengths);
            check_scene(&few, p.plan, &p.info);
        }
        tq_cuda_attention_free(p.plan);
    }
}

static void check_tails(size_t n_queries) {
    static const size_t firsts[] = {0, 14, 29, 62, 78, 126, 254};
    const tq_cuda_attention_config config = config_for(n_queries);
    planned p = plan_many(&config);
    for (size_t i = 0; i < sizeof firsts / sizeof firsts[0]; i++) {
        scene s = scene_for("prefill, tails", &config, n_queries);
        for (size_t b = 0; b < 4; b++)
            s.lengths[b] = firsts[i] + b;
        s.layout = (layout)(i % 3);
        s.logits = i % 2 == 1, s.open = i % 3 == 2, s.base2 = i % 4 == 3;
        check_scene(&s, p.plan, &p.info);
    }
    tq_cuda_attention_free(p.plan);
}

/* Masks one by one, then float16 beside codes and centres with each. */
static void check_masks(size_t n_queries) {
    for (size_t i = 0; i < 16; i++) {
        tq_cuda_attention_config config = config_for(n_queries);
        const bool mixed = i >= 8;
        config.dense = mixed;
        if (i % 8 == 1) config.layer.window = 40;
        if (i % 8 == 2) config.layer.window = 21, config.layer.sink_positions = mixed ? 4 : 19;
        if (i % 8 == 3) config.layer.softcap = 5.0f;
        if (i % 8 == 4) config.layer.bidirectional = 1;
        if (i % 8 == 7) config.layer.window = 1;
        if (mixed && i % 2 == 1) config.centre_stretch = i == 9 ? 100 : i == 11 ? 16 : 64;
        planned p = plan_many(&config);
        scene s = scene_for("prefill, masks", &config, n_queries);
        for (size_t b = 0; b < 4; b++)
            s.lengths[b] = n_queries + 150 + 41 * b - b % 2;
        s.slopes = i % 8 == 5;
        s.n_tree = i % 8 == 6 ? n_queries + 7 * (size_t)mixed : 0;
        s.centre = mixed, s.stretch = config.centre_stretch;
        if (mixed) {
            s.n_sinks = 4, s.code_first = i % 4 < 2 ? 4 : 0;
            s.has_coded = true, s.permuted_dense = true;
            for (size_t b = 0; b < 4; b++)
                s.coded[b] = s.lengths[b] - (b == 3 ? n_queries : 3 * b);
            s.recent_capacity = n_queries + 13;
        }
        check_and_free(&s, &p);
    }
}

/* A window that leaves out whole tiles before a block of rows, and rings that have gone round. */
static void check_windows(size_t n_queries) {
    for (size_t i = 0; i < 4; i++) {
        tq_cuda_attention_config config = config_for(n_queries);
        config.layer.window = 64 + 16 * i;
        config.layer.sink_positions = i == 3 ? 3 : 0;
        planned p = plan_many(&config);
        scene s = scene_for("prefill, windows", &config, n_queries);
        for (size_t b = 0; b < 4; b++)
            s.lengths[b] = 900 + 55 * b;
        if (i == 1) s.paged = false, s.page_rows = (80 + n_queries + 15) / 16 * 16;
        if (i == 2) s.code_first = 700;
        check_and_free(&s, &p);
    }
}

/* Long enough to be cut among blocks, and so many sequences that their work is laid out before. */
static void check_cuts(size_t n_queries) {
    tq_cuda_attention_config config = config_for(n_queries);
    planned p = plan_many(&config);
    for (size_t i = 0; i < 2; i++) {
        scene s = scene_for("prefill, long", &config, n_queries);
        s.n_sequences = 1 + i;
        s.lengths[0] = 5003, s.lengths[1] = 1700;
        s.page_rows = 64, s.open = i == 1;
        check_scene(&s, p.plan, &p.info);
    }
    tq_cuda_attention_free(p.plan);
    config.layer.max_sequences = 40, config.layer.max_queries = 40 * n_queries;
    p = plan_many(&config);
    scene s = scene_for("prefill, many sequences", &config, n_queries);
    s.n_sequences = 40;
    for (size_t b = 0; b < 40; b++)
        s.lengths[b] = b * 37 % 211;
    s.shared = true;
    check_and_free(&s, &p);
}

/* Every head dimension and every width of codes, in both layouts. */
static const struct {
    uint32_t d, e;
    tq_format k, v;
    int any_layout;
} kinds[] = {{64, 64, TQ_TQ4, TQ_TQ4, 0},   {80, 80, TQ_TQ4, TQ_TQ8, 0},
             {96, 96, TQ_TQ6, TQ_TQ4, 0},   {112, 112, TQ_TQ5, TQ_TQ7, 0},
             {128, 128, TQ_TQ2, TQ_TQ3, 0}, {192, 128, TQ_TQ8, TQ_TQ4, 0},
             {256, 256, TQ_TQ4, TQ_TQ4, 0}, {64, 128, TQ_TQ8, TQ_TQ8, 0},
             {256, 64, TQ_TQ3, TQ_TQ2, 0},  {128, 128, TQ_TQ6, TQ_TQ4, 0},
             {128, 128, TQ_TQ4, TQ_TQ4, 1}, {256, 256, TQ_TQ6, TQ_TQ4, 0},
             {128, 128, TQ_TQ8, TQ_TQ8, 0}, {128, 128, TQ_TQ7, TQ_TQ5, 1},
             {256, 256, TQ_TQ8, TQ_TQ8, 0}, {32, 48, TQ_TQ4, TQ_TQ6, 1},
             {192, 192, TQ_TQ4, TQ_TQ8, 0}, {256, 256, TQ_TQ4_V1, TQ_TQ8_V1, 0},
             {64, 64, TQ_TQ8, TQ_TQ8, 0},   {256, 256, TQ_TQ6_V1, TQ_TQ5_V1, 0}};
enum { N_KINDS = sizeof kinds / sizeof kinds[0] };

/* Two warps hold half as many rows of long vectors. */
static size_t kind_tokens(size_t i) {
    const size_t k = i / 2, few = kinds[k].d > 128 || kinds[k].e > 128 ? FEW_TOKENS / 2 + 1 : FEW_TOKENS;
    return i % 2 == 0 ? few : MANY_TOKENS;
}

static tq_cuda_attention_config kind_config(size_t i) {
    const size_t k = i / 2;
    tq_cuda_attention_config config = config_for(kind_tokens(i));
    config.layer.head_dim = kinds[k].d, config.layer.v_head_dim = kinds[k].e;
    config.layer.k_format = kinds[k].k, config.layer.v_format = kinds[k].v;
    config.layer.scale = 1.0f / sqrtf((float)kinds[k].d);
    config.layer.domain = k % 5 == 4 ? TQ_ROTATED : TQ_ORIGINAL;
    config.layer.q_type = (tq_type)(k % 3), config.layer.out_type = (tq_type)(k / 3 % 3);
    config.any_layout = kinds[k].any_layout;
    return config;
}

static void check_kinds(void) {
    tq_cuda_attention_config configs[2 * N_KINDS];
    planned plans[2 * N_KINDS];
    for (size_t i = 0; i < 2 * N_KINDS; i++)
        configs[i] = kind_config(i);
#ifdef _OPENMP
#pragma omp parallel for schedule(dynamic, 1)
#endif
    for (size_t i = 0; i < 2 * N_KINDS; i++)
        plans[i] = plan_for(&configs[i]);
    for (size_t i = 0; i < 2 * N_KINDS; i++) {
        const size_t n = kind_tokens(i);
        expect_kernel(&plans[i], &configs[i]);
        for (size_t j = 0; j < 2; j++) {
            scene s = scene_for("prefill, kinds", &configs[i], n);
            const size_t lengths[] = {150 + 100 * j, 16, n, 77};
            memcpy(s.lengths, lengths, sizeof lengths);
            s.random_codes = j == 1, s.ordinary = j == 0;
            s.layout = configs[i].any_layout ? (layout)(ODD + (i + j) % 3) : (layout)((i + j) % 3);
            s.page_rows = configs[i].any_layout ? 24 : 48;
            check_scene(&s, plans[i].plan, &plans[i].info);
        }
        tq_cuda_attention_free(plans[i].plan);
    }
}

/* Norms that are no numbers, in the sight of some rows; scores and values of all sizes. */
static void check_hostile_rows(size_t n_queries, bool windowed) {
    static const float numbers[] = {0.0f, 5.9604645e-8f, 65504.0f, -1.5f, NAN, INFINITY, -INFINITY};
    static const float spreads[] = {9, 40, 1e-30f, 1e4f, 1e30f};
    tq_cuda_attention_config config = config_for(n_queries);
    if (windowed) config.layer.window = 40;
    planned p = plan_many(&config);
    for (size_t i = 0; i < 14; i++) {
        scene s = scene_for("prefill, hostile norms", &config, n_queries);
        const size_t lengths[] = {120, 97, 130, 5}, at = windowed ? 97 - n_queries - 40 + 2 : 97 - 2;
        memcpy(s.lengths, lengths, sizeof lengths);
        s.marks[s.n_marks++] = (mark){1, at, i % 3 == 0 ? -1 : 1, i % 2 == 1, numbers[i / 2]};
        if (i % 4 == 1) s.marks[s.n_marks++] = (mark){0, 119, 0, i % 2 == 0, numbers[i / 2]};
        s.open = i % 5 == 4, s.ordinary = false;
        check_scene(&s, p.plan, &p.info);
    }
    for (size_t i = 0; i < 10; i++) {
        scene s = scene_for("prefill, sizes", &config, n_queries);
        s.lengths[0] = 120, s.lengths[1] = 97;
        s.spread = spreads[i % 5], s.ordinary = false;
        s.against = i == 6, s.v_decades = i >= 5 && !s.against ? 6 : 0;
        check_scene(&s, p.plan, &p.info);
    }
    for (size_t i = 0; i < 4; i++) {
        scene s = scene_for("prefill, scores beyond float32", &config, n_queries);
        s.lengths[0] = 120, s.lengths[1] = 97;
        s.spread = 1e36f, s.ordinary = false;
        s.marks[s.n_marks++] = (mark){1, 95, i % 2 == 0 ? -1 : 1, false, i < 2 ? 65504.0f : -65504.0f};
        check_scene(&s, p.plan, &p.info);
    }
    tq_cuda_attention_free(p.plan);
}

/* No run within a plan's limits wants more than the plan says, by whichever kernel. */
static void check_workspace(void) {
    for (size_t i = 0; i < 6; i++) {
        tq_cuda_attention_config config = config_for(1);
        config.layer.n_heads = 2 * (uint32_t)(1 + i), config.dense = i % 2 == 1;
        config.layer.max_sequences = i < 3 ? 2 : 10, config.layer.max_queries = i < 3 ? 150 : 300;
        planned p = plan_for(&config);
        for (size_t b = 1; b <= config.layer.max_sequences; b++)
            for (size_t n = 1; b * n <= config.layer.max_queries; n++) {
                const tq_cuda_attention_batch batch = {
                    .size = sizeof batch, .n_sequences = b, .n_queries = n};
                size_t bytes = SIZE_MAX;
                succeed(tq_cuda_attention_workspace(p.plan, &batch, &bytes));
                expect(bytes <= p.info.workspace_bytes,
                       "workspace: %zu sequences of %zu queries want %zu bytes, the plan says %zu", b, n,
                       bytes, p.info.workspace_bytes);
            }
        tq_cuda_attention_free(p.plan);
    }
}

static const size_t tokens[] = {FEW_TOKENS, MANY_TOKENS};

void check_tiles(const options *o) {
    seed(o->seed);
    for (size_t i = 0; i < 2; i++) {
        check_first(tokens[i]);
        check_tails(tokens[i]);
    }
}

void check_prefill(const options *o) {
    seed(o->seed);
    check_counts();
    for (size_t i = 0; i < 2; i++) {
        check_masks(tokens[i]);
        check_windows(tokens[i]);
        check_cuts(tokens[i]);
        check_hostile_rows(tokens[i], false);
        check_hostile_rows(tokens[i], true);
    }
    check_workspace();
    check_kinds();
}
