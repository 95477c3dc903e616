/* SPDX-License-Identifier: MIT
 * A small inference engine on tqkv, to be copied from. It has layers of three kinds (sliding window in a
 * ring, global, paged), sequences that share a prefix, prompts in chunks beside decode steps, and drafts
 * that are verified as trees. It knows include/tqkv alone. */
#ifndef TESTS_ENGINE_ENGINE_H
#define TESTS_ENGINE_ENGINE_H

#include "toy.h"
#include "tqkv/tqkv.h"

enum {
    ENGINE_LAYERS = 4,
    ENGINE_KINDS = 3,
    ENGINE_SEQUENCES = 4,
    ENGINE_TOKENS = 80,     /* most of a step, all sequences together */
    ENGINE_CHUNK = 32,      /* most of a sequence in a step */
    ENGINE_POSITIONS = 320, /* most of a sequence */
    ENGINE_HEADS = 8,
    ENGINE_KV_HEADS = 2,
    ENGINE_DIM = 64,
    ENGINE_PAGE_ROWS = 16
};

/* What the layers of a kind have in common: how they are kept, and one plan for all their steps. */
typedef struct engine_kind {
    tq_type type;   /* of queries, keys, values and outputs */
    uint32_t v_dim; /* of values and outputs */
    size_t row;     /* elements of a token's fused queries, keys and values: [H][D], [G][D], [G][E] */
    tq_cache_config cache;
    tq_attention_config attention;
    tq_attention_kind plan;
} engine_kind;

/* A sequence's part of a step. */
typedef struct engine_work {
    size_t sequence;
    size_t n; /* tokens */
    const uint32_t *tokens;
    const int
        *parents; /* [n] the token that each follows, -1: what the sequence holds. NULL: one another */
    size_t row;   /* out: its first token's row in the step's arrays */
} engine_work;

typedef struct engine engine;
struct engine {
    tq_allocator allocator;
    tq_parallel parallel;
    tq_page_pool *pool;
    engine_kind kinds[ENGINE_KINDS];
    tq_cache *caches[ENGINE_SEQUENCES][ENGINE_LAYERS]; /* NULL: no such sequence */
    float *hidden;                                     /* [tokens][TOY_WIDTH]: of the last step */
    void *qkv[ENGINE_LAYERS]; /* [tokens][row]: of the last step, for engine_accept() */
    void *out;                /* [tokens][H][E]: of the layer in hand */
    float *lse;               /* [tokens][H] */
    void *workspace;
    size_t workspace_bytes;
    /* Called when a layer has attended; NULL: nobody wants to know. */
    void (*watch)(void *context, const engine *e, size_t layer, const engine_work *work, size_t n_work);
    void *context;
};

/* Of a layer. */
const engine_kind *engine_kind_of(const engine *e, size_t layer);

/* All memory but that of sequences is taken here. allocator and parallel are copied. On failure there is
 * nothing to close. */
tq_status engine_open(engine *e, const tq_allocator *allocator, const tq_parallel *parallel,
                      size_t n_pages);
void engine_close(engine *e);

/* Begins a sequence, with memory for so many positions. */
tq_status engine_begin(engine *e, size_t sequence, uint64_t positions);

/* Begins a sequence that has the first `length` positions of another. */
tq_status engine_fork(engine *e, size_t from, size_t sequence, uint64_t length);
void engine_end(engine *e, size_t sequence);

uint64_t engine_length(const engine *e, size_t sequence);

/* All layers for all tokens of all work. On failure the sequences are what they were. */
tq_status engine_step(engine *e, engine_work *work, size_t n_work);

/* Goes back to a shorter length. */
tq_status engine_rewind(engine *e, size_t sequence, uint64_t length);

/* Keeps of the drafts of the last step those on a path, [n] tokens of the work in ascending order, and
 * forgets the others. On failure it forgets them all. */
tq_status engine_accept(engine *e, const engine_work *work, const size_t *path, size_t n);

#endif
