/* SPDX-License-Identifier: MIT
 * A small inference engine on tqkv. */
#include "engine.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#define TRY(call)                                                                                        \
    do {                                                                                                 \
        const tq_status status_ = (call);                                                                \
        if (status_ != TQ_OK) return status_;                                                            \
    } while (0)

enum { H = ENGINE_HEADS, G = ENGINE_KV_HEADS, D = ENGINE_DIM, WINDOW = 48, SINKS = 4 };

enum { RING, GLOBAL, PAGED };
static const unsigned kinds_of_layers[ENGINE_LAYERS] = {RING, GLOBAL, PAGED, GLOBAL};

const engine_kind *engine_kind_of(const engine *e, size_t layer) {
    return &e->kinds[kinds_of_layers[layer]];
}

/* Memory. */

static void *take(engine *e, size_t bytes) {
    return e->allocator.allocate(e->allocator.context, bytes);
}

static void give(engine *e, void *memory, size_t bytes) {
    if (memory != NULL) e->allocator.release(e->allocator.context, memory, bytes);
}

static size_t qkv_bytes(const engine *e, size_t layer) {
    const engine_kind *k = engine_kind_of(e, layer);
    return ENGINE_TOKENS * k->row * toy_size(k->type);
}

enum {
    HIDDEN_BYTES = ENGINE_TOKENS * TOY_WIDTH * sizeof(float),
    OUT_BYTES = ENGINE_TOKENS * H * D * sizeof(float), /* of the widest kind */
    LSE_BYTES = ENGINE_TOKENS * H * sizeof(float)
};

static tq_status take_arrays(engine *e) {
    bool there;
    e->hidden = take(e, HIDDEN_BYTES);
    e->out = take(e, OUT_BYTES);
    e->lse = take(e, LSE_BYTES);
    e->workspace = take(e, e->workspace_bytes);
    there = e->hidden != NULL && e->out != NULL && e->lse != NULL && e->workspace != NULL;
    for (size_t l = 0; l < ENGINE_LAYERS; l++) {
        e->qkv[l] = take(e, qkv_bytes(e, l));
        there = there && e->qkv[l] != NULL;
    }
    return there ? TQ_OK : tq_fail(TQ_E_NO_MEMORY, 0, "engine", "engine: no memory for a step's arrays");
}

/* Kinds of layers: how keys and values are kept, and what attention to them is. */

static engine_kind ring_kind(void) {
    engine_kind k = {.type = TQ_F32, .v_dim = 32};
    k.cache = (tq_cache_config){.size = sizeof k.cache,
                                .policy = TQ_CACHE_RING,
                                .layer = {.k = {.format = TQ_TQ8}, .v_store = TQ_STORE_BF16},
                                .capacity = WINDOW + ENGINE_CHUNK -
                                            1, /* the first token of a chunk looks back as well */
                                .window = WINDOW,
                                .sinks = SINKS,
                                .learn_centre = 3,
                                .centre_stretch = 16};
    k.attention = (tq_attention_config){
        .window = WINDOW, .sink_positions = SINKS, .max_positions = k.cache.capacity + SINKS};
    return k;
}

static engine_kind global_kind(void) {
    return (engine_kind){.type = TQ_BF16,
                         .v_dim = D,
                         .cache = tq_cache_config_default(G, D, ENGINE_POSITIONS),
                         .attention = {.max_positions = ENGINE_POSITIONS}};
}

static tq_status paged_kind(engine *e, size_t n_pages, engine_kind *k) {
    *k = (engine_kind){
        .type = TQ_F16,
        .v_dim = D,
        .cache = {.size = sizeof k->cache, .policy = TQ_CACHE_PAGED, .capacity = ENGINE_POSITIONS},
        .attention = {.max_positions = ENGINE_POSITIONS}};
    TRY(tq_cache_config_from_name("tq5/tq4+centre=24+recent=5", &k->cache));
    tq_page_pool_config pool = {.size = sizeof pool,
                                .layer = k->cache.layer,
                                .n_pages = n_pages,
                                .page_rows = ENGINE_PAGE_ROWS,
                                .allocator = &e->allocator};
    pool.layer.n_kv_heads = G;
    pool.layer.k.head_dim = pool.layer.v.head_dim = D;
    TRY(tq_page_pool_create(&pool, &e->pool));
    k->cache.pool = e->pool;
    return TQ_OK;
}

/* What follows from the rest, and the plan. */
static tq_status finish_kind(engine *e, engine_kind *k) {
    tq_cache_config *c = &k->cache;
    tq_attention_config *a = &k->attention;
    size_t bytes;
    k->row = H * D + G * D + G * k->v_dim;
    c->layer.n_kv_heads = G;
    c->layer.k.head_dim = D;
    c->layer.v.head_dim = k->v_dim;
    c->parallel = &e->parallel;
    c->allocator = &e->allocator;
    a->size = sizeof *a;
    a->n_heads = H;
    a->n_kv_heads = G;
    a->head_dim = D;
    a->v_head_dim = k->v_dim;
    a->k_format = c->layer.k.format;
    a->v_format = c->layer.v.format;
    a->q_type = a->out_type = k->type;
    a->scale = 1.0f / sqrtf(D);
    a->arithmetic = TQ_ARITHMETIC_FLOAT; /* results are checked by its bound */
    a->max_sequences = ENGINE_SEQUENCES;
    a->max_queries = ENGINE_TOKENS;
    TRY(tq_attention_plan(a, &k->plan, &bytes));
    if (bytes > e->workspace_bytes) e->workspace_bytes = bytes; /* layers take turns */
    return TQ_OK;
}

