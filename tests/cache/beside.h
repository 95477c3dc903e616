/* SPDX-License-Identifier: MIT
 * A cache and its model side by side: each call goes to both, and then all is compared. */
#ifndef TESTS_CACHE_BESIDE_H
#define TESTS_CACHE_BESIDE_H

#include "check.h"
#include "memory.h"

typedef struct beside {
    tq_cache *cache;
    model *model;
    memory *memory; /* where the cache's comes from; forks share it */
    bool alone;     /* nothing else is in that memory */
} beside;

/* Makes both. `memory` takes the place of the configuration's allocator. */
void beside_open(beside *b, const tq_cache_config *config, memory *mem, pool_model *pool);
void beside_close(beside *b);

/* Each fails unless both return the same and are the same afterwards, and returns that status. A refused
 * allocation is TQ_E_NO_MEMORY, and must have changed nothing. */
tq_status beside_append(beside *b, size_t n, const float *k, const float *v);
/* The same through tq_cache_append_input(): types times orders. Values are rounded to the type first. */
enum { BESIDE_TYPES = 3, BESIDE_ORDERS = 3, BESIDE_WAYS = BESIDE_TYPES * BESIDE_ORDERS };
tq_status beside_append_way(beside *b, size_t n, float *k, float *v, unsigned way);
tq_status beside_truncate(beside *b, uint64_t length);
void beside_clear(beside *b);
tq_status beside_reserve(beside *b, uint64_t positions);
tq_status beside_fork(beside *from, uint64_t length, beside *to);

void beside_check(const beside *b);

/* The call that returned `got` must have failed so, said so, and left the cache alone. field NULL: any */
void beside_refused(const beside *b, tq_status got, tq_status want, const char *field);

/* tq_last_error() is that failure. */
void check_record(tq_status got, tq_status want, const char *field);

/* Draws n positions around 3 (a centre is of use), every coordinate within float16's range. */
void draw_vectors(const model *m, size_t n, rng *r, float *k, float *v);

/* Room for n positions, zeroed. */
void new_vectors(const model *m, size_t n, float **k, float **v);

/* Draws and appends; the second in a type and an order drawn too. */
tq_status beside_append_drawn(beside *b, size_t n, rng *r);
tq_status beside_append_any(beside *b, size_t n, rng *r);

#endif
