/* SPDX-License-Identifier: MIT */
#include "stage.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "measure/percentile.h"

enum { LEAST_REPLAYS = 31, MOST_REPLAYS = 400, BLOCK = 32 << 20 };

static const double seconds_of_a_row = 0.25;

void need(cudaError_t error, const char *what) {
    if (error == cudaSuccess) return;
    fflush(stdout);
    fprintf(stderr, "bench_cuda: %s: %s\n", what, cudaGetErrorString(error));
    exit(1);
}

double stage_clock(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static uint64_t state = 88172645463325252u;

static uint64_t random_word(void) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

uint32_t stage_random(void) {
    return (uint32_t)(random_word() >> 32);
}

float stage_normal(void) {
    const double u = (stage_random() + 0.5) / 4294967296.0, v = stage_random() / 4294967296.0;
    return (float)(sqrt(-2 * log(u)) * cos(2 * 3.14159265358979 * v));
}

uint16_t to_bf16(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

float from_bf16(uint16_t x) {
    const uint32_t bits = (uint32_t)x << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* The block again and again: the card does not know that it has read the like elsewhere. */
static void fill(arena *a, const void *block, size_t bytes) {
    size_t done = bytes < a->bytes ? bytes : a->bytes;
    need(cudaMemcpy(a->base, block, done, cudaMemcpyHostToDevice), "filling memory");
    while (done < a->bytes) {
        const size_t more = done < a->bytes - done ? done : a->bytes - done;
        need(cudaMemcpy(a->base + done, a->base, more, cudaMemcpyDeviceToDevice), "filling memory");
        done += more;
    }
    need(cudaDeviceSynchronize(), "filling memory");
}

static void *block(void) {
    void *memory = malloc(BLOCK);
    if (memory != NULL) return memory;
    fprintf(stderr, "bench_cuda: no memory\n");
    exit(1);
}

static void fill_codes(stage *s) {
    uint64_t *words = block();
    for (size_t i = 0; i < BLOCK / sizeof *words; i++)
        words[i] = random_word();
    fill(&s->codes, words, BLOCK);
    free(words);
}

static uint16_t to_half(float x) {
    uint16_t half = 0;
    if (tq_round_centre(&x, &half, 1) != TQ_OK) half = 0;
    return half;
}

/* As long as normally distributed vectors are, a third more or less. */
static void fill_norms(stage *s, unsigned dim) {
    uint16_t *norms = block();
    const size_t n = BLOCK / 16 / sizeof *norms;
    const float usual = sqrtf((float)dim);
    for (size_t i = 0; i < n; i++)
        norms[i] = to_half(usual * (0.7f + 0.6f * (float)stage_random() / 4294967296.0f));
    fill(&s->norms, norms, n * sizeof *norms);
    free(norms);
    s->norms_dim = dim;
}

static void fill_values(stage *s, tq_type type) {
    const size_t n = BLOCK / 16 / sizeof(float);
    float *values = block();
    uint16_t *halves = (uint16_t *)(values + n);
    for (size_t i = 0; i < n; i++) {
        values[i] = stage_normal();
        halves[i] = type == TQ_BF16 ? to_bf16(values[i]) : to_half(values[i]);
    }
    if (type == TQ_F32)
        fill(&s->values, values, n * sizeof *values);
    else
        fill(&s->values, halves, n * sizeof *halves);
    free(values);
    s->values_type = (int)type;
}

static void arena_open(arena *a, size_t bytes) {
    *a = (arena){.bytes = bytes / 256 * 256};
    need(cudaMalloc((void **)&a->base, a->bytes), "cudaMalloc");
}

void stage_open(stage *s) {
    struct cudaDeviceProp card;
    size_t unused, total;
    *s = (stage){.values_type = -1};
    if (tq_cuda_count() == 0) {
        fprintf(stderr, "bench_cuda: there is no CUDA device here\n");
        exit(77);
    }
    if (tq_cuda_open(0, &s->cuda) != TQ_OK) {
        fprintf(stderr, "bench_cuda: %s\n", tq_last_error()->message);
        exit(1);
    }
    need(cudaGetDeviceProperties(&card, 0), "cudaGetDeviceProperties");
    s->l2_bytes = (size_t)card.l2CacheSize;
    s->multiprocessors = (unsigned)card.multiProcessorCount;
    need(cudaStreamCreateWithFlags(&s->stream, cudaStreamNonBlocking), "cudaStreamCreate");
    need(cudaMemGetInfo(&unused, &total), "cudaMemGetInfo");
    const size_t quarter = unused / 4 < (size_t)6 << 30 ? unused / 4 : (size_t)6 << 30;
    arena_open(&s->codes, quarter);
    arena_open(&s->norms, quarter / 8);
    arena_open(&s->values, quarter / 2);
    arena_open(&s->scratch, quarter / 2);
    fill_codes(s);
    need(cudaMemset(s->scratch.base, 0xff, s->scratch.bytes), "cudaMemset");
}

void stage_close(stage *s) {
    need(cudaDeviceSynchronize(), "the last row");
    arena *const all[] = {&s->codes, &s->norms, &s->values, &s->scratch};
    for (size_t i = 0; i < 4; i++)
        need(cudaFree(all[i]->base), "cudaFree");
    need(cudaStreamDestroy(s->stream), "cudaStreamDestroy");
    tq_cuda_close(s->cuda);
}

void stage_reset(stage *s, unsigned dim, tq_type values) {
    need(cudaDeviceSynchronize(), "a row");
    s->codes.used = s->norms.used = s->values.used = s->scratch.used = 0;
    if (s->norms_dim != dim) fill_norms(s, dim);
    if (s->values_type != (int)values) fill_values(s, values);
}

void *take(arena *a, size_t bytes) {
    const size_t want = (bytes + 255) / 256 * 256;
    if (want > a->bytes - a->used) return NULL;
    a->used += want;
    return a->base + (a->used - want);
}

void *take_copy(arena *a, const void *data, size_t bytes) {
    void *p = take(a, bytes);
    if (p == NULL) return NULL;
    need(cudaMemcpy(p, data, bytes, cudaMemcpyHostToDevice), "upload");
    need(cudaDeviceSynchronize(), "upload"); /* the stream at hand does not wait for the default one */
    return p;
}

void download(void *to, const void *from, size_t bytes) {
    need(cudaMemcpy(to, from, bytes, cudaMemcpyDeviceToHost), "download");
}

size_t stage_sets(const stage *s, size_t touched, size_t held, const arena *most) {
    const size_t together = 8 * s->l2_bytes, room = most->bytes / (held + 4096);
    size_t sets = (together + touched - 1) / touched;
    if (sets < 2) sets = 2;
    if (sets > MOST_SETS) sets = MOST_SETS;
    return sets < room ? sets : room;
}

size_t stage_launches(size_t sets, size_t bytes) {
    const double guess = 1e-3 / ((double)bytes / 3e12 + 1e-6);
    const size_t rounds = (size_t)guess / sets + 1;
    return rounds * sets < 4 ? 4 : rounds * sets;
}

static tq_status capture(stage *s, launch_fn launch, void *work, size_t launches,
                         cudaGraphExec_t *replayed) {
    cudaGraph_t graph;
    tq_status status = TQ_OK;
    need(cudaStreamBeginCapture(s->stream, cudaStreamCaptureModeThreadLocal), "capture");
    for (size_t i = 0; i < launches && status == TQ_OK; i++)
        status = launch(work, i, s->stream);
    need(cudaStreamEndCapture(s->stream, &graph), "capture");
    if (status == TQ_OK) need(cudaGraphInstantiate(replayed, graph, 0), "cudaGraphInstantiate");
    need(cudaGraphDestroy(graph), "cudaGraphDestroy");
    return status;
}

static double replay(stage *s, cudaGraphExec_t graph, const cudaEvent_t *events) {
    float ms;
    need(cudaEventRecord(events[0], s->stream), "cudaEventRecord");
    need(cudaGraphLaunch(graph, s->stream), "cudaGraphLaunch");
    need(cudaEventRecord(events[1], s->stream), "cudaEventRecord");
    need(cudaEventSynchronize(events[1]), "a graph");
    need(cudaEventElapsedTime(&ms, events[0], events[1]), "cudaEventElapsedTime");
    return 1e3 * (double)ms;
}

static void summarise(timing *t, double *us) {
    measure_sort(us, t->replays);
    t->us = us[measure_rank(t->replays, 50)] / (double)t->launches;
    t->p10 = us[measure_rank(t->replays, 10)] / (double)t->launches;
    t->p90 = us[measure_rank(t->replays, 90)] / (double)t->launches;
}

tq_status stage_time(stage *s, launch_fn launch, void *work, size_t launches, timing *t) {
    cudaGraphExec_t graph;
    cudaEvent_t events[2];
    double us[MOST_REPLAYS];
    const tq_status status = capture(s, launch, work, launches, &graph);
    if (status != TQ_OK) return status;
    for (size_t i = 0; i < 2; i++)
        need(cudaEventCreate(&events[i]), "cudaEventCreate");
    *t = (timing){.launches = launches, .began = stage_clock()};
    for (size_t i = 0; i < 3 || stage_clock() - t->began < 0.2 * seconds_of_a_row; i++)
        replay(s, graph, events);
    t->began = stage_clock();
    while (t->replays < MOST_REPLAYS &&
           (t->replays < LEAST_REPLAYS || stage_clock() - t->began < seconds_of_a_row))
        us[t->replays++] = replay(s, graph, events);
    t->ended = stage_clock();
    summarise(t, us);
    need(cudaGetLastError(), "a graph");
    for (size_t i = 0; i < 2; i++)
        need(cudaEventDestroy(events[i]), "cudaEventDestroy");
    need(cudaGraphExecDestroy(graph), "cudaGraphExecDestroy");
    return TQ_OK;
}

void print_timing(const timing *t) {
    printf("\"us\": %.4f, \"p10\": %.4f, \"p90\": %.4f, \"replays\": %zu, \"launches\": %zu, "
           "\"began\": %.3f, \"ended\": %.3f",
           t->us, t->p10, t->p90, t->replays, t->launches, t->began, t->ended);
}

void print_failed(const char *what, const char *why) {
    printf("\"failed\": \"%s: ", what);
    for (; *why != '\0'; why++)
        if (*why == '"' || *why == '\\')
            printf("\\%c", *why);
        else
            putchar((unsigned char)*why < ' ' ? ' ' : *why);
    printf("\"}\n");
    fflush(stdout);
}