static tq_status open_all(engine *e, size_t n_pages) {
    e->kinds[RING] = ring_kind();
    e->kinds[GLOBAL] = global_kind();
    TRY(paged_kind(e, n_pages, &e->kinds[PAGED]));
    for (size_t i = 0; i < ENGINE_KINDS; i++)
        TRY(finish_kind(e, &e->kinds[i]));
    return take_arrays(e);
}

tq_status engine_open(engine *e, const tq_allocator *allocator, const tq_parallel *parallel,
                      size_t n_pages) {
    *e = (engine){.allocator = *allocator, .parallel = *parallel};
    const tq_status status = open_all(e, n_pages);
    if (status != TQ_OK) engine_close(e);
    return status;
}

void engine_close(engine *e) {
    for (size_t s = 0; s < ENGINE_SEQUENCES; s++)
        engine_end(e, s);
    for (size_t l = 0; l < ENGINE_LAYERS; l++)
        give(e, e->qkv[l], qkv_bytes(e, l));
    give(e, e->workspace, e->workspace_bytes);
    give(e, e->lse, LSE_BYTES);
    give(e, e->out, OUT_BYTES);
    give(e, e->hidden, HIDDEN_BYTES);
    tq_page_pool_destroy(e->pool);
    *e = (engine){.allocator = e->allocator};
}

/* Sequences. */

static tq_status begin_layer(engine *e, size_t sequence, size_t layer, uint64_t positions) {
    tq_cache **cache = &e->caches[sequence][layer];
    TRY(tq_cache_create(&engine_kind_of(e, layer)->cache, cache));
    return tq_cache_reserve(*cache, positions);
}

tq_status engine_begin(engine *e, size_t sequence, uint64_t positions) {
    tq_status status = TQ_OK;
    for (size_t l = 0; status == TQ_OK && l < ENGINE_LAYERS; l++)
        status = begin_layer(e, sequence, l, positions);
    if (status != TQ_OK) engine_end(e, sequence);
    return status;
}

tq_status engine_fork(engine *e, size_t from, size_t sequence, uint64_t length) {
    tq_status status = TQ_OK;
    for (size_t l = 0; status == TQ_OK && l < ENGINE_LAYERS; l++)
        status = tq_cache_fork(e->caches[from][l], length, &e->caches[sequence][l]);
    if (status != TQ_OK) engine_end(e, sequence);
    return status;
}

void engine_end(engine *e, size_t sequence) {
    for (size_t l = 0; l < ENGINE_LAYERS; l++) {
        tq_cache_destroy(e->caches[sequence][l]);
        e->caches[sequence][l] = NULL;
    }
}

uint64_t engine_length(const engine *e, size_t sequence) {
    return tq_cache_length(e->caches[sequence][0]);
}

/* The ring, which alone may refuse, is the first layer: either all go back or none. */
tq_status engine_rewind(engine *e, size_t sequence, uint64_t length) {
    for (size_t l = 0; l < ENGINE_LAYERS; l++)
        if (tq_cache_length(e->caches[sequence][l]) > length)
            TRY(tq_cache_truncate(e->caches[sequence][l], length));
    return TQ_OK;
}

/* A step. */

/* Element i of an array of a kind. */
static char *element(const engine_kind *k, void *array, size_t i) {
    return (char *)array + i * toy_size(k->type);
}

/* Tokens stand where they would if their branch of the tree were all there is. */
static void embed(engine *e, const engine_work *w) {
    uint64_t position[ENGINE_CHUNK];
    const uint64_t length = engine_length(e, w->sequence);
    for (size_t i = 0; i < w->n; i++) {
        const int parent = w->parents == NULL ? (int)i - 1 : w->parents[i];
        position[i] = parent < 0 ? length : position[parent] + 1;
        toy_embed(w->tokens[i], position[i], e->hidden + (w->row + i) * TOY_WIDTH);
    }
}

/* Bit j of word i: token i sees token j, itself or one that it follows. */
static void draw_tree(const engine_work *w, uint64_t bits[ENGINE_CHUNK]) {
    for (size_t i = 0; i < w->n; i++)
        bits[i] = (w->parents[i] < 0 ? 0 : bits[w->parents[i]]) | (uint64_t)1 << i;
}

