/* SPDX-License-Identifier: MIT
 * Caches of given tensors: configurations by name, and a cache that grows over the tensors' positions. */
#include "base/cache.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/message.h"

int cli_take_way(const char *name, cli_way *way) {
    lm_kv kv;
    *way = (cli_way){.config = {.size = sizeof way->config}};
    TRY(cli_parse_kv(name, &kv));
    if (kv.store != LM_STORE_CACHE || kv.k_dense || kv.v_dense)
        return cli_misuse("'%s': keys and values in tq formats are wanted here, such as tq6/tq4+centre; "
                          "the others are for 'tqkv eval'",
                          name);
    strcpy(way->name, name); /* cli_parse_kv() takes none that is longer */
    way->config.layer.k = (tq_codec){.format = kv.k_format, .norm_rule = kv.k_norm_rule};
    way->config.layer.v = (tq_codec){.format = kv.v_format, .norm_rule = kv.v_norm_rule};
    way->config.layer.k.scale_factor_d512 = way->config.layer.v.scale_factor_d512 = 1.0f;
    way->config.learn_centre = kv.learn_centre;
    way->config.centre_stretch = kv.centre_stretch;
    way->config.recent = kv.recent;
    way->config.sinks = kv.sinks;
    return CLI_DONE;
}

static int add_way(const char *name, cli_way *ways, size_t *n) {
    for (size_t i = 0; i < *n; i++)
        if (strcmp(ways[i].name, name) == 0) return CLI_DONE;
    if (*n == CLI_MAX_WAYS) return cli_misuse("more than %d formats", CLI_MAX_WAYS);
    TRY(cli_take_way(name, &ways[*n]));
    (*n)++;
    return CLI_DONE;
}

int cli_take_ways(const char *list, cli_way ways[CLI_MAX_WAYS], size_t *n) {
    *n = 0;
    for (const char *from = list, *comma; from; from = comma ? comma + 1 : NULL) {
        char name[CLI_KV_NAME_SIZE];
        comma = strchr(from, ',');
        const size_t length = comma ? (size_t)(comma - from) : strlen(from);
        if (length == 0 || length >= sizeof name)
            return cli_misuse("'%s': a name between commas is %s", list, length ? "too long" : "missing");
        memcpy(name, from, length);
        name[length] = '\0';
        TRY(add_way(name, ways, n));
    }
    return CLI_DONE;
}

bool cli_way_ages(const tq_cache_config *config) {
    return config->recent > 0 || config->sinks > 0 || config->learn_centre > 0;
}

static size_t smaller(size_t a, size_t b) {
    return a < b ? a : b;
}

static size_t larger(size_t a, size_t b) {
    return a > b ? a : b;
}

size_t cli_encoded_end(const tq_cache_config *c, size_t length) {
    const size_t aged = length > c->recent ? length - c->recent : 0;
    const size_t end = larger(smaller(length, c->sinks), aged);
    if (c->learn_centre == 0 || end <= c->sinks) return end;
    /* The stretch of the last one that has aged waits for the keys that its centre is learned from. */
    const size_t stretch = c->centre_stretch;
    const size_t begin = larger(stretch ? (end - 1) / stretch * stretch : 0, c->sinks);
    const size_t keys = stretch ? smaller(c->learn_centre, stretch - begin % stretch) : c->learn_centre;
    return length - begin >= keys ? end : begin;
}

void cli_note_dense(const cli_way *way, const tq_cache_config *fit, size_t length) {
    if (cli_encoded_end(fit, length) <= fit->sinks)
        cli_note("%s: %zu positions stay in float16; nothing is encoded", way->name, length);
}

/* Slots beyond those that queries look back on: a read beside the window then finds another vector. */
enum { SPARE_SLOTS = 3 };

tq_cache_config cli_fit_config(const tq_cache_config *named, const cli_heads *keys, size_t window) {
    tq_cache_config c = *named;
    const size_t all = keys->n_positions, holds = window > 0 ? smaller(window, all) : all;
    c.layer.n_kv_heads = (uint32_t)keys->n_heads;
    c.layer.k.head_dim = c.layer.v.head_dim = (uint32_t)keys->head_dim;
    c.capacity = window > 0 ? holds + SPARE_SLOTS : all;
    c.window = holds < all ? holds : 0;
    c.policy = c.window > 0 ? TQ_CACHE_RING : TQ_CACHE_GLOBAL;
    c.recent = smaller(c.recent, holds);
    c.learn_centre = smaller(c.learn_centre, holds);
    return c;
}

