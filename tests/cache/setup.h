/* SPDX-License-Identifier: MIT
 * Caches of every kind for tests: policies, parts and centres in all combinations, and pairs of formats.
 */
#ifndef TESTS_CACHE_SETUP_H
#define TESTS_CACHE_SETUP_H

#include "beside.h"

enum {
    SETUP_POLICIES = 6, /* global, a ring larger than its window, one as large, a short one, paged, paged
                           with a window */
    SETUP_RECENTS = 3,
    SETUP_SINKS = 3,
    SETUP_CENTRES = 7, /* none; given; learned once from more keys than are recent, or from fewer; for
                          stretches, from some keys, from all, and for a long one from the first */
    SETUP_KINDS = SETUP_POLICIES * SETUP_RECENTS * SETUP_SINKS * SETUP_CENTRES,
    SETUP_CODECS = 13, /* of the last five three have a dense side or two, and two unequal sides */
    SETUP_CHEAP = 3,   /* pairs of formats with a small head_dim; they come first */
    SETUP_MIXED = 5    /* those last five */
};

/* Everything beside the cache that a configuration needs. */
typedef struct setup {
    tq_cache_config config;
    float *centre;
    memory memory, pool_memory;
    tq_page_pool *pool;
    pool_model *pool_model;
} setup;

/* Kind 0 to SETUP_KINDS - 1, pair of formats 0 to SETUP_CODECS - 1. */
void setup_open(setup *s, unsigned kind, unsigned codecs, uint32_t heads);

/* The same by hand: config is complete but for the pool of a paged one. */
void setup_open_config(setup *s, const tq_cache_config *config, size_t n_pages, size_t page_rows);

/* Fails unless all memory and all pages came back. */
void setup_close(setup *s);

/* A cache of the setup with its model. */
void setup_cache(setup *s, beside *b);

tq_cache_layer setup_layer(unsigned codecs, uint32_t heads);

/* Keeps the last `capacity`, and so takes any number of positions. */
static inline bool setup_forgets(const setup *s) {
    return s->config.policy == TQ_CACHE_RING || s->config.window > 0;
}

/* For messages. */
const char *setup_name(const setup *s);

#endif
