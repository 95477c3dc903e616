/* SPDX-License-Identifier: MIT
 * A path on positions that age: every query finds another cache, and so attends on its own. */
#include <stdlib.h>

#include "ablate/ablate.h"

/* A cache: sinks, codes, and what is younger. */
static void segments_of_views(const cli_ageing *a, size_t length, tq_segment segments[TQ_CACHE_SEGMENTS],
                              size_t *n) {
    const size_t sinks = a->config->sinks < length ? a->config->sinks : length;
    const size_t end = cli_encoded_end(a->config, length);
    *n = cli_clip(&a->views[0], 1, 0, sinks, segments);
    *n += cli_clip(&a->views[1], 1, sinks, end, segments + *n);
    *n += cli_clip(&a->views[0], 1, end, length, segments + *n);
}

tq_status cli_ageing_segments(const cli_ageing *a, size_t length, tq_segment segments[TQ_CACHE_SEGMENTS],
                              size_t *n_segments) {
    if (!a->cache) {
        segments_of_views(a, length, segments, n_segments);
        return TQ_OK;
    }
    TRY_STATUS(cli_cache_grow(a->cache, length));
    const uint64_t end = tq_cache_encoded_end(a->cache->cache);
    const size_t wanted = cli_encoded_end(a->config, length);
    if (end != wanted)
        return tq_fail(TQ_E_POSITION, end, "encoded_end",
                       "kernel error: a cache of %zu positions has encoded those below %zu, and should "
                       "those below %zu",
                       length, (size_t)end, wanted);
    TRY_STATUS(tq_cache_segments(a->cache->cache, segments, n_segments));
    for (size_t i = 0; a->lacks_centre && i < *n_segments; i++)
        segments[i].k.centre = NULL;
    return TQ_OK;
}

/* One query, all parts. room: of a query, its outputs and its log-sum-exps. */
static tq_status attend_one(const cli_path *path, size_t i, const float *q, const cli_part *parts,
                            size_t n_parts, cli_cache *workspace, float *room) {
    const size_t values = (size_t)path->params.n_heads * path->params.head_dim;
    float *out = room + values, *lse = out + values;
    tq_attention_params one = path->params;
    tq_segment segments[TQ_CACHE_SEGMENTS], part[TQ_CACHE_SEGMENTS];
    size_t n;
    one.n_queries = 1;
    one.query_end = path->params.query_end - path->params.n_queries + i + 1;
    TRY_STATUS(cli_ageing_segments(path->ageing, (size_t)one.query_end, segments, &n));
    cli_take_query(&path->params, i, q, room);
    for (size_t p = 0; p < n_parts; p++) {
        const size_t kept = cli_clip(segments, n, parts[p].begin, parts[p].end, part);
        TRY_STATUS(cli_cache_attend(workspace, &one, part, kept, room, out, lse));
        cli_put_result(&path->params, i, out, lse, parts[p].out, parts[p].lse);
    }
    return TQ_OK;
}

/* Queries that see later positions too find the whole cache. */
static tq_status attend_all(const cli_path *path, const float *q, const cli_part *parts, size_t n_parts,
                            cli_cache *workspace) {
    tq_segment segments[TQ_CACHE_SEGMENTS], part[TQ_CACHE_SEGMENTS];
    size_t n;
    TRY_STATUS(cli_ageing_segments(path->ageing, path->first + path->length, segments, &n));
    for (size_t p = 0; p < n_parts; p++) {
        const size_t kept = cli_clip(segments, n, parts[p].begin, parts[p].end, part);
        TRY_STATUS(cli_cache_attend(workspace, &path->params, part, kept, q, parts[p].out, parts[p].lse));
    }
    return TQ_OK;
}

tq_status cli_ageing_attend(const cli_path *path, const float *q, const cli_part *parts, size_t n_parts) {
    cli_cache workspace = {0};
    float *room = cli_new_floats(path->params.n_heads, 2 * (size_t)path->params.head_dim + 1, 1);
    tq_status status = room ? TQ_OK : TQ_E_NO_MEMORY;
    if (path->params.bidirectional)
        status = attend_all(path, q, parts, n_parts, &workspace);
    else
        for (size_t i = 0; status == TQ_OK && i < path->params.n_queries; i++)
            status = attend_one(path, i, q, parts, n_parts, &workspace, room);
    cli_cache_free(&workspace);
    free(room);
    return status;
}
