/* SPDX-License-Identifier: MIT
 * Scenes that chance would miss: every short length, every border of codes and recent positions, long
 * sequences, rows that see nothing, lengths beyond the plan. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "answer.h"
#include "check.h"
#include "usual.h"

/* Every length up to 40, and those around a few tiles. */
static void check_lengths(const planned *p, size_t n_queries) {
    static const size_t firsts[] = {0, 5, 10, 15, 20, 25, 30, 35, 46, 62, 78, 94, 126, 254, 510};
    for (size_t i = 0; i < sizeof firsts / sizeof firsts[0]; i++) {
        scene s = plain("every length", &p->config, n_queries);
        for (size_t b = 0; b < 5; b++)
            s.lengths[b] = firsts[i] + b;
        s.page_rows = i % 2 == 0 ? 16 : 64;
        s.layout = (layout)(i % 3);
        check_scene(&s, p->plan, &p->info);
    }
}

/* Codes end at every position of a short sequence, behind and before the sinks. */
static void check_borders(const planned *p) {
    for (size_t i = 0; i < 9; i++) {
        scene s = plain("every border", &p->config, 1 + i % 2);
        for (size_t b = 0; b < 5; b++)
            s.lengths[b] = 41, s.coded[b] = 5 * i + b;
        s.has_coded = true;
        s.n_sinks = i % 3 == 0 ? 0 : 4;
        s.code_first = i % 3 == 2 ? 4 : 0;
        s.recent_capacity = 41 + i;
        s.permuted_dense = true;
        check_scene(&s, p->plan, &p->info);
    }
}

/* Long ones are cut into parts that are merged: one sequence, several, several queries, and recent
 * positions behind. */
static void check_long(const planned *p) {
    for (size_t i = 0; i < (p->config.dense ? 4 : 3); i++) {
        scene s = plain("long", &p->config, i == 2 ? 3 : 1);
        s.n_sequences = i == 1 ? 3 : 1;
        s.lengths[0] = 5003, s.lengths[1] = 33, s.lengths[2] = 1500;
        s.page_rows = 64;
        s.has_coded = i == 3, s.coded[0] = 4900;
        s.recent_capacity = i == 3 ? 128 : 0, s.n_sinks = i == 3 ? 4 : 0;
        s.open = i == 1, s.logits = i == 2;
        check_scene(&s, p->plan, &p->info);
    }
}

/* Rows before position 0 and sequences without positions. */
static void check_nothing(const planned *p) {
    for (size_t i = 0; i < 6; i++) {
        scene s = plain("nothing to see", &p->config, i < 2 ? 1 : 5);
        const size_t lengths[] = {0, i == 0 ? 0 : 3, 0, i == 0 ? 0 : 20, i == 0 ? 0 : 1};
        memcpy(s.lengths, lengths, sizeof lengths);
        s.logits = i % 2 == 1, s.open = i >= 4, s.base2 = i == 3;
        check_scene(&s, p->plan, &p->info);
    }
}

/* Trees whose rows see very little, with more positions than queries. */
static void check_trees(const planned *p) {
    static const size_t sizes[] = {1, 3, 17, 33, 63, 64, 65, 70};
    for (size_t i = 0; i < 8; i++) {
        scene s = plain("trees", &p->config, i < 2 ? 3 : 17);
        for (size_t b = 0; b < 5; b++)
            s.lengths[b] = 70 + 13 * b + i;
        s.n_tree = sizes[i];
        s.has_coded = p->config.dense && i % 2 == 1;
        for (size_t b = 0; b < 5; b++)
            s.coded[b] = s.lengths[b] - 10 * b;
        s.recent_capacity = s.has_coded ? 40 : 0;
        check_scene(&s, p->plan, &p->info);
    }
}

