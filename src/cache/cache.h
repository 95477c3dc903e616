/* SPDX-License-Identifier: MIT
 * What a cache and a pool are made of. Calls are checked in cache.c; what is handed in here is right. */
#ifndef TQ_CACHE_CACHE_H
#define TQ_CACHE_CACHE_H

#include <stdatomic.h>

#include "cache/memory.h"
#include "codec/centre.h"
#include "tqkv/cache.h"

/* Keys and values: index of whatever there are two of. */
enum { TQ_K, TQ_V, TQ_SIDES };

/* A side's vectors of a call: position i, head h begins at i * position_stride + h * head_stride. */
typedef struct tq_source {
    const void *data;
    tq_type type;
    size_t dim, position_stride, head_stride;
} tq_source;

/* A block of positions is one allocation: codes and norms of keys, then of values, each [G][rows] of
 * vectors, or [pages][G][rows] in a pool, and aligned to 64. */
typedef struct tq_block_shape {
    size_t rows, vectors;                          /* vectors: pages * G * rows */
    size_t codes_at[TQ_SIDES], norms_at[TQ_SIDES]; /* where the parts begin, in bytes */
    size_t code_bytes[TQ_SIDES], norm_bytes[TQ_SIDES];
    size_t bytes;
} tq_block_shape;

typedef struct tq_block {
    uint8_t *codes[TQ_SIDES];
    uint8_t *norms[TQ_SIDES];
} tq_block;

/* Blocks as views take them: an array of pointers for each of their parts. */
typedef struct tq_block_table {
    size_t room, n;
    void **codes[TQ_SIDES];
    void **norms[TQ_SIDES];
} tq_block_table;

static inline tq_block tq_block_table_at(const tq_block_table *t, size_t i) {
    return (tq_block){{t->codes[TQ_K][i], t->codes[TQ_V][i]}, {t->norms[TQ_K][i], t->norms[TQ_V][i]}};
}

/* Centres of keys, float16 [rows][G][D]: that of stretch s is row s % rows. Without stretches it is one.
 */
typedef struct tq_centres {
    uint16_t *values;
    size_t rows;
} tq_centres;

struct tq_page_pool {
    tq_cache_layer layer;
    tq_plan plan[TQ_SIDES];
    tq_store store[TQ_SIDES];
    size_t n_pages;
    tq_allocator allocator;
    tq_block_shape shape; /* of all pages together; vectors count them all */
    tq_block block;
    /* What caches of several threads change at once. */
    atomic_flag lock; /* of spare and changes of n_spare, held for as long as it takes to copy them */
    int32_t *spare;   /* [n_pages] the pages nobody uses, n_spare of them */
    atomic_size_t n_spare;
    atomic_uint *users; /* [n_pages] caches that have the page in their table */
};

struct tq_cache {
    /* what was asked for */
    tq_cache_policy policy;
    tq_cache_layer layer;
    size_t heads;
    const tq_kernels *kernels;
    size_t capacity, window, recent, sinks;
    size_t learn, stretch; /* keys that a centre is learned from, positions that share it; 0: all do */
    tq_page_pool *pool;
    tq_allocator allocator;
    tq_parallel parallel; /* run is NULL: the calling thread alone */

    /* what follows from it */
    tq_plan plan[TQ_SIDES]; /* dense: dim, row_bytes, and no norms */
    tq_store store[TQ_SIDES];
    size_t half_rows;     /* positions of the float16 ring, slot p % half_rows; 0: there is none */
    size_t slots;         /* most encoded positions; without pages p lies in slot (p - sinks) % slots */
    size_t page_entries;  /* paged: room in the table of pages */
    tq_block_shape shape; /* of a block; a ring is one. Paged: of the pool, of which rows count */
    bool centre_given;

    /* memory */
    tq_block_table blocks;           /* unless there is a pool */
    uint16_t *sink_halves[TQ_SIDES]; /* [G][sinks][D], of tq_half_type() */
    uint16_t *halves[TQ_SIDES];      /* [G][half_rows][D] */
    tq_centres centres;
    int32_t *pages; /* [page_entries], n_pages of them held; the first is page first_page of positions */

