/* SPDX-License-Identifier: MIT
 * A cache by its definition: every position ever appended in an array, and what must have become of it.
 */
#ifndef TESTS_CACHE_MODEL_H
#define TESTS_CACHE_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tqkv/cache.h"

/* Keys or values, position by position: [room][G][...]. */
typedef struct lane {
    tq_codec codec;
    tq_store store;
    size_t dim, row_bytes, norm_bytes;
    float *x;         /* as they came, rounded to float16 where the cache keeps them so at first */
    uint16_t *halves; /* of positions that are ever in float16, or in what a dense side is */
    uint8_t *codes;   /* of positions that are encoded */
    uint8_t *norms;
} lane;

/* A page by its users, and where the cache was seen to have it. */
typedef struct page_model {
    size_t users;
    bool seen;
    int32_t where;
} page_model;

typedef struct pool_model {
    tq_page_pool *pool;
    size_t n_pages, page_rows;
    page_model *pages;
} pool_model;

typedef struct model {
    tq_cache_policy policy;
    size_t heads, capacity, window, recent, sinks, learn, stretch;
    bool forgets;    /* keeps the last `capacity`: a ring, or pages with a window */
    uint16_t *given; /* [G][D]: the centre of all keys; NULL: none is given */
    lane k, v;
    uint16_t *centres; /* [room][G][D]: what each encoded key lacks */
    size_t room;
    uint64_t length, encoded_end;
    uint64_t oldest; /* encoded positions below it are forgotten */
    pool_model *pool;
    size_t *pages, n_pages; /* paged: indices into pool->pages */
    size_t first_page;      /* of pages, as the positions behind the sinks fall into pages */
    uint64_t reserved;      /* appends up to there take nothing */
    size_t reserved_pages;  /* paged: those that stay */
} model;

/* Pools: the model of a pool that has just been made. */
pool_model *pool_model_new(tq_page_pool *pool, size_t n_pages, size_t page_rows);
void pool_model_free(pool_model *p);
size_t pool_model_free_pages(const pool_model *p);

model *model_new(const tq_cache_config *config, pool_model *pool);
void model_free(model *m);

/* What the call returns; the model changes with TQ_OK alone. */
tq_status model_append(model *m, size_t n, const float *k, const float *v);
tq_status model_truncate(model *m, uint64_t length);
void model_clear(model *m);
tq_status model_reserve(model *m, uint64_t positions);
bool model_can_go_back(const model *m, uint64_t length);
model *model_fork(const model *from, uint64_t length); /* to where it can go back */
/* An empty model takes over another's first `end` positions as they are, of the same sinks, recent ones
 * and centres; but for those below its `oldest`, if that is set. */
void model_adopt(model *m, const model *from, uint64_t end);

/* Where positions are: first to first + n - 1. */
typedef struct part {
    uint64_t first;
    size_t n;
} part;

part model_sinks(const model *m);
part model_codes(const model *m);
part model_recent(const model *m);

/* Every position that a query at `position` looks back on is there. */
bool model_sees_all(const model *m, uint64_t position);

/* The centre of the stretch that position p lies in, [G][D]; NULL: it has none, or not yet. */
const uint16_t *model_centre(const model *m, uint64_t p);

/* Position p passes through float16. */
bool model_is_dense_first(const model *m, uint64_t p);

/* Two bytes of a lane, bfloat16 where it is that, and back. */
uint16_t lane_half(const lane *l, float x);
double lane_value(const lane *l, uint16_t half);

/* Row (position, head) of the lane. */
static inline size_t lane_row(const model *m, uint64_t position, size_t head) {
    return (size_t)position * m->heads + head;
}

#endif
