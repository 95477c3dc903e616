/* SPDX-License-Identifier: MIT
 * A step of attention on a cache: what the cache knows is taken from it, and cannot be told wrongly. */
#include "cache/cache.h"

/* How far back a query may look; 0: to the first position. */
static uint64_t window_of(const tq_cache *c) {
    return tq_cache_forgets(c) ? tq_cache_window(c) : 0;
}

static tq_status take_shape(const tq_cache *c, tq_attention_params *p) {
    if (p->n_kv_heads == 0) p->n_kv_heads = (uint32_t)c->heads;
    if (p->head_dim == 0) p->head_dim = (uint32_t)c->plan[TQ_K].dim;
    if (p->v_head_dim == 0) p->v_head_dim = (uint32_t)c->plan[TQ_V].dim;
    if (p->n_kv_heads != c->heads)
        return tq_fail(TQ_E_HEADS, 0, "n_kv_heads", "n_kv_heads %u: the cache has %zu (0 takes them)",
                       p->n_kv_heads, c->heads);
    if (p->head_dim != c->plan[TQ_K].dim)
        return tq_fail(TQ_E_HEAD_DIM, 0, "head_dim", "head_dim %u: the cache has %zu (0 takes it)",
                       p->head_dim, c->plan[TQ_K].dim);
    if (p->v_head_dim != c->plan[TQ_V].dim)
        return tq_fail(TQ_E_HEAD_DIM, 0, "v_head_dim", "v_head_dim %u: the cache has %zu (0 takes it)",
                       p->v_head_dim, c->plan[TQ_V].dim);
    return TQ_OK;
}

static tq_status take_positions(const tq_cache *c, tq_attention_params *p) {
    const uint64_t most = window_of(c);
    if (p->query_end != 0 && p->query_end != c->length)
        return tq_fail(TQ_E_POSITION, p->query_end, "query_end",
                       "query_end %llu: the queries are the newest of %llu positions (0 says so)",
                       (unsigned long long)p->query_end, (unsigned long long)c->length);
    p->query_end = c->length;
    if (p->window == 0) p->window = most;
    if (most != 0 && p->window > most)
        return tq_fail(TQ_E_POSITION, p->window, "window", "window %llu: the cache keeps %llu",
                       (unsigned long long)p->window, (unsigned long long)most);
    if (p->sink_positions == 0 && most != 0) p->sink_positions = c->sinks;
    return TQ_OK;
}

/* What queries of a cache may have lost: positions [sinks, that). */
static uint64_t lost_end(const tq_cache *c) {
    return c->oldest > c->sinks ? c->oldest : 0;
}

/* The first of the queries looks back furthest. Between the sinks, which stay, and the oldest position
 * that has not been overwritten there is nothing. */
static tq_status check_kept(const tq_cache *c, const tq_attention_params *p) {
    const uint64_t first = tq_less(c->length, p->n_queries);
    const uint64_t wanted = p->window == 0 ? 0 : tq_less(first + 1, p->window);
    if (p->sink_positions > c->sinks && lost_end(c) > 0)
        return tq_fail(TQ_E_POSITION, p->sink_positions, "sink_positions",
                       "sink_positions %llu: the cache keeps %zu sinks",
                       (unsigned long long)p->sink_positions, c->sinks);
    if (tq_most(wanted, c->sinks) >= lost_end(c)) return TQ_OK;
    return tq_fail(TQ_E_POSITION, wanted, "n_queries",
                   "%zu queries look back to position %llu, and the cache holds those from %llu on: its "
                   "capacity must be window + n_queries - 1 at least",
                   p->n_queries, (unsigned long long)wanted, (unsigned long long)c->oldest);
}

/* The step as tq_attention() takes it. */
typedef struct step {
    tq_attention_params params;
    tq_segment segments[TQ_CACHE_SEGMENTS];
    size_t n_segments;
} step;

static tq_status compose(step *s, const tq_cache *cache, const tq_attention_params *params) {
    TRY(tq_check_not_null("cache", cache));
    TRY(tq_take_struct("params", params, &s->params, sizeof s->params));
    TRY(take_shape(cache, &s->params));
    TRY(take_positions(cache, &s->params));
    TRY(check_kept(cache, &s->params));
    s->n_segments = tq_cache_view(cache, s->segments);
    return TQ_OK;
}

tq_status tq_cache_attend_workspace(const tq_cache *cache, const tq_attention_params *params,
                                    size_t *bytes) {
    step s;
    TRY(compose(&s, cache, params));
    return tq_attention_workspace(&s.params, s.segments, s.n_segments, bytes);
}

tq_status tq_cache_attend(const tq_cache *cache, const tq_attention_params *params, const float *q,
                          size_t n_q, float *out, size_t n_out, float *lse, size_t n_lse, void *workspace,
                          size_t workspace_bytes) {
    step s;
    TRY(compose(&s, cache, params));
    return tq_attention(&s.params, s.segments, s.n_segments, q, n_q, out, n_out, lse, n_lse, workspace,
                        workspace_bytes);
}

tq_status tq_cache_sequence(const tq_cache *cache, size_t n_queries,
                            tq_segment segments[TQ_CACHE_SEGMENTS], tq_sequence *sequence) {
    TRY(tq_check_not_null("cache", cache));
    TRY(tq_check_not_null("segments", segments));
    TRY(tq_check_not_null("sequence", sequence));
    *sequence = (tq_sequence){.segments = segments,
                              .n_segments = tq_cache_view(cache, segments),
                              .n_queries = n_queries,
                              .query_end = cache->length,
                              .kept_first = cache->sinks,
                              .kept_from = lost_end(cache)};
    return TQ_OK;
}
