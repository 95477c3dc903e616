/* SPDX-License-Identifier: MIT
 * A cache against its model: everything that can be asked of it, and every byte that it shows. */
#ifndef TESTS_CACHE_CHECK_H
#define TESTS_CACHE_CHECK_H

#include "model.h"
#include "support/rng.h"

/* Fails unless the cache is what the model says. */
void check_cache(const model *m, const tq_cache *cache);

/* The cache's bytes; *pages is how many of `held` belong to the pool. */
tq_cache_bytes check_bytes(const model *m, const tq_cache *cache, size_t *pages);

/* Attention of n queries a head, the last at the cache's last position, over the cache's segments against
 * float64 on what the model says they hold. Returns the largest error over what is allowed. */
double check_attention(const model *m, const tq_cache *cache, size_t n_queries, size_t group, rng *r);

#endif
