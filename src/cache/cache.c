/* SPDX-License-Identifier: MIT
 * The calls of tqkv/cache.h: check, then hand over to the cache. */
#include "tqkv/cache.h"

#include <math.h>

#include "base/size.h"
#include "base/tasks.h"
#include "cache/cache.h"
#include "cpu/dispatch.h"

static tq_status check_codec(tq_plan *plan, const tq_codec *codec) {
    TRY(tq_plan_init(plan, codec));
    TRY(tq_plan_check_norm_rule(codec));
    return tq_plan_check_scale_factor(plan, codec->scale_factor_d512);
}

/* Dense vectors are served in the dimensions that codes are. */
tq_status tq_cache_plan_side(tq_plan *plan, const tq_codec *codec, tq_store store) {
    const tq_codec any = {.format = TQ_TQ8, .head_dim = codec->head_dim};
    if (store == TQ_STORE_CODES) return tq_plan_init(plan, codec);
    TRY(tq_plan_init(plan, &any));
    *plan = (tq_plan){.dim = plan->dim, .row_bytes = plan->dim * sizeof(uint16_t)};
    return TQ_OK;
}

static tq_status check_side(tq_plan *plan, const char *name, const tq_codec *codec, tq_store store) {
    if (store == TQ_STORE_CODES) return check_codec(plan, codec);
    if (store != TQ_STORE_F16 && store != TQ_STORE_BF16)
        return tq_fail(TQ_E_FORMAT, 0, name, "%s: store %d is none of codes, float16 and bfloat16", name,
                       (int)store);
    return tq_cache_plan_side(plan, codec, store);
}

static tq_status check_layer(const tq_cache_layer *layer, tq_plan plan[TQ_SIDES]) {
    if (layer->n_kv_heads == 0)
        return tq_fail(TQ_E_HEADS, 0, "n_kv_heads", "n_kv_heads is 0: there must be one at least");
    TRY(check_side(&plan[TQ_K], "k_store", &layer->k, layer->k_store));
    return check_side(&plan[TQ_V], "v_store", &layer->v, layer->v_store);
}

static tq_status check_allocator(const tq_allocator *allocator) {
    if (allocator == NULL || (allocator->allocate != NULL && allocator->release != NULL)) return TQ_OK;
    return tq_fail(TQ_E_NULL, 0, "allocator", "allocator: allocate or release is NULL");
}

/* Fields are what the policy has. */
static tq_status check_policy(const tq_cache_config *config) {
    const int policy = (int)config->policy;
    if (policy < TQ_CACHE_GLOBAL || policy > TQ_CACHE_PAGED)
        return tq_fail(TQ_E_POLICY, 0, "policy", "no cache policy has the number %d", policy);
    if (policy == TQ_CACHE_PAGED) TRY(tq_check_not_null("pool", config->pool));
    if (policy != TQ_CACHE_PAGED && config->pool != NULL)
        return tq_fail(TQ_E_POLICY, 0, "pool", "pool: only TQ_CACHE_PAGED takes one");
    if (policy == TQ_CACHE_GLOBAL && config->window != 0)
        return tq_fail(TQ_E_POLICY, 0, "window", "window %zu: TQ_CACHE_GLOBAL has none, here it is 0",
                       config->window);
    return TQ_OK;
}

static tq_status check_capacity(const tq_cache_config *config) {
    const struct {
        const char *name;
        size_t positions;
    } fields[] = {
        {"window", config->window}, {"recent", config->recent}, {"learn_centre", config->learn_centre}};
    if (config->capacity == 0)
        return tq_fail(TQ_E_POSITION, 0, "capacity", "capacity is 0: there must be a position at least");
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++)
        if (fields[i].positions > config->capacity)
            return tq_fail(TQ_E_POSITION, fields[i].positions, fields[i].name,
                           "%s %zu is more than the capacity of %zu", fields[i].name, fields[i].positions,
                           config->capacity);
    if (config->learn_centre > 0 && config->k_centre != NULL)
        return tq_fail(TQ_E_POSITION, config->learn_centre, "learn_centre",
                       "learn_centre %zu: with k_centre there is none to learn, it must be 0",
                       config->learn_centre);
    if (config->centre_stretch > 0 && config->centre_stretch < config->learn_centre)
        return tq_fail(TQ_E_POSITION, config->centre_stretch, "centre_stretch",
                       "centre_stretch %zu: its centre is learned from learn_centre, %zu positions",
                       config->centre_stretch, config->learn_centre);
    if (config->centre_stretch > 0 && config->learn_centre == 0)
        return tq_fail(TQ_E_POSITION, config->centre_stretch, "centre_stretch",
                       "centre_stretch %zu: no centre is learned, learn_centre is 0",
                       config->centre_stretch);
    return TQ_OK;
}

