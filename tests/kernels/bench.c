/* SPDX-License-Identifier: MIT
 * How long the list's kernels take: samples of the kernel and of the scalar one side by side, so that
 * what else the machine does hits both. */
#include "bench.h"

#include <float.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "books.h"
#include "format/rotation.h"
#include "rows.h"

/* 64 rows of 256 and what they become take 128 KiB: more than a first-level cache, less than a second. */
enum { ROWS = 64, DIM = 256, SAMPLES = 41, QUERIES = 2 };

typedef struct bench_data {
    tq_codebook_tables book;
    tq_rotation rotation;
    size_t row_bytes;
    tq_code_rows rows; /* of packed */
    float scales[ROWS], sums[ROWS];
    float scores[QUERIES * ROWS], weights[DIM]; /* all 1; [QUERIES][ROWS], and a row to multiply by */
    /* aligned: a vector that spans two cache lines would be the slowest part */
    uint8_t digit_weights[QUERIES * 2 * ROWS];
    _Alignas(64) uint8_t digits[QUERIES * (64 + 2 * DIM)]; /* of queries that are 0 */
    _Alignas(64) uint8_t packed[ROWS * DIM];
    _Alignas(64) uint8_t codes[ROWS * DIM];
    _Alignas(64) float x[ROWS * DIM];
    _Alignas(64) float y[ROWS * DIM];
    volatile size_t found;
} bench_data;

static void bench_rotate(const tq_kernels *k, bench_data *d) {
    k->rotate(&d->rotation, TQ_ROTATE_IN, ROWS, d->x, DIM, d->y, DIM);
}
static void bench_sum_squares(const tq_kernels *k, bench_data *d) {
    k->sum_squares(DIM, ROWS, d->x, d->sums);
}
static void bench_quantize(const tq_kernels *k, bench_data *d) {
    k->quantize(&d->book, DIM, ROWS, d->x, d->scales, 1.0f, TQ_SUM_NONE, d->sums, d->packed,
                d->row_bytes);
}
static void bench_dequantize(const tq_kernels *k, bench_data *d) {
    k->dequantize(&d->book, DIM, ROWS, d->packed, d->row_bytes, d->scales, d->y, DIM, 0);
}
static void bench_pack(const tq_kernels *k, bench_data *d) {
    for (size_t t = 0; t < ROWS; t++)
        k->pack(&d->book, DIM, d->codes + t * DIM, d->packed + t * d->row_bytes);
}
static void bench_unpack(const tq_kernels *k, bench_data *d) {
    for (size_t t = 0; t < ROWS; t++)
        k->unpack(&d->book, DIM, d->packed + t * d->row_bytes, d->codes + t * DIM);
}
static void bench_requantize(const tq_kernels *k, bench_data *d) {
    k->requantize(&d->book, (size_t)ROWS * DIM, d->x, d->y);
}
static void bench_scan(const tq_kernels *k, bench_data *d) {
    d->found = k->scan((size_t)ROWS * DIM, d->x, FLT_MAX);
}

/* One query a row, as many positions as the tile of a decode step has. */
enum { TILE = 16 };
static void bench_score(const tq_kernels *k, bench_data *d) {
    for (size_t t = 0; t < ROWS; t += TILE)
        k->score(DIM, QUERIES, d->y, TILE, d->x + t * DIM, d->sums, TILE);
}
static void bench_accumulate(const tq_kernels *k, bench_data *d) {
    for (size_t t = 0; t < ROWS; t += TILE)
        k->accumulate(DIM, QUERIES, d->scales, TILE, TILE, d->x + t * DIM, d->y, DIM);
}
static void bench_exp_sum(const tq_kernels *k, bench_data *d) {
    for (size_t t = 0; t < ROWS; t++) {
        memset(d->y + t * DIM, 0, DIM * sizeof *d->y); /* what was weighed must be a score again */
        d->sums[0] = k->exp_sum(DIM, 1.0f, d->y + t * DIM);
    }
}
static void bench_scale(const tq_kernels *k, bench_data *d) {
    k->scale((size_t)ROWS * DIM, 1.0f, d->y);
}
static void bench_f16_to_f32(const tq_kernels *k, bench_data *d) {
    k->f16_to_f32((size_t)ROWS * DIM, (const uint16_t *)(const void *)d->x, d->y);
}
static void bench_f32_to_f16(const tq_kernels *k, bench_data *d) {
    k->f32_to_f16((size_t)ROWS * DIM, d->x, (uint16_t *)(void *)d->y);
}
static void bench_bf16_to_f32(const tq_kernels *k, bench_data *d) {
    k->bf16_to_f32((size_t)ROWS * DIM, (const uint16_t *)(const void *)d->x, d->y);
}
static void bench_f32_to_bf16(const tq_kernels *k, bench_data *d) {
    k->f32_to_bf16((size_t)ROWS * DIM, d->x, (uint16_t *)(void *)d->y);
}

