/* SPDX-License-Identifier: MIT */
#include "support.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

tq_cuda *cuda;
size_t failed, checked;

void expect(bool ok, const char *text, ...) {
    checked++;
    if (ok || failed++ >= 20) return;
    va_list arguments;
    va_start(arguments, text);
    printf("FAIL ");
    vprintf(text, arguments);
    printf("\n");
    va_end(arguments);
}

void need(cudaError_t error, const char *what) {
    if (error == cudaSuccess) return;
    printf("%s: %s\n", what, cudaGetErrorString(error));
    exit(1);
}

void succeed(tq_status status) {
    if (status == TQ_OK) return;
    printf("%s: %s\n", tq_status_name(status), tq_last_error()->message);
    exit(1);
}

void *host(size_t bytes) {
    void *p = calloc(bytes == 0 ? 1 : bytes, 1);
    if (p != NULL) return p;
    printf("no memory for %zu bytes\n", bytes);
    exit(1);
}

enum { POISON = 0xA5, MOST_BLOCKS = 256 };
static const size_t arena_bytes = (size_t)512 << 20;
static uint8_t *arena;
static size_t used, n_blocks;
static void *blocks[MOST_BLOCKS];

static void *allocate(size_t bytes) {
    void *p;
    if (getenv("TQKV_CHECK_MALLOC") != NULL && n_blocks < MOST_BLOCKS) {
        need(cudaMalloc(&p, bytes == 0 ? 1 : bytes), "cudaMalloc");
        return blocks[n_blocks++] = p;
    }
    if (arena == NULL) {
        need(cudaMalloc(&p, arena_bytes), "cudaMalloc");
        arena = p;
    }
    p = arena + used;
    used += (bytes / 256 + 2) * 256;
    if (used > arena_bytes) {
        printf("a case wants more than %zu bytes of the device\n", arena_bytes);
        exit(1);
    }
    return p;
}

void *device(size_t bytes) {
    void *p = allocate(bytes);
    need(cudaMemset(p, POISON, bytes), "cudaMemset");
    return p;
}

void *upload(const void *data, size_t bytes) {
    void *p = allocate(bytes);
    need(cudaMemcpy(p, data, bytes, cudaMemcpyHostToDevice), "upload");
    return p;
}

void download(void *to, const void *from, size_t bytes) {
    need(cudaDeviceSynchronize(), "a kernel");
    need(cudaMemcpy(to, from, bytes, cudaMemcpyDeviceToHost), "download");
}

void device_reset(void) {
    need(cudaDeviceSynchronize(), "a kernel");
    used = 0;
    while (n_blocks > 0)
        need(cudaFree(blocks[--n_blocks]), "cudaFree");
}

static uint64_t state = 1;

void seed(uint64_t number) {
    state = number * 0x9E3779B97F4A7C15u + 1;
    for (int i = 0; i < 4; i++)
        (void)next();
}

uint32_t next(void) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(state >> 32);
}

size_t below(size_t n) {
    return next() % n;
}

size_t between(size_t low, size_t high) {
    return low + below(high - low + 1);
}

bool chance(unsigned percent) {
    return below(100) < percent;
}

float normal(void) {
    const double u = (next() + 0.5) / 4294967296.0, v = next() / 4294967296.0;
    return (float)(sqrt(-2 * log(u)) * cos(2 * 3.14159265358979 * v));
}

void normals(float *x, size_t n, float size) {
    enum { TABLE = 65536 };
    static float table[TABLE];
    if (table[1] == 0.0f) {
        const uint64_t kept = state;
        for (size_t i = 0; i < TABLE; i++)
            table[i] = normal();
        state = kept;
    }
    for (size_t i = 0, at = next(); i < n; i++)
        x[i] = size * table[(at + i) % TABLE];
}

uint16_t to_bf16(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    if (isnan(x)) return 0x7FC0;
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

uint16_t to_f16(float x) {
    uint16_t half;
    if (isnan(x)) return 0x7E00;
    if (fabsf(x) > TQ_MAX_NORM) return x > 0 ? 0x7C00 : 0xFC00;
    succeed(tq_round_centre(&x, &half, 1));
    return half;
}

float from_bf16(uint16_t x) {
    const uint32_t bits = (uint32_t)x << 16;
    float wide;
    memcpy(&wide, &bits, sizeof wide);
    return wide;
}

float from_f16(uint16_t x) {
    const int biased = x >> 10 & 31, steps = x & 1023;
    float size = biased == 0 ? ldexpf((float)steps, -24) : ldexpf((float)(steps + 1024), biased - 25);
    if (biased == 31) size = steps == 0 ? INFINITY : NAN;
    return (x & 0x8000) != 0 ? -size : size;
}

size_t type_size(tq_type type) {
    return type == TQ_F32 ? 4 : 2;
}

void put(tq_type type, void *to, size_t index, float x) {
    const uint16_t half = type == TQ_F16 ? to_f16(x) : to_bf16(x);
    if (type == TQ_F32)
        memcpy((uint8_t *)to + 4 * index, &x, 4);
    else
        memcpy((uint8_t *)to + 2 * index, &half, 2);
}

float get(tq_type type, const void *from, size_t index) {
    uint16_t half;
    float x;
    if (type == TQ_F32) {
        memcpy(&x, (const uint8_t *)from + 4 * index, 4);
        return x;
    }
    memcpy(&half, (const uint8_t *)from + 2 * index, 2);
    return type == TQ_F16 ? from_f16(half) : from_bf16(half);
}

double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}