static bool same_codec(const tq_codec *a, const tq_plan *plan, const tq_codec *b) {
    return a->format == b->format &&
           tq_norm_rule_of(a->format, a->norm_rule) == tq_norm_rule_of(b->format, b->norm_rule) &&
           (plan->n_norms == 1 || !(a->scale_factor_d512 < b->scale_factor_d512 ||
                                    a->scale_factor_d512 > b->scale_factor_d512));
}

static bool same_side(const tq_cache *c, unsigned side, const tq_codec *a, const tq_codec *b) {
    return c->store[side] == c->pool->store[side] && a->head_dim == b->head_dim &&
           (c->store[side] != TQ_STORE_CODES || same_codec(a, &c->plan[side], b));
}

/* A centre is for codes of keys. */
static tq_status check_centre(const tq_cache *c, const tq_cache_config *config) {
    if (c->store[TQ_K] == TQ_STORE_CODES || (config->k_centre == NULL && config->learn_centre == 0))
        return TQ_OK;
    return tq_fail(TQ_E_POLICY, config->learn_centre,
                   config->k_centre != NULL ? "k_centre" : "learn_centre",
                   "a centre is for encoded keys; with k_store dense there is none (learn_centre 0)");
}

/* The layer of the configuration, or, where it has none, of the pool. */
static tq_status take_layer(tq_cache *c, const tq_cache_config *config) {
    const tq_page_pool *pool = config->pool;
    c->layer = config->layer;
    if (pool != NULL && c->layer.n_kv_heads == 0) c->layer = pool->layer;
    TRY(check_layer(&c->layer, c->plan));
    c->store[TQ_K] = c->layer.k_store;
    c->store[TQ_V] = c->layer.v_store;
    if (pool != NULL && (c->layer.n_kv_heads != pool->layer.n_kv_heads ||
                         !same_side(c, TQ_K, &c->layer.k, &pool->layer.k) ||
                         !same_side(c, TQ_V, &c->layer.v, &pool->layer.v)))
        return tq_fail(TQ_E_POLICY, 0, "layer", "layer: the pool's pages are of another kind");
    c->heads = c->layer.n_kv_heads;
    return TQ_OK;
}

/* Positions of a global cache's block. Appending the first of one touches memory that is new on every
 * page of it that has such a row; more rows would keep more memory than is used. */
enum { BLOCK_ROWS = 128 };

/* Sinks have rows of their own and so have recent positions. Those that are encoded need the rest; where
 * old ones are forgotten, the last `capacity` may have left the sinks behind. */
static tq_status lay_out(tq_cache *c) {
    const bool forgets = tq_cache_forgets(c);
    if (!forgets) c->sinks = (size_t)tq_least(c->sinks, c->capacity);
    c->half_rows = (size_t)tq_most(c->recent, c->learn);
    c->slots = (size_t)tq_less(c->capacity - c->recent, forgets ? 0 : c->sinks);
    if (c->slots == 0) return TQ_OK;
    if (c->pool == NULL)
        return tq_block_shape_init(&c->shape, c->plan, 1, c->heads,
                                   forgets ? c->slots : (size_t)tq_least(c->slots, BLOCK_ROWS));
    c->shape = c->pool->shape;
    c->page_entries = tq_pages_entries(c);
    return TQ_OK;
}

/* Of a centre that is given, which float16 holds too. */
static tq_vector_limit centre_limit(const tq_cache *c) {
    tq_vector_limit limit = tq_cache_limit(c, TQ_K);
    limit.value = TQ_MAX_HALF;
    return limit;
}

static tq_status fail_value(const char *name, tq_vector_limit limit, const tq_bad_value *bad) {
    if (bad->is_length)
        return tq_fail(
            TQ_E_RANGE, bad->index, name,
            "%s: the vector that begins at %s[%zu] is %g long: the limit of this cache is %g, so "
            "that float16 holds every norm",
            name, name, bad->index, (double)bad->value, (double)limit.length);
    if (isfinite(bad->value))
        return tq_fail(TQ_E_RANGE, bad->index, name, "%s[%zu] is %g: the limit of this cache is %g", name,
                       bad->index, (double)bad->value, (double)limit.value);
    return tq_fail(TQ_E_NOT_FINITE, bad->index, name, "%s[%zu] is %s: it must be finite", name,
                   bad->index, isnan(bad->value) ? "NaN" : "infinite");
}

