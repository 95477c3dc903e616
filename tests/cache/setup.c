/* SPDX-License-Identifier: MIT
 * Caches of every kind for tests. */
#include "setup.h"

#include <stdio.h>
#include <stdlib.h>

#include "broken.h"

tq_cache_layer setup_layer(unsigned codecs, uint32_t heads) {
    static const struct {
        tq_format k, v;
        uint32_t dim;
        tq_store k_store, v_store;
        uint32_t v_dim; /* 0: the same */
    } pairs[SETUP_CODECS] = {
        {TQ_TQ8, TQ_TQ4, 32, 0, 0, 0},
        {TQ_TQ3, TQ_TQ2, 80, 0, 0, 0},
        {TQ_TQ6, TQ_TQ5, 96, 0, 0, 0},
        {TQ_TQ7, TQ_TQ4, 576, 0, 0, 0},
        {TQ_TQ4_V1, TQ_TQ8_V1, 256, 0, 0, 0},
        {TQ_TQ5_V1, TQ_TQ6_V1, 512, 0, 0, 0},
        {TQ_TQ8_V1, TQ_TQ3, 512, 0, 0, 0},
        {TQ_TQ8, TQ_TQ4_V1, 256, 0, 0, 0},
        {TQ_TQ6, 0, 48, 0, TQ_STORE_F16, 0},
        {0, TQ_TQ3, 64, TQ_STORE_BF16, 0, 0},
        {0, 0, 32, TQ_STORE_F16, TQ_STORE_BF16, 0},
        {TQ_TQ6, TQ_TQ4, 192, 0, 0, 128},
        {TQ_TQ5, 0, 32, 0, TQ_STORE_F16, 80},
    };
    static const tq_norm_rule rules[] = {TQ_NORM_PLAIN, TQ_NORM_MATCHED, TQ_NORM_UNBIASED};
    const tq_format k = pairs[codecs].k, v = pairs[codecs].v;
    const bool k_v1 = TQ_IS_V1(k), v_v1 = TQ_IS_V1(v);
    return (tq_cache_layer){
        .n_kv_heads = heads,
        .k = {k, pairs[codecs].dim, k_v1 ? TQ_NORM_PLAIN : rules[codecs % 3], k_v1 ? 0.5f : 0},
        .v = {v, pairs[codecs].v_dim > 0 ? pairs[codecs].v_dim : pairs[codecs].dim,
              v_v1 ? TQ_NORM_PLAIN : rules[(codecs + 1) % 3], v_v1 ? 2.0f : 0},
        .k_store = pairs[codecs].k_store,
        .v_store = pairs[codecs].v_store,
    };
}

static size_t largest(size_t a, size_t b) {
    return a > b ? a : b;
}

static void set_policy(tq_cache_config *c, unsigned policy) {
    switch (policy) {
    case 0:
        c->policy = TQ_CACHE_GLOBAL;
        c->capacity = 300;
        break;
    case 1:
        c->policy = TQ_CACHE_RING;
        c->capacity = 12;
        c->window = 7;
        break;
    case 2:
        c->policy = TQ_CACHE_RING;
        c->capacity = 9;
        break;
    case 3:
        c->policy = TQ_CACHE_RING;
        c->capacity = largest(largest(c->recent, c->learn_centre), 1);
        c->window = 1;
        break;
    case 4:
        c->policy = TQ_CACHE_PAGED;
        c->capacity = 64;
        break;
    default:
        c->policy = TQ_CACHE_PAGED;
        c->capacity = 13;
        c->window = 7;
    }
}

void setup_open_config(setup *s, const tq_cache_config *config, size_t n_pages, size_t page_rows) {
    *s = (setup){.config = *config};
    if (config->policy != TQ_CACHE_PAGED) return;
    const tq_allocator a = memory_allocator(&s->pool_memory);
    const tq_page_pool_config p = {.size = sizeof p,
                                   .layer = config->layer,
                                   .n_pages = n_pages,
                                   .page_rows = page_rows,
                                   .allocator = &a};
    if (tq_page_pool_create(&p, &s->pool) != TQ_OK) broken("%s", tq_last_error()->message);
    if (tq_page_pool_bytes(s->pool) != s->pool_memory.held) broken("the pool does not know its size");
    s->pool_model = pool_model_new(s->pool, n_pages, page_rows);
    s->config.pool = s->pool;
}

void setup_open(setup *s, unsigned kind, unsigned codecs, uint32_t heads) {
    static const size_t recents[SETUP_RECENTS] = {0, 1, 3}, sinks[SETUP_SINKS] = {0, 1, 3};
    static const size_t learned[SETUP_CENTRES] = {0, 0, 5, 2, 2, 3, 1};
    static const size_t stretches[SETUP_CENTRES] = {0, 0, 0, 0, 7, 3, 64};
    tq_cache_config c = {.size = sizeof c, .layer = setup_layer(codecs, heads)};
    const unsigned centre = c.layer.k_store == TQ_STORE_CODES ? kind % SETUP_CENTRES : 0;
    c.learn_centre = learned[centre];
    c.centre_stretch = stretches[centre];
    c.sinks = sinks[kind / SETUP_CENTRES % SETUP_SINKS];
    c.recent = recents[kind / (SETUP_CENTRES * SETUP_SINKS) % SETUP_RECENTS];
    set_policy(&c, kind / (SETUP_CENTRES * SETUP_SINKS * SETUP_RECENTS));
    setup_open_config(s, &c, 40, 3);
    if (centre != 1) return;
    const size_t n = (size_t)heads * c.layer.k.head_dim;
    s->centre = zeroed(n, sizeof *s->centre);
    for (size_t i = 0; i < n; i++)
        s->centre[i] = 3 + (float)(i % 7) / 16;
    s->config.k_centre = s->centre;
}

void setup_close(setup *s) {
    if (s->pool != NULL && tq_page_pool_free_pages(s->pool) != s->pool_model->n_pages)
        broken("pages are missing");
    if (s->pool != NULL) pool_model_free(s->pool_model);
    tq_page_pool_destroy(s->pool);
    memory_assert_empty(&s->pool_memory);
    memory_assert_empty(&s->memory);
    free(s->centre);
}

void setup_cache(setup *s, beside *b) {
    beside_open(b, &s->config, &s->memory, s->pool_model);
}

const char *setup_name(const setup *s) {
    static char text[128];
    const tq_cache_config *c = &s->config;
    snprintf(text, sizeof text,
             "policy %d, capacity %zu, window %zu, recent %zu, sinks %zu, centre %s %zu of %zu",
             (int)c->policy, c->capacity, c->window, c->recent, c->sinks,
             c->k_centre != NULL ? "given" : "learned from", c->learn_centre, c->centre_stretch);
    return text;
}