    /* state */
    size_t n_pages;
    size_t reserved; /* paged: that many pages are held at least */
    uint64_t first_page;
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

/* What sinks and recent positions are: float16, unless the side is bfloat16 itself. */
static inline tq_type tq_half_type(const tq_cache *c, unsigned side) {
    return c->store[side] == TQ_STORE_BF16 ? TQ_BF16 : TQ_F16;
}

/* Keeps the last `capacity` positions; otherwise all, up to there. */
static inline bool tq_cache_forgets(const tq_cache *c) {
    return c->policy == TQ_CACHE_RING || c->window > 0;
}

/* How far back a query of a cache that forgets may look, itself included. */
static inline size_t tq_cache_window(const tq_cache *c) {
    return c->window > 0 ? c->window : c->capacity;
}

static inline size_t tq_half_bytes(const tq_cache *c, unsigned side) {
    return c->plan[side].dim * sizeof(uint16_t);
}

/* cache.c: a side's plan, checked as tq_plan_init() does. */
tq_status tq_cache_plan_side(tq_plan *plan, const tq_codec *codec, tq_store store);

/* source.c */
const void *tq_source_at(const tq_source *source, size_t position, size_t head);
/* A vector as float32: where it lies, or in the buffer. */
const float *tq_source_floats(const tq_source *source, const tq_kernels *kernels, size_t position,
                              size_t head, float *buffer);

/* What a vector may be: its values' magnitude, and its length, 0 for any. */
typedef struct tq_vector_limit {
    float value, length;
} tq_vector_limit;

/* A value beyond the limit or not finite, at data[index]; or the length of the vector that begins there.
 */
typedef struct tq_bad_value {
    size_t index;
    float value;
    bool is_length;
} tq_bad_value;
bool tq_source_find_bad(const tq_source *source, const tq_kernels *kernels, size_t n, size_t heads,
                        tq_vector_limit limit, tq_bad_value *bad);
/* The same for rows of dim values side by side. */
bool tq_find_bad_row(const tq_kernels *kernels, size_t dim, size_t rows, const float *x,
                     tq_vector_limit limit, tq_bad_value *bad);

/* create.c: a cache with a model's fields and memory of its own. TQ_E_OVERFLOW, TQ_E_NO_MEMORY. */
tq_status tq_cache_build(const tq_cache *model, const float *k_centre, tq_cache **cache);
void tq_cache_release(tq_cache *cache);
void tq_cache_empty(tq_cache *cache);
/* TQ_E_POSITION of that field if the cache cannot go back to that length, or is shorter. */
tq_status tq_cache_check_length(const tq_cache *cache, uint64_t length, const char *field);
void tq_cache_shorten(tq_cache *cache, uint64_t length);
tq_status tq_cache_copy(const tq_cache *from, uint64_t length, tq_cache **cache);

/* blocks.c: layout and memory of a block. TQ_E_OVERFLOW; TQ_E_NO_MEMORY, and nothing is held. */
tq_status tq_block_shape_init(tq_block_shape *shape, const tq_plan plan[TQ_SIDES], size_t pages,
                              size_t heads, size_t rows);
tq_status tq_block_take(tq_block *block, const tq_allocator *allocator, const tq_block_shape *shape);
void tq_block_give(tq_block *block, const tq_allocator *allocator, const tq_block_shape *shape);

/* Makes a cache's blocks n; what they were goes to *before, and is either kept or gone back to. On
 * failure the cache is what it was. */
tq_status tq_blocks_reserve(tq_cache *cache, size_t n, tq_block_table *before);
void tq_blocks_commit(tq_cache *cache, const tq_block_table *before);
void tq_blocks_rollback(tq_cache *cache, const tq_block_table *before);
void tq_blocks_release(tq_cache *cache);
void tq_blocks_copy(const tq_cache *from, tq_cache *to); /* as many as `to` has */
size_t tq_block_table_bytes(const tq_block_table *table);

/* Encoded positions below that have no place once encoding stands at `end`, or no page even now. */
uint64_t tq_cache_placed_from(const tq_cache *cache, uint64_t end);

/* Slot of an encoded position, counted over all blocks or pages. */
size_t tq_cache_slot(const tq_cache *cache, uint64_t position);

/* Where the encoded vector of a position and head lies: those of the next run - 1 positions follow, other
 * heads are shape.rows vectors apart. */
typedef struct tq_place {
    uint8_t *codes;
    uint8_t *norms;
    size_t run;
} tq_place;
tq_place tq_cache_place(const tq_cache *cache, unsigned side, uint64_t position, size_t head);

/* centres.c */
static inline bool tq_cache_has_centre(const tq_cache *c) {
    return c->centre_given || c->learn > 0;
}
/* Room for the centres of positions up to `end`; as tq_blocks_reserve(). */
tq_status tq_centres_reserve(tq_cache *cache, uint64_t end, tq_centres *before);
void tq_centres_commit(tq_cache *cache, const tq_centres *before);
void tq_centres_rollback(tq_cache *cache, const tq_centres *before);
void tq_centres_release(tq_cache *cache);
void tq_centres_copy(const tq_cache *from, tq_cache *to);
size_t tq_centres_bytes(const tq_cache *cache);
uint16_t *tq_centre_at(const tq_cache *cache, uint64_t position, size_t head);
/* Whether a position's stretch has its centre: something of it is encoded. */
bool tq_centre_is_known(const tq_cache *cache, uint64_t position);
/* The keys that the centre of a position's stretch is learned from, where `first` is the next to be
 * encoded: the first so many from *begin on. */
uint64_t tq_centre_keys(const tq_cache *cache, uint64_t first, uint64_t position, uint64_t *begin);

/* pool.c: a pool with a model's fields and pages of `rows` positions. */
tq_status tq_pool_build(const tq_page_pool *model, size_t rows, tq_page_pool **pool);
void tq_pool_release(tq_page_pool *pool);
size_t tq_pool_measure(const tq_page_pool *pool);
tq_block tq_pool_page(const tq_page_pool *pool, int32_t page);
void tq_pool_copy(tq_page_pool *pool, int32_t from, int32_t to);

/* n pages for one user each, or TQ_E_NO_MEMORY and none. */
tq_status tq_pool_take(tq_page_pool *pool, size_t n, int32_t *pages);
void tq_pool_give(tq_page_pool *pool, int32_t page);
/* One user more of a page that the caller has; whether there are others. False stays so until the caller
 * itself shares it, and then all that others did with it has been done. */
void tq_pool_share(tq_page_pool *pool, int32_t page);
bool tq_pool_is_shared(const tq_page_pool *pool, int32_t page);

/* room.c: memory for positions to encode, taken before anything is written and not kept if the append
 * fails after all. Caches that forget what is old take it for good: they must not fail any more. */
typedef struct tq_room {
    tq_block_table before; /* global */
    tq_centres centres;    /* what they were */
    size_t pages_before;
    bool copied;
    size_t copy;    /* copied: the entry that has the copy */
    int32_t shared; /* and the page that others go on using */
} tq_room;
tq_status tq_room_reserve(tq_room *room, tq_cache *cache, uint64_t first, uint64_t end);
void tq_room_commit(tq_room *room, tq_cache *cache);
void tq_room_rollback(tq_room *room, tq_cache *cache);
/* The same for good, before there are such positions, and so that rewinds do not give it back. */
tq_status tq_room_hold(tq_cache *cache, uint64_t first, uint64_t end);

/* pages.c: the table of a paged cache. Makes it hold the pages up to `end`, or, to reserve, as many of
 * them as there will be at a time; what is written next is not in a page that others use too. */
tq_status tq_pages_reserve(tq_room *room, tq_cache *cache, uint64_t first, uint64_t end);
tq_status tq_pages_hold(tq_room *room, tq_cache *cache, uint64_t first, uint64_t end);
void tq_pages_commit(tq_room *room, tq_cache *cache);
void tq_pages_rollback(tq_room *room, tq_cache *cache);
/* Gives back what holds nothing and is not reserved. */
void tq_pages_trim(tq_cache *cache);
/* A cache that has none takes those that it needs over from another. */
void tq_pages_share(const tq_cache *from, tq_cache *to);
/* Room in the table. */
size_t tq_pages_entries(const tq_cache *cache);

/* encode.c: positions [first, end), of which those from `start` on come from the caller's vectors and
 * those before from the float16 ring. check: vectors may be beyond the cache's limits, or not
 * finite; then false if one is. */
bool tq_cache_encode(tq_cache *cache, const tq_source src[TQ_SIDES], uint64_t start, uint64_t first,
                     uint64_t end, bool check);

/* append.c: n positions. A value that cannot be kept is TQ_E_RANGE, not yet recorded as an error; *side
 * and *bad tell which. */
tq_status tq_cache_extend(tq_cache *cache, size_t n, const tq_source src[TQ_SIDES], unsigned *side,
                          tq_bad_value *bad);
tq_vector_limit tq_cache_limit(const tq_cache *cache, unsigned side);
/* Memory for the appends up to that length. */
tq_status tq_cache_provide(tq_cache *cache, uint64_t length);

/* Where encoding stands once there are so many positions; and as far as it gets on the way, while no more
 * than `there` of them are. */
uint64_t tq_cache_end_at(const tq_cache *cache, uint64_t length);
uint64_t tq_cache_end_with(const tq_cache *cache, uint64_t length, uint64_t there);
/* The row of a position that is in float16, or comes next and will be. */
uint16_t *tq_cache_half_row(const tq_cache *cache, unsigned side, uint64_t position, size_t head);

/* Positions that come as the cache has sinks, finite: [G][rows][D], little-endian. */
typedef struct tq_half_rows {
    const uint8_t *data[TQ_SIDES];
    size_t rows;
} tq_half_rows;
/* The first `count` of them. Cannot fail: room for what is to be encoded is there. Positions that are no
 * sinks need half_rows. */
void tq_cache_extend_halves(tq_cache *cache, const tq_half_rows *src, size_t count);

/* view.c */
size_t tq_cache_view(const tq_cache *cache, tq_segment segments[TQ_CACHE_SEGMENTS]);
void tq_cache_measure(const tq_cache *cache, tq_cache_bytes *bytes);

#endif