/* As many queries as a tile has above. */
static void bench_score_codes(const tq_kernels *k, bench_data *d) {
    k->score_codes(&d->book, DIM, QUERIES, d->x, ROWS, d->rows, d->scores, ROWS);
}
static void bench_accumulate_codes(const tq_kernels *k, bench_data *d) {
    k->accumulate_codes(&d->book, DIM, QUERIES, d->weights, ROWS, ROWS, d->rows, d->y, DIM);
}

/* The same in integers: weights are what codes are, bytes. */
static void bench_query_digits(const tq_kernels *k, bench_data *d) {
    for (size_t t = 0; t < ROWS; t++)
        k->query_digits(&d->book, DIM, d->x + t * DIM, d->y + t * DIM);
}
static void bench_score_digits(const tq_kernels *k, bench_data *d) {
    k->score_digits(&d->book, DIM, QUERIES, d->digits, sizeof d->digits / QUERIES, ROWS, d->rows,
                    d->scores, ROWS);
}
static void bench_weight_digits(const tq_kernels *k, bench_data *d) {
    uint32_t squares;
    for (size_t t = 0; t < ROWS; t++)
        k->weight_digits(1, DIM, d->weights, d->weights, d->codes + t * DIM, d->codes, &squares);
}
static void bench_accumulate_digits(const tq_kernels *k, bench_data *d) {
    k->accumulate_digits(&d->book, DIM, QUERIES, d->digit_weights, sizeof d->digit_weights / QUERIES,
                         ROWS, d->rows, (int32_t *)(void *)d->y, DIM);
}
static void bench_add_sums(const tq_kernels *k, bench_data *d) {
    for (size_t t = 0; t < ROWS; t++)
        k->add_sums(&d->book, DIM, (const int32_t *)(const void *)d->x, 0.0f, d->y + t * DIM);
}
static void bench_multiply(const tq_kernels *k, bench_data *d) {
    for (size_t t = 0; t < ROWS; t++)
        k->multiply(DIM, d->weights, d->y + t * DIM); /* by 1, so that nothing fades away */
}
static void bench_reduce_max(const tq_kernels *k, bench_data *d) {
    for (size_t t = 0; t < ROWS; t++)
        d->sums[t] = k->reduce_max(DIM, d->x + t * DIM, -FLT_MAX);
}
static void bench_softcap(const tq_kernels *k, bench_data *d) {
    memcpy(d->y, d->x, sizeof d->y); /* what was softened would become ever smaller */
    k->softcap((size_t)ROWS * DIM, 1.0f, d->y);
}

typedef struct operation {
    const char *op;
    void (*call)(const tq_kernels *k, bench_data *d);
    tq_kernels scalar;
} operation;

static const operation operations[] = {
#define OPERATION(name, level) {#name, bench_##name, {.name = tq_##name##_scalar}},
    TQ_OPERATIONS(OPERATION, )
#undef OPERATION
};

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* Nanoseconds a row, over calls that take long enough for the clock. */
static double sample(const operation *o, const tq_kernels *k, bench_data *d) {
    const double start = now();
    double elapsed = 0;
    size_t calls = 0;
    for (; elapsed < 50e3; elapsed = now() - start, calls++)
        o->call(k, d);
    return elapsed / ((double)calls * ROWS);
}

