/* SPDX-License-Identifier: MIT */
#include "attend.h"

#include <stdio.h>

#include "scene.h"
#include "tqkv/tqkv.h"

/* Of outputs in bfloat16, which are off by 0.002 of themselves, on random vectors: tests/devices holds
 * kernels to their bounds, this only keeps what is wrong from being timed. */
static const double most_error = 0.02;

const char *attend_options(unsigned options) {
    static const struct {
        unsigned options;
        const char *name;
    } names[] = {{PLAIN, "plain"},     {TAILS, "tails"},     {WINDOW_EDGE, "window-edge"},
                 {SOFTCAP, "softcap"}, {LOGITS, "logits"},   {WINDOW_SHORT, "window-4096"},
                 {CENTRE, "centre"},   {CENTRES, "centres"}, {RECENT, "recent"},
                 {SINKS, "sinks"},     {HELPERS, "helpers"}};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (names[i].options == options) return names[i].name;
    return "mixed";
}

static void print_row(const attend_row *row, int paged) {
    printf("{\"kind\": \"attention\", \"heads\": %u, \"kv_heads\": %u, \"dim\": %u, \"batch\": %zu, "
           "\"positions\": %zu, \"queries\": %zu, \"k\": \"%s\", \"v\": \"%s\", \"accuracy\": \"%s\", "
           "\"page_rows\": %d, \"options\": \"%s\", ",
           row->heads, row->kv_heads, row->dim, row->batch, row->positions, row->queries,
           tq_format_name(row->k), tq_format_name(row->v),
           row->accuracy == TQ_CUDA_EXACT ? "exact" : "fast", paged ? PAGE_ROWS : 0,
           attend_options(row->options));
}

static void print_plan(const attend_row *row, const tq_cuda_attention_info *info) {
    static const char *const origins[] = {"built in", "cached", "compiled"};
    const size_t rows = row->queries * (row->heads / row->kv_heads);
    const int many = info->many_from > 0 && rows >= info->many_from;
    const tq_cuda_kernel_info *const kernel = many ? &info->many : &info->few;
    printf("\"origin\": \"%s\", \"plan_seconds\": %.3f, \"registers\": %u, \"shared_bytes\": %u, "
           "\"warps\": %u, \"workspace_bytes\": %zu, \"kernel\": \"%s\", ",
           (unsigned)info->origin < 3 ? origins[info->origin] : "?", info->seconds, kernel->registers,
           kernel->shared_bytes, kernel->warps, info->workspace_bytes, many ? "many rows" : "few rows");
}

static tq_status launch(void *work, size_t i, cudaStream_t stream) {
    const scene *c = work;
    return tq_cuda_attention_run(c->plan, &c->batch[i % c->sets], c->workspace, c->workspace_bytes,
                                 stream);
}

/* Once, from memory that was poisoned, and against the CPU. */
static int check(scene *c, stage *s, double *error) {
    need(cudaMemsetAsync(c->batch[0].out, 0xff, c->n_q * 2, s->stream), "cudaMemset");
    if (launch(c, 0, s->stream) != TQ_OK) {
        print_failed("tq_cuda_attention_run", tq_last_error()->message);
        return 0;
    }
    need(cudaStreamSynchronize(s->stream), "tq_cuda_attention_run");
    *error = scene_error(c);
    if (*error < most_error) return 1;
    char why[96];
    snprintf(why, sizeof why, "relative error %.3g against the CPU", *error);
    print_failed("wrong result", why);
    return 0;
}

static void time_scene(scene *c, stage *s) {
    timing t;
    double error;
    if (!check(c, s, &error)) return;
    if (stage_time(s, launch, c, stage_launches(c->sets, c->bytes), &t) != TQ_OK) {
        print_failed("tq_cuda_attention_run, captured", tq_last_error()->message);
        return;
    }
    print_timing(&t);
    printf(", \"error\": %.3g, \"sets\": %zu, \"bytes\": %zu}\n", error, c->sets, c->bytes);
}

static void measure_layout(stage *s, const attend_row *row, int paged, tq_cuda_attention *plan,
                           const tq_cuda_attention_info *info) {
    static scene c; /* 64 batches */
    stage_reset(s, row->dim, TQ_F16);
    print_row(row, paged);
    print_plan(row, info);
    if (scene_open(&c, s, row, paged)) {
        c.plan = plan;
        c.workspace_bytes = info->workspace_bytes;
        c.workspace = take(&s->scratch, c.workspace_bytes + 256);
    }
    if (c.workspace == NULL)
        print_failed("memory", "the row does not fit");
    else
        time_scene(&c, s);
    scene_close(&c);
    fflush(stdout);
}

static void each_layout(const attend_row *row, const char *what, const char *why) {
    for (int paged = 0; paged < 2; paged++) {
        if (!(row->layouts & (paged ? PAGES : CONTIGUOUS))) continue;
        print_row(row, paged);
        print_failed(what, why);
    }
}

void attend_measure(stage *s, const attend_row *row, int there_is_time) {
    const tq_cuda_attention_config config = scene_config(row);
    tq_cuda_attention *plan;
    tq_cuda_attention_info info;
    if (!there_is_time) {
        each_layout(row, "time", "none was left");
        return;
    }
    if (tq_cuda_attention_plan(s->cuda, &config, &plan, &info) != TQ_OK) {
        each_layout(row, "tq_cuda_attention_plan", tq_last_error()->message);
        return;
    }
    for (int paged = 0; paged < 2; paged++)
        if (row->layouts & (paged ? PAGES : CONTIGUOUS)) measure_layout(s, row, paged, plan, &info);
    need(cudaDeviceSynchronize(), "a plan's runs");
    tq_cuda_attention_free(plan);
}