tq_status tq_cache_create(const tq_cache_config *from, tq_cache **cache) {
    tq_cache_config own;
    const tq_cache_config *config = &own;
    TRY(tq_check_not_null("cache", cache));
    *cache = NULL;
    TRY(tq_take_struct("config", from, &own, sizeof own));
    TRY(check_policy(config));
    TRY(check_allocator(config->allocator));
    TRY(tq_check_parallel(config->parallel));
    tq_cache model = {.policy = config->policy,
                      .capacity = config->capacity,
                      .window = config->window,
                      .recent = config->recent,
                      .sinks = config->sinks,
                      .learn = config->learn_centre,
                      .stretch = config->centre_stretch,
                      .pool = config->pool,
                      .allocator = tq_allocator_or_default(config->allocator),
                      .centre_given = config->k_centre != NULL};
    TRY(tq_active_kernels(&model.kernels));
    TRY(take_layer(&model, config));
    TRY(check_capacity(config));
    TRY(check_centre(&model, config));
    if (config->k_centre != NULL) {
        tq_bad_value bad;
        if (tq_find_bad_row(model.kernels, model.plan[TQ_K].dim, model.heads, config->k_centre,
                            centre_limit(&model), &bad))
            return fail_value("k_centre", centre_limit(&model), &bad);
    }
    if (config->parallel != NULL) model.parallel = *config->parallel;
    TRY(lay_out(&model));
    TRY(tq_cache_build(&model, config->k_centre, cache));
    tq_cache_empty(*cache);
    return TQ_OK;
}

void tq_cache_destroy(tq_cache *cache) {
    if (cache != NULL) tq_cache_release(cache);
}

static tq_status check_positions(const tq_cache *c, size_t n) {
    if (n > UINT64_MAX - c->length)
        return tq_fail(TQ_E_OVERFLOW, n, "n", "%zu positions more cannot be counted", n);
    if (!tq_cache_forgets(c) && n > c->capacity - c->length)
        return tq_fail(TQ_E_POSITION, c->length, "n",
                       "%zu positions more: %llu of a capacity of %zu are there", n,
                       (unsigned long long)c->length, c->capacity);
    return TQ_OK;
}

/* Fills in strides of 0, and checks that the vectors lie within n_elements. */
static tq_status check_source(const tq_cache *c, const char *name, tq_source *s, size_t n,
                              size_t n_elements) {
    if (s->head_stride == 0) s->head_stride = s->dim;
    if (s->position_stride == 0 && !tq_size_mul(c->heads, s->head_stride, &s->position_stride))
        return tq_fail(TQ_E_OVERFLOW, 0, name, "%s: %zu heads do not fit in memory", name, c->heads);
    tq_rows rows = {name,     s->data, tq_type_size(s->type), s->dim,
                    c->heads, n,       s->head_stride,        s->position_stride};
    return tq_rows_check(&rows, n_elements);
}

tq_status tq_cache_append_input(tq_cache *cache, size_t n, const tq_cache_input *from) {
    tq_cache_input own;
    const tq_cache_input *input = &own;
    unsigned side;
    tq_bad_value bad;
    TRY(tq_check_not_null("cache", cache));
    TRY(tq_take_struct("input", from, &own, sizeof own));
    TRY(tq_check_type("type", input->type));
    if (n == 0) return TQ_OK;
    tq_source src[] = {
        {input->k, input->type, cache->plan[TQ_K].dim, input->k_position_stride, input->k_head_stride},
        {input->v, input->type, cache->plan[TQ_V].dim, input->v_position_stride, input->v_head_stride}};
    TRY(check_source(cache, "k", &src[TQ_K], n, input->n_k));
    TRY(check_source(cache, "v", &src[TQ_V], n, input->n_v));
    TRY(check_positions(cache, n));
    const tq_status status = tq_cache_extend(cache, n, src, &side, &bad);
    return status == TQ_E_RANGE ? fail_value(side == TQ_K ? "k" : "v", tq_cache_limit(cache, side), &bad)
                                : status;
}

tq_status tq_cache_append(tq_cache *cache, size_t n, const float *k, const float *v) {
    tq_cache_input input = {.size = sizeof input, .type = TQ_F32, .k = k, .v = v};
    size_t vectors;
    TRY(tq_check_not_null("cache", cache));
    if (!tq_size_mul(n, cache->heads, &vectors) ||
        !tq_size_mul(vectors, cache->plan[TQ_K].dim, &input.n_k) ||
        !tq_size_mul(vectors, cache->plan[TQ_V].dim, &input.n_v))
        return tq_fail(TQ_E_OVERFLOW, n, "n", "%zu positions of %zu heads do not fit in memory", n,
                       cache->heads);
    return tq_cache_append_input(cache, n, &input);
}