static int compare(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void measure(const operation *o, const kernel_row *row, const char *format, bench_data *d) {
    double scalar[SAMPLES], ours[SAMPLES], ratio[SAMPLES];
    sample(o, &o->scalar, d);
    sample(o, &row->kernel, d);
    for (unsigned i = 0; i < SAMPLES; i++) {
        scalar[i] = sample(o, &o->scalar, d);
        ours[i] = sample(o, &row->kernel, d);
        ratio[i] = scalar[i] / ours[i];
    }
    qsort(scalar, SAMPLES, sizeof *scalar, compare);
    qsort(ours, SAMPLES, sizeof *ours, compare);
    qsort(ratio, SAMPLES, sizeof *ratio, compare);
    printf("%-16s %-11s %-6s %10.1f %10.1f %8.2f   %.2f .. %.2f\n", row->op, row->isa, format,
           ours[SAMPLES / 2], scalar[SAMPLES / 2], ratio[SAMPLES / 2], ratio[SAMPLES / 4],
           ratio[SAMPLES * 3 / 4]);
    fflush(stdout);
}

/* What the operation does not depend on is left out: the same kernel would be timed again. */
static const char *subject(const char *op, size_t i, const char *format) {
    static const char *const without_format[] = {
        "sum_squares", "scan",  "score",      "accumulate", "multiply",    "reduce_max", "softcap",
        "exp_sum",     "scale", "f16_to_f32", "f32_to_f16", "bf16_to_f32", "f32_to_bf16"};
    for (size_t k = 0; k < sizeof without_format / sizeof without_format[0]; k++)
        if (strcmp(op, without_format[k]) == 0) return i == 0 ? "-" : NULL;
    const bool integer = strstr(op, "digits") != NULL || strcmp(op, "add_sums") == 0;
    const char *name;
    if (integer && nth_book(i, &name)->digits == NULL) return NULL; /* v1 has none */
    if (strcmp(op, "weight_digits") == 0) return i == 0 ? "-" : NULL;
    if (strcmp(op, "rotate") == 0) return i == 0 ? "v2" : i + 1 == n_books() ? "v1" : NULL;
    return format;
}

static void prepare(bench_data *d, const tq_codebook_tables *book) {
    rng r = {1};
    d->book = *book;
    const row_order order = {ROWS_IN_PLACE, ROWS, 0};
    d->row_bytes = row_bytes(book, DIM);
    d->rows = rows_of(&order, d->packed, d->row_bytes);
    (book->ranked ? tq_rotation_v1 : tq_rotation_v2)(&d->rotation, DIM);
    rng_gauss_fill(&r, d->x, (size_t)ROWS * DIM);
    fill_bytes(BYTES_RANDOM, &r, d->packed, sizeof d->packed, 0xff);
    fill_bytes(BYTES_RANDOM, &r, d->codes, sizeof d->codes, (uint8_t)((1u << book->bits) - 1));
    for (size_t t = 0; t < ROWS; t++)
        d->scales[t] = 1.0f;
    for (size_t i = 0; i < DIM; i++)
        d->weights[i] = 1.0f;
}

void bench_head(void) {
#ifndef __OPTIMIZE__
    puts("The scalar kernels were built without optimisation: the ratios mean nothing.");
#endif
    printf("Median ns a row of %d, data in the second-level cache; ratio: scalar / ns, quartiles.\n"
           "%-16s %-11s %-6s %10s %10s %8s   %s\n",
           DIM, "operation", "isa", "format", "ns", "scalar ns", "ratio", "quartiles");
}

void bench_row(const kernel_row *row) {
    static bench_data d;
    const operation *o = operations;
    while (strcmp(o->op, row->op) != 0)
        o++;
    for (size_t i = 0; i < n_books(); i++) {
        const char *format;
        prepare(&d, nth_book(i, &format));
        const char *const name = subject(row->op, i, format);
        if (name != NULL) measure(o, row, name, &d);
    }
}
