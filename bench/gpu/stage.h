/* SPDX-License-Identifier: MIT
 * What the rows of bench_cuda share: the card, memory with random contents, and graphs that are timed.
 *
 * An error of CUDA ends the program. What the library says no to is told, and the next row follows. */
#ifndef TQKV_BENCH_GPU_STAGE_H
#define TQKV_BENCH_GPU_STAGE_H

#include <cuda_runtime_api.h>
#include <stddef.h>
#include <stdint.h>

#include "tqkv/cuda.h"

enum { MOST_SETS = 64 };

/* Device memory that a row takes from and the next row takes anew. */
typedef struct arena {
    char *base;
    size_t bytes, used;
} arena;

typedef struct stage {
    tq_cuda *cuda;
    cudaStream_t stream;
    size_t l2_bytes;
    unsigned multiprocessors;
    arena codes;   /* random bytes: any are codes */
    arena norms;   /* float16, of vectors of `norms_dim` values of unit variance */
    arena values;  /* normally distributed, of values_type */
    arena scratch; /* queries, outputs, tables, workspaces */
    unsigned norms_dim;
    int values_type; /* a tq_type; -1: none yet */
} stage;

/* Exits with 77 where there is no device. */
void stage_open(stage *s);
void stage_close(stage *s);

/* The next row begins: everything may be taken again, norms and values being of these kinds. */
void stage_reset(stage *s, unsigned dim, tq_type values);

/* On a multiple of 256; NULL: there is not so much. */
void *take(arena *a, size_t bytes);

/* The same, filled from the host. */
void *take_copy(arena *a, const void *data, size_t bytes);

/* So many sets of buffers, of which a launch touches `touched` bytes, that they are not met again in the
 * L2 cache: as far as they fit into `most`, of which each takes `held`. */
size_t stage_sets(const stage *s, size_t touched, size_t held, const arena *most);

/* Launches of a graph of at least a millisecond, if each moves so many bytes. */
size_t stage_launches(size_t sets, size_t bytes);

void download(void *to, const void *from, size_t bytes);
void need(cudaError_t error, const char *what);

uint32_t stage_random(void);
float stage_normal(void);
uint16_t to_bf16(float x);
float from_bf16(uint16_t x);

typedef struct timing {
    double us, p10, p90; /* of a launch: the median of replays, and what a tenth of them do not exceed */
    size_t replays, launches;
    double began, ended; /* seconds since 1970, for readings of clocks and power */
} timing;

/* Enqueues launch i of a graph. */
typedef tq_status (*launch_fn)(void *work, size_t i, cudaStream_t stream);

/* Times replays of a graph of so many launches, after some that do not count. */
tq_status stage_time(stage *s, launch_fn launch, void *work, size_t launches, timing *t);

/* The members of a JSON object that tell a timing, without the brace. */
void print_timing(const timing *t);

/* Ends a row's object with why it was not measured. */
void print_failed(const char *what, const char *why);

double stage_clock(void);

#endif