tq_status tq_cache_truncate(tq_cache *cache, uint64_t length) {
    TRY(tq_check_not_null("cache", cache));
    TRY(tq_cache_check_length(cache, length, "length"));
    tq_cache_shorten(cache, length);
    return TQ_OK;
}

tq_status tq_cache_reserve(tq_cache *cache, uint64_t positions) {
    TRY(tq_check_not_null("cache", cache));
    if (positions > cache->capacity && !tq_cache_forgets(cache))
        return tq_fail(TQ_E_POSITION, positions, "positions", "positions %llu: the capacity is %zu",
                       (unsigned long long)positions, cache->capacity);
    return tq_cache_provide(cache, positions);
}

void tq_cache_clear(tq_cache *cache) {
    if (cache != NULL) tq_cache_empty(cache);
}

uint64_t tq_cache_length(const tq_cache *cache) {
    return cache == NULL ? 0 : cache->length;
}

uint64_t tq_cache_first(const tq_cache *cache) {
    return cache == NULL ? 0 : tq_least(cache->length, cache->oldest);
}

uint64_t tq_cache_encoded_end(const tq_cache *cache) {
    return cache == NULL ? 0 : cache->encoded_end;
}

const uint16_t *tq_cache_k_centre(const tq_cache *cache, uint64_t position) {
    return cache != NULL && tq_centre_is_known(cache, position) ? tq_centre_at(cache, position, 0) : NULL;
}

tq_status tq_cache_segments(const tq_cache *cache, tq_segment segments[TQ_CACHE_SEGMENTS],
                            size_t *n_segments) {
    TRY(tq_check_not_null("cache", cache));
    TRY(tq_check_not_null("segments", segments));
    TRY(tq_check_not_null("n_segments", n_segments));
    *n_segments = tq_cache_view(cache, segments);
    return TQ_OK;
}

tq_status tq_cache_count_bytes(const tq_cache *cache, tq_cache_bytes *bytes) {
    TRY(tq_check_not_null("cache", cache));
    tq_cache_bytes all = {.size = sizeof all};
    tq_cache_measure(cache, &all);
    return tq_give_struct("bytes", &all, sizeof all, bytes);
}

tq_status tq_cache_fork(const tq_cache *from, uint64_t length, tq_cache **cache) {
    TRY(tq_check_not_null("cache", cache));
    *cache = NULL;
    TRY(tq_check_not_null("from", from));
    TRY(tq_cache_check_length(from, length, "length"));
    return tq_cache_copy(from, length, cache);
}

tq_status tq_page_pool_create(const tq_page_pool_config *from, tq_page_pool **pool) {
    tq_page_pool_config own;
    const tq_page_pool_config *config = &own;
    tq_page_pool model = {0};
    TRY(tq_check_not_null("pool", pool));
    *pool = NULL;
    TRY(tq_take_struct("config", from, &own, sizeof own));
    TRY(check_allocator(config->allocator));
    TRY(check_layer(&config->layer, model.plan));
    if (config->n_pages == 0 || config->n_pages > INT32_MAX)
        return tq_fail(TQ_E_SIZE, config->n_pages, "n_pages", "n_pages %zu: 1 to 2^31 - 1 are served",
                       config->n_pages);
    if (config->page_rows == 0)
        return tq_fail(TQ_E_SIZE, 0, "page_rows", "page_rows is 0: a page must hold a position at least");
    model.layer = config->layer;
    model.store[TQ_K] = config->layer.k_store;
    model.store[TQ_V] = config->layer.v_store;
    model.n_pages = config->n_pages;
    model.allocator = tq_allocator_or_default(config->allocator);
    return tq_pool_build(&model, config->page_rows, pool);
}

void tq_page_pool_destroy(tq_page_pool *pool) {
    if (pool != NULL) tq_pool_release(pool);
}

size_t tq_page_pool_free_pages(const tq_page_pool *pool) {
    return pool == NULL ? 0 : atomic_load_explicit(&pool->n_spare, memory_order_relaxed);
}

size_t tq_page_pool_bytes(const tq_page_pool *pool) {
    return pool == NULL ? 0 : tq_pool_measure(pool);
}