/* Keys and values of rows of a step, out of the fused array as it is. */
static tq_status append(engine *e, size_t sequence, size_t layer, size_t row, size_t n) {
    const engine_kind *k = engine_kind_of(e, layer);
    const size_t k_at = row * k->row + H * D, v_at = k_at + G * D;
    const tq_cache_input input = {.size = sizeof input,
                                  .type = k->type,
                                  .k = element(k, e->qkv[layer], k_at),
                                  .v = element(k, e->qkv[layer], v_at),
                                  .n_k = (n - 1) * k->row + G * D,
                                  .n_v = (n - 1) * k->row + G * k->v_dim,
                                  .k_position_stride = k->row,
                                  .v_position_stride = k->row};
    return tq_cache_append_input(e->caches[sequence][layer], n, &input);
}

/* One run for all sequences: queries come out of the fused array, too. */
static tq_status attend(engine *e, size_t layer, const engine_work *work, size_t n_work,
                        size_t n_tokens) {
    const engine_kind *k = engine_kind_of(e, layer);
    tq_segment segments[ENGINE_SEQUENCES][TQ_CACHE_SEGMENTS];
    tq_sequence sequences[ENGINE_SEQUENCES];
    uint64_t trees[ENGINE_SEQUENCES][ENGINE_CHUNK];
    for (size_t i = 0; i < n_work; i++) {
        const engine_work *w = &work[i];
        TRY(tq_cache_sequence(e->caches[w->sequence][layer], w->n, segments[i], &sequences[i]));
        if (w->parents == NULL) continue;
        draw_tree(w, trees[i]);
        sequences[i].tree = trees[i];
        sequences[i].n_tree = w->n;
    }
    const tq_attention_batch batch = {.size = sizeof batch,
                                      .n_sequences = n_work,
                                      .sequences = sequences,
                                      .q = e->qkv[layer],
                                      .n_q = (n_tokens - 1) * k->row + H * D,
                                      .q_token_stride = k->row,
                                      .out = e->out,
                                      .n_out = n_tokens * H * k->v_dim,
                                      .lse = e->lse,
                                      .n_lse = n_tokens * H,
                                      .parallel = &e->parallel};
    return tq_attention_run(&k->plan, &batch, e->workspace, e->workspace_bytes);
}

static tq_status run_layer(engine *e, size_t layer, const engine_work *work, size_t n_work,
                           size_t n_tokens) {
    const engine_kind *k = engine_kind_of(e, layer);
    for (size_t t = 0; t < n_tokens; t++)
        toy_project(layer, e->hidden + t * TOY_WIDTH, k->row, k->type,
                    element(k, e->qkv[layer], t * k->row));
    for (size_t i = 0; i < n_work; i++)
        TRY(append(e, work[i].sequence, layer, work[i].row, work[i].n));
    TRY(attend(e, layer, work, n_work, n_tokens));
    if (e->watch != NULL) e->watch(e->context, e, layer, work, n_work);
    for (size_t t = 0; t < n_tokens; t++)
        toy_add(layer, element(k, e->out, t * H * k->v_dim), H * k->v_dim, k->type,
                e->hidden + t * TOY_WIDTH);
    return TQ_OK;
}

static tq_status place(engine_work *work, size_t n_work, size_t *n_tokens) {
    *n_tokens = 0;
    for (size_t i = 0; i < n_work; i++) {
        work[i].row = *n_tokens;
        *n_tokens += work[i].n;
        if (work[i].n == 0 || work[i].n > ENGINE_CHUNK || *n_tokens > ENGINE_TOKENS)
            return tq_fail(TQ_E_SIZE, i, "work", "work[%zu]: %zu tokens are none or too many", i,
                           work[i].n);
    }
    return TQ_OK;
}

tq_status engine_step(engine *e, engine_work *work, size_t n_work) {
    size_t n_tokens;
    uint64_t before[ENGINE_SEQUENCES];
    tq_status status = TQ_OK;
    TRY(place(work, n_work, &n_tokens));
    for (size_t i = 0; i < n_work; i++) {
        before[i] = engine_length(e, work[i].sequence);
        embed(e, &work[i]);
    }
    for (size_t l = 0; status == TQ_OK && l < ENGINE_LAYERS; l++)
        status = run_layer(e, l, work, n_work, n_tokens);
    for (size_t i = 0; status != TQ_OK && i < n_work; i++)
        engine_rewind(e, work[i].sequence, before[i]); /* a chunk back is what the ring has room for */
    return status;
}

/* Drafts on the first branch are there already; those of another are appended once more, in its order. */
static tq_status keep(engine *e, const engine_work *w, size_t layer, const size_t *path, size_t n) {
    tq_cache *cache = e->caches[w->sequence][layer];
    const uint64_t begun = tq_cache_length(cache) - w->n;
    size_t i = 0;
    while (i < n && path[i] == i)
        i++;
    TRY(tq_cache_truncate(cache, begun + i));
    for (; i < n; i++)
        TRY(append(e, w->sequence, layer, w->row + path[i], 1));
    return TQ_OK;
}

tq_status engine_accept(engine *e, const engine_work *work, const size_t *path, size_t n) {
    const uint64_t begun = engine_length(e, work->sequence) - work->n;
    tq_status status = TQ_OK;
    for (size_t l = 0; status == TQ_OK && l < ENGINE_LAYERS; l++)
        status = keep(e, work, l, path, n);
    if (status != TQ_OK) engine_rewind(e, work->sequence, begun);
    return status;
}