static void check_usual(tq_cuda_accuracy accuracy) {
    tq_cuda_attention_config config = usual(accuracy);
    planned p = plan_for(&config);
    check_lengths(&p, 1);
    check_lengths(&p, 3);
    check_long(&p);
    check_nothing(&p);
    check_trees(&p);
    tq_cuda_attention_free(p.plan);
    config.dense = 1;
    p = plan_for(&config);
    check_borders(&p);
    check_long(&p);
    check_trees(&p);
    tq_cuda_attention_free(p.plan);
}

/* Windows: with a first slot behind what no row sees any more, with first positions that are always
 * seen, in float16 and as codes, and so short that a row sees itself. */
static void check_windows(tq_cuda_accuracy accuracy) {
    static const uint64_t windows[] = {1, 2, 16, 33, 100};
    for (size_t i = 0; i < 10; i++) {
        tq_cuda_attention_config config = usual(accuracy);
        config.layer.window = windows[i % 5];
        config.layer.sink_positions = i < 5 ? 0 : i % 2 == 0 ? 4 : 21;
        config.dense = 1;
        const planned p = plan_for(&config);
        scene s = plain("windows", &config, i % 2 == 0 ? 1 : 4);
        for (size_t b = 0; b < 5; b++)
            s.lengths[b] = 260 + 17 * b;
        if (i < 5) s.code_first = 112 + i;
        if (i >= 5) s.n_sinks = 4;
        if (i >= 5 && config.layer.sink_positions == 4) s.code_first = 4;
        check_scene(&s, p.plan, &p.info);
        tq_cuda_attention_free(p.plan);
    }
}

/* Windows wider than any sequence, some of which are shorter than their queries are many. */
static void check_wide_windows(tq_cuda_accuracy accuracy) {
    static const uint64_t windows[] = {INT32_MAX - 1, INT32_MAX, (uint64_t)INT32_MAX + 1, UINT64_MAX};
    static const size_t lengths[] = {2, 1, 5, 0, 40};
    for (size_t i = 0; i < sizeof windows / sizeof windows[0]; i++) {
        tq_cuda_attention_config config = usual(accuracy);
        config.layer.window = windows[i];
        const planned p = plan_for(&config);
        scene s = plain("wide windows", &config, 5);
        memcpy(s.lengths, lengths, sizeof lengths);
        check_scene(&s, p.plan, &p.info);
        tq_cuda_attention_free(p.plan);
    }
}

/* No run within a plan's limits wants more than the plan says. */
static void check_workspace(void) {
    for (uint32_t group = 1; group <= 16; group++) {
        tq_cuda_attention_config config = usual(TQ_CUDA_FAST);
        config.layer.n_heads = 2 * group;
        config.layer.max_sequences = 10, config.layer.max_queries = 37;
        const planned p = plan_for(&config);
        for (size_t b = 1; b <= 10; b++)
            for (size_t n = 1; b * n <= 37; n++) {
                const tq_cuda_attention_batch batch = {
                    .size = sizeof batch, .n_sequences = b, .n_queries = n};
                size_t bytes = SIZE_MAX;
                succeed(tq_cuda_attention_workspace(p.plan, &batch, &bytes));
                expect(
                    bytes <= p.info.workspace_bytes,
                    "workspace: group %u, %zu sequences of %zu queries want %zu bytes, the plan says %zu",
                    group, b, n, bytes, p.info.workspace_bytes);
            }
        tq_cuda_attention_free(p.plan);
    }
}

/* Rings that have gone round many times, and just. */
static void check_rings(tq_cuda_accuracy accuracy) {
    for (size_t i = 0; i < 6; i++) {
        tq_cuda_attention_config config = usual(accuracy);
        config.layer.window = 61, config.layer.sink_positions = i % 2 == 1 ? 3 : 0;
        config.dense = i % 2 == 1, config.any_layout = i >= 4;
        const planned p = plan_for(&config);
        scene s = plain("rings", &config, 4);
        const size_t lengths[] = {64, 65, 700, 80, 63};
        memcpy(s.lengths, lengths, sizeof lengths);
        s.paged = false, s.page_rows = i < 4 ? 64 : 67; /* 61 + 4 - 1 */
        s.layout = i < 4 ? SIDE_BY_SIDE : ODD;
        s.n_sinks = i % 2 == 1 ? 3 : 0, s.code_first = i == 3 ? 3 : 0;
        s.rows_of_capacity = i == 2;
        check_scene(&s, p.plan, &p.info);
        tq_cuda_attention_free(p.plan);
    }
}

