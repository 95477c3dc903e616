/* SPDX-License-Identifier: MIT
 * What a cache and a pool are made of. Calls are checked in cache.c; what is handed in here is right. */
#ifndef TQ_CACHE_CACHE_H
#define TQ_CACHE_CACHE_H

#include "cache/memory.h"
#include "codec/rows.h"
#include "tqkv/cache.h"

/* Keys and values: index of whatever there are two of. */
enum { TQ_K, TQ_V, TQ_SIDES };

/* Codes and norms of both sides, [pages][G][rows]; one page where there is no pool. */
typedef struct tq_code_arrays {
    size_t rows, vectors; /* vectors: pages * G * rows */
    uint8_t *codes[TQ_SIDES];
    float *norms[TQ_SIDES];
} tq_code_arrays;

struct tq_page_pool {
    tq_cache_layer layer;
    tq_plan plan[TQ_SIDES];
    size_t n_pages;
    tq_allocator allocator;
    tq_code_arrays arrays;
    uint32_t *users; /* [n_pages] caches that have the page in their table */
    uint32_t *spare; /* [n_pages] the pages nobody uses, n_spare of them */
    size_t n_spare;
};

struct tq_cache {
    /* what was asked for */
    tq_cache_policy policy;
    tq_cache_layer layer;
    size_t heads, dim;
    const tq_kernels *kernels;
    size_t capacity, window, recent, sinks, learn;
    tq_page_pool *pool;
    tq_allocator allocator;
    tq_parallel parallel; /* run is NULL: the calling thread alone */

    /* what follows from it */
    tq_plan plan[TQ_SIDES];
    size_t half_rows;     /* positions of the float16 ring, slot p % half_rows; 0: there is none */
    size_t slots;         /* most encoded positions, p lies in slot (p - sinks) % slots */
    size_t table_entries; /* room in the block table */
    bool centre_given;

    /* memory */
    tq_code_arrays arrays;           /* unless there is a pool */
    uint16_t *sink_halves[TQ_SIDES]; /* [G][sinks][D] */
    uint16_t *halves[TQ_SIDES];      /* [G][half_rows][D] */
    float *centre;                   /* [G][D]; NULL: there will be none */
    uint32_t *table;                 /* [table_entries], n_pages of them in use */

    /* state */
    bool centre_known;
    size_t n_pages;
    uint64_t length;
    uint64_t encoded_end; /* at least min(length, sinks) */
    uint64_t oldest;      /* oldest encoded position that nothing has overwritten; at least sinks */
};

static inline uint64_t tq_least(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

static inline uint64_t tq_most(uint64_t a, uint64_t b) {
    return a > b ? a : b;
}

/* a - b, but not below 0 */
static inline uint64_t tq_less(uint64_t a, uint64_t b) {
    return a > b ? a - b : 0;
}

/* create.c: a cache with a model's fields and memory of its own. TQ_E_OVERFLOW, TQ_E_NO_MEMORY. */
tq_status tq_cache_build(const tq_cache *model, const float *k_centre, tq_cache **cache);
void tq_cache_release(tq_cache *cache);
void tq_cache_empty(tq_cache *cache);
tq_status tq_cache_shorten(tq_cache *cache, uint64_t length);
/* Whether it may be, with `field` as that of the error. */
tq_status tq_cache_check_shorten(const tq_cache *cache, uint64_t length, const char *field);
tq_status tq_cache_copy(const tq_cache *from, uint64_t length, tq_cache **cache); /* paged */

/* arrays.c: room for so many vectors a head (in each page); nothing is held on failure. */
tq_status tq_code_arrays_take(tq_code_arrays *arrays, const tq_allocator *allocator,
                              const tq_plan plan[TQ_SIDES], size_t pages, size_t heads, size_t rows);
void tq_code_arrays_give(tq_code_arrays *arrays, const tq_allocator *allocator,
                         const tq_plan plan[TQ_SIDES]);

/* pool.c: a pool with a model's fields and pages of `rows` positions; pages taken and given back one by
 * one, where callers have looked whether there are spare ones. */
tq_status tq_pool_build(const tq_page_pool *model, size_t rows, tq_page_pool **pool);
void tq_pool_release(tq_page_pool *pool);
size_t tq_pool_measure(const tq_page_pool *pool);
uint32_t tq_pool_take(tq_page_pool *pool);
void tq_pool_give(tq_page_pool *pool, uint32_t page);
void tq_pool_copy(tq_page_pool *pool, uint32_t from, uint32_t to);

/* room.c: memory for positions to encode, taken before anything is written and not kept if the append
 * fails after all. */
typedef struct tq_room {
    tq_code_arrays before; /* global: the arrays that grew */
    size_t pages_before;
    bool grown, copied;
    uint32_t shared; /* paged, copied: the page that others go on using */
} tq_room;
tq_status tq_room_take(tq_room *room, tq_cache *cache, uint64_t first, uint64_t end);
void tq_room_keep(tq_room *room, tq_cache *cache);
void tq_room_undo(tq_room *room, tq_cache *cache);
/* Gives back pages that hold nothing below encoded_end. */
void tq_cache_keep_pages(tq_cache *cache, uint64_t encoded_end);

/* encode.c: positions [first, end), of which those from `start` on come from the caller's vectors
 * [..][G][D] and those before from the float16 ring. False if a value could not be encoded. */
bool tq_cache_encode(tq_cache *cache, const float *const src[TQ_SIDES], uint64_t start, uint64_t first,
                     uint64_t end);

/* append.c: n positions. A value that cannot be kept is TQ_E_RANGE, not yet recorded as an error; *side
 * and *index tell which. */
tq_status tq_cache_extend(tq_cache *cache, size_t n, const float *const src[TQ_SIDES], unsigned *side,
                          size_t *index);
float tq_cache_limit(const tq_cache *cache);

/* Where encoding stands once there are so many positions. */
uint64_t tq_cache_end_at(const tq_cache *cache, uint64_t length);
/* The row of a position that is in float16, or comes next and will be. */
uint16_t *tq_cache_half_row(const tq_cache *cache, unsigned side, uint64_t position, size_t head);

/* Positions that come in float16, finite: [G][rows][D], little-endian. */
typedef struct tq_half_rows {
    const uint8_t *data[TQ_SIDES];
    size_t rows;
} tq_half_rows;
/* Cannot fail: room for what is to be encoded is there. Positions that are no sinks need half_rows. */
void tq_cache_extend_halves(tq_cache *cache, const tq_half_rows *src);

/* view.c */
size_t tq_cache_view(const tq_cache *cache, tq_segment segments[TQ_CACHE_SEGMENTS]);
void tq_cache_measure(const tq_cache *cache, tq_cache_bytes *bytes);

#endif