tq_status cli_cache_create(cli_cache *cache, const tq_cache_config *config, const cli_heads *k,
                           const cli_heads *v) {
    *cache = (cli_cache){.k = k, .v = v};
    return tq_cache_create(config, &cache->cache);
}

void cli_cache_free(cli_cache *cache) {
    tq_cache_destroy(cache->cache);
    free(cache->workspace);
    *cache = (cli_cache){0};
}

tq_status cli_cache_grow(cli_cache *cache, size_t length) {
    const cli_heads *k = cache->k, *v = cache->v;
    const size_t at = (size_t)tq_cache_length(cache->cache), from = at * k->head_dim;
    const size_t all = k->n_positions * k->head_dim;
    const tq_cache_input input = {.size = sizeof input,
                                  .type = TQ_F32,
                                  .k = k->data + from,
                                  .v = v->data + from,
                                  .n_k = k->n_heads * all - from,
                                  .n_v = v->n_heads * all - from,
                                  .k_position_stride = k->head_dim,
                                  .k_head_stride = all,
                                  .v_position_stride = k->head_dim,
                                  .v_head_stride = all};
    return length > at ? tq_cache_append_input(cache->cache, length - at, &input) : TQ_OK;
}

static tq_status reserve(cli_cache *cache, size_t bytes) {
    if (bytes <= cache->workspace_bytes) return TQ_OK;
    free(cache->workspace);
    cache->workspace_bytes = bytes / 64 * 128 + 64; /* a cache grows */
    cache->workspace = aligned_alloc(64, cache->workspace_bytes);
    if (!cache->workspace) cache->workspace_bytes = 0;
    return cache->workspace ? TQ_OK : tq_fail(TQ_E_NO_MEMORY, 0, "workspace", "no memory");
}

tq_status cli_cache_attend(cli_cache *cache, const tq_attention_params *params,
                           const tq_segment *segments, size_t n_segments, const float *q, float *out,
                           float *lse) {
    const size_t rows = (size_t)params->n_heads * params->n_queries, values = rows * params->head_dim;
    size_t bytes;
    if (n_segments == 0) {
        memset(out, 0, values * sizeof *out);
        for (size_t r = 0; lse && r < rows; r++)
            lse[r] = -(float)INFINITY;
        return TQ_OK;
    }
    TRY_STATUS(tq_attention_workspace(params, segments, n_segments, &bytes));
    TRY_STATUS(reserve(cache, bytes));
    return tq_attention(params, segments, n_segments, q, values, out, values, lse, lse ? rows : 0,
                        cache->workspace, cache->workspace_bytes);
}

static tq_status attend_now(cli_cache *cache, const tq_attention_params *params, const float *q,
                            float *out, float *lse) {
    tq_segment segments[TQ_CACHE_SEGMENTS];
    size_t n;
    TRY_STATUS(tq_cache_segments(cache->cache, segments, &n));
    return cli_cache_attend(cache, params, segments, n, q, out, lse);
}

void cli_take_query(const tq_attention_params *all, size_t i, const float *q, float *one) {
    for (size_t h = 0; h < all->n_heads; h++)
        memcpy(one + h * all->head_dim, q + (h * all->n_queries + i) * all->head_dim,
               all->head_dim * sizeof *one);
}

void cli_put_result(const tq_attention_params *all, size_t i, const float *one, const float *one_lse,
                    float *out, float *lse) {
    for (size_t h = 0; h < all->n_heads; h++) {
        memcpy(out + (h * all->n_queries + i) * all->head_dim, one + h * all->head_dim,
               all->head_dim * sizeof *out);
        if (lse) lse[h * all->n_queries + i] = one_lse[h];
    }
}