/* Longer than planned: cut to that. Values that float16 cannot hold become infinite. */
static void check_limits(tq_cuda_accuracy accuracy) {
    tq_cuda_attention_config config = usual(accuracy);
    config.layer.max_positions = 100;
    planned p = plan_for(&config);
    scene s = plain("longer than planned", &config, 2);
    for (size_t b = 0; b < 5; b++)
        s.lengths[b] = 98 + 2 * b;
    check_scene(&s, p.plan, &p.info);
    tq_cuda_attention_free(p.plan);

    config.layer.out_type = TQ_F16;
    p = plan_for(&config);
    s = plain("beyond float16", &config, 1);
    for (size_t b = 0; b < 5; b++) {
        s.lengths[b] = 1 + b / 3;
        s.marks[b] = (mark){.sequence = b, .position = 0, .head = -1, .value = true, .number = 65504};
    }
    s.n_marks = 5, s.random_codes = true, s.ordinary = false, s.spread = 9;
    check_scene(&s, p.plan, &p.info);
    tq_cuda_attention_free(p.plan);
}

/* So many positions that a warp's tiles go round its ring several times, in every way in which rings and
 * tables share memory. The kernels that are built in, and some that are not. */
static void check_full_rings(tq_cuda_accuracy accuracy) {
    static const struct {
        unsigned k_dim, v_dim;
        tq_format k, v;
    } layers[] = {{64, 64, TQ_TQ4, TQ_TQ4},   {64, 64, TQ_TQ6, TQ_TQ4},   {64, 64, TQ_TQ8, TQ_TQ8},
                  {128, 128, TQ_TQ4, TQ_TQ4}, {128, 128, TQ_TQ6, TQ_TQ4}, {128, 128, TQ_TQ8, TQ_TQ8},
                  {256, 256, TQ_TQ4, TQ_TQ4}, {256, 256, TQ_TQ6, TQ_TQ4}, {256, 256, TQ_TQ8, TQ_TQ8},
                  {512, 512, TQ_TQ4, TQ_TQ4}, {576, 512, TQ_TQ8, TQ_TQ8}, {128, 128, TQ_TQ3, TQ_TQ2},
                  {80, 96, TQ_TQ5, TQ_TQ7},   {192, 128, TQ_TQ8, TQ_TQ4}, {1024, 1024, TQ_TQ2, TQ_TQ4}};
    for (size_t i = 0; i < sizeof layers / sizeof layers[0]; i++) {
        tq_cuda_attention_config config = usual(accuracy);
        config.layer.n_kv_heads = 4, config.layer.max_sequences = config.layer.max_queries = 8;
        config.layer.head_dim = layers[i].k_dim, config.layer.v_head_dim = layers[i].v_dim;
        config.layer.k_format = layers[i].k, config.layer.v_format = layers[i].v;
        config.layer.scale = 1.0f / sqrtf((float)layers[i].k_dim);
        const planned p = plan_for(&config);
        scene s = plain("full rings", &config, 1);
        s.n_sequences = 8;
        for (size_t b = 0; b < 8; b++)
            s.lengths[b] = (layers[i].k_dim > 256 ? 1600 : 3200) + 16 * b - b % 3;
        check_scene(&s, p.plan, &p.info);
        tq_cuda_attention_free(p.plan);
    }
}

