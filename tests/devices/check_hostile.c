/* SPDX-License-Identifier: MIT
 * What caches should not hold, and rows that do not see it: they must come out as if it were not there.
 * Queries, scores and values of all sizes. */
#include <math.h>
#include <string.h>

#include "answer.h"
#include "check.h"

static const float numbers[] = {0.0f, 5.9604645e-8f, 3e-5f, 65504.0f, -1.5f, NAN, INFINITY, -INFINITY};
enum { N_NUMBERS = sizeof numbers / sizeof numbers[0] };

typedef struct hostile_kind {
    tq_format k, v;
    uint32_t d, e, heads, kv_heads;
    int any_layout;
} hostile_kind;

static const hostile_kind kinds[] = {{TQ_TQ4, TQ_TQ4, 128, 128, 8, 2, 0},
                                     {TQ_TQ8, TQ_TQ3, 64, 96, 2, 2, 1},
                                     {TQ_TQ8_V1, TQ_TQ4_V1, 512, 512, 6, 2, 0}};

static tq_cuda_attention_config config_of(const hostile_kind *k, tq_cuda_accuracy accuracy) {
    return (tq_cuda_attention_config){.size = sizeof(tq_cuda_attention_config),
                                      .accuracy = accuracy,
                                      .dense = 1,
                                      .any_layout = k->any_layout,
                                      .layer = {.size = sizeof(tq_attention_config),
                                                .n_heads = k->heads,
                                                .n_kv_heads = k->kv_heads,
                                                .head_dim = k->d,
                                                .v_head_dim = k->e,
                                                .k_format = k->k,
                                                .v_format = k->v,
                                                .scale = 1.0f / sqrtf((float)k->d),
                                                .max_sequences = 3,
                                                .max_queries = 15,
                                                .max_positions = 400}};
}

static scene base(const char *name, const tq_cuda_attention_config *config, size_t n_queries) {
    return (scene){.name = name,
                   .config = *config,
                   .n_sequences = 3,
                   .n_queries = n_queries,
                   .lengths = {120, 97, 130},
                   .page_rows = config->any_layout ? 24 : 16,
                   .paged = true,
                   .lse = true,
                   .layout = config->any_layout ? ODD : SIDE_BY_SIDE};
}

/* A number where only the last queries see it, or, with a window of 40, only the first; in one sequence
 * or one head. */
static void check_numbers(const tq_cuda_attention_config *config, const tq_cuda_attention *plan,
                          const tq_cuda_attention_info *info) {
    const bool windowed = config->layer.window > 0;
    for (size_t i = 0; i < 2 * (size_t)N_NUMBERS; i++) {
        scene s = base("hostile norms", config, 5);
        const size_t at = windowed ? 97 - 5 - 40 + 2 : 97 - 2;
        s.marks[s.n_marks++] = (mark){1, at, i % 3 == 0 ? -1 : 1, i % 2 == 1, numbers[i / 2]};
        if (i % 4 == 1) s.marks[s.n_marks++] = (mark){0, 119, 0, i % 2 == 0, numbers[i / 2]};
        s.open = i % 5 == 4;
        check_scene(&s, plan, info);
    }
}

/* The same in float16: sinks at the beginning, of which a window sees nothing, and recent positions. */
static void check_dense_numbers(const tq_cuda_attention_config *config, const tq_cuda_attention *plan,
                                const tq_cuda_attention_info *info) {
    for (size_t i = 0; i < 2 * (size_t)N_NUMBERS; i++) {
        scene s = base("hostile float16", config, 3);
        s.n_sinks = 4, s.code_first = 4;
        s.has_coded = true, s.recent_capacity = 50;
        s.coded[0] = 100, s.coded[1] = 90, s.coded[2] = 128;
        s.marks[s.n_marks++] = (mark){0, 119, -1, i % 2 == 1, numbers[i / 2]};
        s.marks[s.n_marks++] = (mark){1, 95, 1, i % 2 == 0, numbers[i / 2]};
        s.marks[s.n_marks++] = (mark){2, 2, 0, i % 2 == 0, numbers[i / 2]};
        s.open = i % 5 == 4;
        check_scene(&s, plan, info);
    }
}

/* Scores far apart, queries of any size, values of lengths that differ by a million. */
static void check_sizes(const tq_cuda_attention_config *config, const tq_cuda_attention *plan,
                        const tq_cuda_attention_info *info) {
    static const float spreads[] = {9, 40, 1e-30f, 1e4f, 1e30f};
    for (size_t i = 0; i < 10; i++) {
        scene s = base("sizes of scores", config, 1 + i % 2);
        s.spread = spreads[i % 5];
        if (i >= 5) s.v_decades = 6;
        check_scene(&s, plan, info);
    }
    for (size_t i = 0; i < 6; i++) {
        scene s = base("values against weights", config, 1);
        s.against = i % 2 == 0, s.v_decades = i % 2 == 0 ? 0 : 6;
        s.spread = i < 2 ? 1 : i < 4 ? 2.5f : 5;
        s.lengths[0] = 380;
        check_scene(&s, plan, info);
    }
}

/* Scores that float32 cannot hold, of either sign, in the sight of some rows. */
static void check_overflows(const tq_cuda_attention_config *config, const tq_cuda_attention *plan,
                            const tq_cuda_attention_info *info) {
    for (size_t i = 0; i < 4; i++) {
        scene s = base("scores beyond float32", config, 5);
        s.spread = 1e36f;
        s.marks[s.n_marks++] = (mark){1, 95, i % 2 == 0 ? -1 : 1, false, i < 2 ? 65504.0f : -65504.0f};
        check_scene(&s, plan, info);
    }
}

void check_hostile(const options *o) {
    seed(o->seed);
    for (size_t i = 0; i < 2 * sizeof kinds / sizeof kinds[0]; i++) {
        tq_cuda_attention_info info;
        tq_cuda_attention_config config = config_of(&kinds[i / 2], (tq_cuda_accuracy)(i % 2));
        tq_cuda_attention *plan = plan_of(&config, &info);
        check_numbers(&config, plan, &info);
        check_dense_numbers(&config, plan, &info);
        check_sizes(&config, plan, &info);
        if (config.layer.head_dim < 512) check_overflows(&config, plan, &info);
        tq_cuda_attention_free(plan);
        config.layer.window = 40;
        plan = plan_of(&config, &info);
        check_numbers(&config, plan, &info);
        check_dense_numbers(&config, plan, &info);
        tq_cuda_attention_free(plan);
    }
}
