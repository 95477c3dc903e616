/* SPDX-License-Identifier: MIT
 * What an engine's step costs: one layer of a sequence that has just begun, and runs of many sequences on
 * one thread and on several, in the default configuration. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "measure/data.h"
#include "measure/timing.h"
#include "tqkv/tqkv.h"

enum { SAMPLES = 31, MOST_SEQUENCES = 32 };

typedef struct shape {
    size_t sequences, positions;
    uint32_t heads, kv_heads, dim;
} shape;

/* A run of one shape, ready to be made again and again. */
typedef struct stage {
    tq_cache *caches[MOST_SEQUENCES];
    tq_segment segments[MOST_SEQUENCES][TQ_CACHE_SEGMENTS];
    tq_sequence sequences[MOST_SEQUENCES];
    float *q, *out;
    tq_attention_kind kind;
    tq_attention_batch batch;
    void *workspace;
    size_t workspace_bytes;
} stage;

static void check(tq_status status) {
    if (status == TQ_OK) return;
    fprintf(stderr, "steps: %s\n", tq_last_error()->message);
    exit(1);
}

static void *room(size_t bytes) {
    void *memory = NULL;
    if (posix_memalign(&memory, 64, bytes) == 0) return memory;
    fprintf(stderr, "steps: no memory for %zu bytes\n", bytes);
    exit(1);
}

static float *values(size_t n) {
    float *x = room((n + n % 2) * sizeof *x);
    measure_fill_gaussian(x, n + n % 2);
    return x;
}

/* The default as engines get it; keys share a part, so that no centre is zero. */
static void fill_caches(stage *st, const shape *s) {
    const size_t n = s->positions * s->kv_heads * s->dim;
    float *v = values(n), *k = values(n);
    for (size_t i = 0; i < n; i++)
        k[i] += 2.0f;
    for (size_t i = 0; i < s->sequences; i++) {
        const tq_cache_config config = tq_cache_config_default(s->kv_heads, s->dim, s->positions);
        check(tq_cache_create(&config, &st->caches[i]));
        check(tq_cache_append(st->caches[i], s->positions, k, v));
        check(tq_cache_sequence(st->caches[i], 1, st->segments[i], &st->sequences[i]));
    }
    free(k);
    free(v);
}

static void open_stage(stage *st, const shape *s) {
    const size_t n = s->sequences * s->heads * s->dim;
    const tq_attention_config config = {.size = sizeof config,
                                        .n_heads = s->heads,
                                        .n_kv_heads = s->kv_heads,
                                        .head_dim = s->dim,
                                        .k_format = TQ_DEFAULT_K_FORMAT,
                                        .v_format = TQ_DEFAULT_V_FORMAT,
                                        .scale = 1.0f / sqrtf((float)s->dim),
                                        .max_sequences = s->sequences,
                                        .max_positions = s->positions};
    memset(st, 0, sizeof *st);
    fill_caches(st, s);
    st->q = values(n);
    st->out = room(n * sizeof *st->out);
    check(tq_attention_plan(&config, &st->kind, &st->workspace_bytes));
    st->workspace = room(st->workspace_bytes);
    st->batch = (tq_attention_batch){.size = sizeof st->batch,
                                     .n_sequences = s->sequences,
                                     .sequences = st->sequences,
                                     .q = st->q,
                                     .n_q = n,
                                     .out = st->out,
                                     .n_out = n};
}

static void close_stage(stage *st, const shape *s) {
    for (size_t i = 0; i < s->sequences; i++)
        tq_cache_destroy(st->caches[i]);
    free(st->q);
    free(st->out);
    free(st->workspace);
}

static void run(void *work, size_t slice) {
    stage *st = work;
    (void)slice;
    check(tq_attention_run(&st->kind, &st->batch, st->workspace, st->workspace_bytes));
}

/* One thread and several in turn; prints microseconds, and the middle and quartiles of the ratios. */
static void time_shape(const shape *s, const tq_parallel *parallel) {
    stage alone, together;
    double one[SAMPLES], many[SAMPLES], ratio[SAMPLES];
    open_stage(&alone, s);
    open_stage(&together, s);
    together.batch.parallel = parallel;
    measure_subject subjects[] = {{.pass = run, .work = &alone, .seconds = one},
                                  {.pass = run, .work = &together, .seconds = many}};
    measure_time(subjects, 2, SAMPLES, 1);
    for (size_t i = 0; i < SAMPLES; i++)
        ratio[i] = one[i] / many[i];
    const measure_summary first = measure_summarise(one, SAMPLES),
                          gain = measure_summarise(ratio, SAMPLES);
    printf("%9zu %6zu %5u/%-2u %4u %12.2f +-%2.0f%% %14.2f +-%2.0f%%\n", s->sequences, s->positions,
           (unsigned)s->heads, (unsigned)s->kv_heads, (unsigned)s->dim, 1e6 * first.median,
           100 * first.spread, gain.median, 100 * gain.spread);
    fflush(stdout);
    close_stage(&alone, s);
    close_stage(&together, s);
}

int main(int argc, char **argv) {
    static const shape shapes[] = {{1, 1, 32, 8, 128},    {1, 4, 32, 8, 128},     {1, 16, 32, 8, 128},
                                   {1, 500, 32, 8, 128},  {1, 2048, 32, 8, 128},  {1, 2048, 8, 1, 128},
                                   {1, 4096, 16, 8, 256}, {1, 32768, 32, 1, 128}, {32, 500, 32, 8, 128},
                                   {8, 4096, 32, 8, 128}};
    const int threads = argc == 2 ? atoi(argv[1]) : 2;
    tq_parallel parallel;
    if (argc > 2 || threads < 2) {
        fprintf(stderr,
                "Usage: steps [THREADS]   2 or more, each on a core of its own: GOMP_CPU_AFFINITY\n");
        return 2;
    }
    check(tq_parallel_openmp(&parallel, (unsigned)threads));
    printf("sequences      T   heads    D  us, 1 thread        %d threads, times as fast\n", threads);
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++)
        time_shape(&shapes[i], &parallel);
    printf(
        "One tq_attention_run() of a layer, a query each, %s keys and %s values, a centre for every %d\n"
        "positions, the first %d and the last %d in float16; medians of %d samples, and half of the\n"
        "distance of their quartiles.\n",
        tq_format_name(TQ_DEFAULT_K_FORMAT), tq_format_name(TQ_DEFAULT_V_FORMAT),
        TQ_DEFAULT_CENTRE_STRETCH, TQ_DEFAULT_SINKS, TQ_DEFAULT_RECENT, SAMPLES);
    return 0;
}