/* More sequences than a card has multiprocessors, and more queries than a tile has rows. */
static void check_many(tq_cuda_accuracy accuracy) {
    tq_cuda_attention_config config = usual(accuracy);
    config.layer.max_sequences = 257, config.layer.max_queries = 300;
    config.layer.max_positions = (size_t)1 << 20;
    const planned p = plan_for(&config);
    for (size_t i = 0; i < 3; i++) {
        scene s = plain("many", &config, i < 2 ? 1 : 100);
        s.n_sequences = i < 2 ? 257 : 3;
        for (size_t b = 0; b < s.n_sequences; b++)
            s.lengths[b] = i == 0 ? 1 + b % 3 : i == 1 ? b * 37 % 211 : 60 + 70 * b;
        s.shared = i == 1;
        check_scene(&s, p.plan, &p.info);
    }
    tq_cuda_attention_free(p.plan);
}

/* Limits that are left 0: one sequence, one query. */
static void check_defaults(void) {
    tq_cuda_attention_config config = usual(TQ_CUDA_FAST);
    config.layer.max_sequences = config.layer.max_queries = 0;
    const planned p = plan_for(&config);
    scene s = plain("defaults", &config, 1);
    s.n_sequences = 1, s.lengths[0] = 333;
    check_scene(&s, p.plan, &p.info);
    tq_cuda_attention_free(p.plan);
}

/* Two streams, each with a workspace of its own. */
static void check_streams(void) {
    const tq_cuda_attention_config config = usual(TQ_CUDA_FAST);
    const planned p = plan_for(&config);
    scene s[2];
    staged on[2];
    answer a;
    cudaStream_t streams[2];
    for (size_t i = 0; i < 2; i++) {
        s[i] = plain("streams", &config, 1 + i);
        for (size_t b = 0; b < 5; b++)
            s[i].lengths[b] = 300 + 50 * b;
        scene_build(&s[i]);
        stage(&s[i], p.plan, &on[i]);
        need(cudaStreamCreateWithFlags(&streams[i], cudaStreamNonBlocking), "stream");
        poison_outputs(&on[i], 0xA5, NULL);
    }
    need(cudaDeviceSynchronize(), "poison");
    for (size_t i = 0; i < 20; i++)
        succeed(tq_cuda_attention_run(p.plan, &on[i % 2].batch, on[i % 2].workspace,
                                      on[i % 2].workspace_bytes, streams[i % 2]));
    for (size_t i = 0; i < 2; i++) {
        fetch(&on[i], 0xA5, &a);
        compare(&s[i], &a, false);
        answer_free(&a);
        scene_free(&s[i]);
        cudaStreamDestroy(streams[i]);
    }
    device_reset();
    tq_cuda_attention_free(p.plan);
}

/* Where kernels are kept does not change what they give; a folder that cannot be is no error. */
static void check_folders(void) {
    static const char *const folders[] = {"", "/proc/no such folder"};
    for (size_t i = 0; i < 2; i++) {
        tq_cuda_attention_config config = usual(TQ_CUDA_FAST);
        config.cache_dir = folders[i];
        const planned p = plan_for(&config);
        scene s = plain("folders", &config, 1);
        s.lengths[0] = 77, s.lengths[4] = 12;
        expect(p.info.origin != TQ_CUDA_CACHED, "a kernel out of \"%s\"", folders[i]);
        expect(p.info.workspace_bytes % 256 == 0, "workspace_bytes %zu", p.info.workspace_bytes);
        check_scene(&s, p.plan, &p.info);
        tq_cuda_attention_free(p.plan);
    }
}

void check_fixed(const options *o) {
    seed(o->seed);
    for (int accuracy = TQ_CUDA_FAST; accuracy <= TQ_CUDA_EXACT; accuracy++) {
        check_usual((tq_cuda_accuracy)accuracy);
        check_windows((tq_cuda_accuracy)accuracy);
        check_wide_windows((tq_cuda_accuracy)accuracy);
        check_rings((tq_cuda_accuracy)accuracy);
        check_limits((tq_cuda_accuracy)accuracy);
        check_many((tq_cuda_accuracy)accuracy);
        check_full_rings((tq_cuda_accuracy)accuracy);
    }
    check_workspace();
    check_defaults();
    check_streams();
    check_folders();
}
