/* SPDX-License-Identifier: MIT
 * Zeros left in the parameters of a step: the answer of the full ones, or an error; never another answer.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tqkv/tqkv.h"

enum { G = 8, D = 128, H = 32, MOST = 512 };
static float k[G * D], v[G * D], q[H * D], full[H * D], out[H * D];

static float draw(void) {
    return (float)rand() / (float)RAND_MAX * 2 - 1;
}

static int is_same(const char *what, tq_status status) {
    const int same = status == TQ_OK && memcmp(full, out, sizeof out) == 0;
    if (!same) printf("%s left out: %s, other numbers\n", what, tq_status_name(status));
    return same;
}

static int check(size_t length) {
    const tq_cache_config config = tq_cache_config_default(G, D, MOST);
    tq_attention_params p = {.size = sizeof p,
                             .n_heads = H,
                             .n_kv_heads = G,
                             .head_dim = D,
                             .n_queries = 1,
                             .query_end = length,
                             .scale = 0.088f,
                             .domain = TQ_ORIGINAL};
    tq_cache *cache;
    tq_segment s[TQ_CACHE_SEGMENTS];
    size_t n, bytes;
    int holds = 1;
    if (tq_cache_create(&config, &cache) != TQ_OK) return 0;
    for (size_t t = 0; t < length; t++) {
        for (int i = 0; i < G * D; i++)
            k[i] = draw(), v[i] = draw();
        if (tq_cache_append(cache, 1, k, v) != TQ_OK) return 0;
    }
    for (int i = 0; i < H * D; i++)
        q[i] = 2 * draw();
    if (tq_cache_segments(cache, s, &n) != TQ_OK || tq_attention_workspace(&p, s, n, &bytes) != TQ_OK)
        return 0;
    void *w = aligned_alloc(64, bytes);
    if (tq_attention(&p, s, n, q, H * D, full, H * D, NULL, 0, w, bytes) != TQ_OK) return 0;
    p.query_end = 0;
    holds &= is_same("query_end", tq_attention(&p, s, n, q, H * D, out, H * D, NULL, 0, w, bytes));
    p.n_kv_heads = p.head_dim = 0;
    holds &= is_same("what the cache knows",
                     tq_cache_attend(cache, &p, q, H * D, out, H * D, NULL, 0, w, bytes));
    p.domain = TQ_ROTATED;
    holds &= tq_cache_attend(cache, &p, q, H * D, out, H * D, NULL, 0, w, bytes) == TQ_E_DOMAIN;
    p.domain = TQ_ORIGINAL;
    p.scale = 0;
    holds &= tq_cache_attend(cache, &p, q, H * D, out, H * D, NULL, 0, w, bytes) == TQ_E_SCALE;
    free(w);
    tq_cache_destroy(cache);
    return holds;
}

int main(void) {
    for (size_t length = 64; length <= MOST; length *= 2)
        if (!check(length)) return printf("fails at %zu positions\n", length), 1;
    return puts("HOLDS"), 0;
}