static tq_status replay(cli_cache *cache, const tq_attention_params *params, const float *q, float *room,
                        float *out, float *lse) {
    const size_t values = (size_t)params->n_heads * params->head_dim, n = params->n_queries;
    float *one_out = room + values, *one_lse = one_out + values;
    tq_attention_params one = *params;
    one.n_queries = 1;
    for (size_t i = 0; i < n; i++) {
        one.query_end = params->query_end - n + i + 1;
        TRY_STATUS(cli_cache_grow(cache, (size_t)one.query_end));
        cli_take_query(params, i, q, room);
        TRY_STATUS(attend_now(cache, &one, room, one_out, one_lse));
        cli_put_result(params, i, one_out, one_lse, out, lse);
    }
    return TQ_OK;
}

tq_status cli_cache_replay(cli_cache *cache, const tq_attention_params *params, const float *q,
                           float *out, float *lse) {
    if (params->bidirectional) {
        TRY_STATUS(cli_cache_grow(cache, cache->k->n_positions));
        return attend_now(cache, params, q, out, lse);
    }
    float *room = cli_new_floats(params->n_heads, 2 * (size_t)params->head_dim + 1, 1);
    const tq_status status = room ? replay(cache, params, q, room, out, lse) : TQ_E_NO_MEMORY;
    free(room);
    return status;
}

tq_status cli_cache_bits(const cli_cache *cache, double *bits) {
    tq_segment segments[TQ_CACHE_SEGMENTS];
    tq_cache_bytes bytes = {.size = sizeof bytes};
    size_t n, held = 0;
    TRY_STATUS(tq_cache_count_bytes(cache->cache, &bytes));
    TRY_STATUS(tq_cache_segments(cache->cache, segments, &n));
    for (size_t i = 0; i < n; i++)
        held += segments[i].length;
    const double values = 2.0 * (double)held * (double)cache->k->n_heads * (double)cache->k->head_dim;
    *bits = 8.0 * (double)(bytes.used + bytes.centre) / values;
    return TQ_OK;
}

bool cli_encodes_young(const tq_cache_config *c) {
    return c->recent > 0 || c->learn_centre > 0;
}

tq_status cli_round_to_half(const float *from, size_t n, float *to) {
    uint16_t *halves = malloc(n * sizeof *halves);
    tq_status status = halves ? tq_round_centre(from, halves, n) : TQ_E_NO_MEMORY;
    for (size_t i = 0; status == TQ_OK && i < n; i++)
        to[i] = cli_half(halves[i]);
    free(halves);
    return status;
}

/* Of a stretch that begins at `begin`: its first keys, as far as they are no sinks. */
static tq_status learn(const tq_cache_config *c, const cli_heads *keys, size_t begin, uint16_t *centre) {
    const size_t all = keys->n_positions, dim = keys->head_dim, from = larger(begin, c->sinks);
    const size_t left = c->centre_stretch == 0             ? all
                        : begin + c->centre_stretch > from ? begin + c->centre_stretch - from
                                                           : 0;
    const size_t there = from < all ? smaller(left, all - from) : 0;
    const tq_batch batch = {
        .heads = keys->n_heads, .rows = smaller(c->learn_centre, there), .dense_head_stride = all * dim};
    if (batch.rows == 0) return TQ_OK;
    return tq_learn_centre((uint32_t)dim, &batch, keys->data + from * dim,
                           (keys->n_heads * all - from) * dim, centre, keys->n_heads * dim);
}

tq_status cli_encode_aged(const tq_cache_config *c, bool is_keys, const cli_heads *from, tq_encoded *e) {
    const size_t all = from->n_positions, stretch = c->centre_stretch;
    const size_t n = !is_keys || c->learn_centre == 0 ? 0 : stretch ? (all - 1) / stretch + 1 : 1;
    TRY_STATUS(
        tq_encoded_alloc(e, is_keys ? &c->layer.k : &c->layer.v, from->n_heads, all, n, n ? stretch : 0));
    for (size_t i = 0; i < n; i++)
        TRY_STATUS(learn(c, from, i * stretch, e->centre + i * from->n_heads * from->head_dim));
    return tq_encoded_put(e, all, from->data, from->n_heads * all * from->head_dim, 0);
}
