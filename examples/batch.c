/* SPDX-License-Identifier: MIT
 * Sequences that begin alike, in pages of one pool: the pages of the prefix are there once, and one call
 * attends for all sequences, whatever their lengths.
 *
 *     cc -std=c11 batch.c -o batch -ltqkv && ./batch */
#include <stdio.h>
#include <stdlib.h>
#include <tqkv/tqkv.h>

enum { H = 8, G = 2, D = 64, CAPACITY = 1024, PREFIX = 500, SEQUENCES = 3, MOST_TOKENS = 32 };

typedef struct engine {
    tq_page_pool *pool;
    tq_cache *caches[SEQUENCES];
    tq_attention_kind kind;
    void *workspace;
    size_t workspace_bytes;
} engine;

static tq_status engine_open(engine *e) {
    const tq_page_pool_config pool = {.size = sizeof pool,
                                      .layer = {.n_kv_heads = G,
                                                .k = {.format = TQ_TQ6, .head_dim = D},
                                                .v = {.format = TQ_TQ4, .head_dim = D}},
                                      .n_pages = 128,
                                      .page_rows = 16};
    const tq_attention_config attention = {.size = sizeof attention,
                                           .n_heads = H,
                                           .n_kv_heads = G,
                                           .head_dim = D,
                                           .k_format = TQ_TQ6,
                                           .v_format = TQ_TQ4,
                                           .scale = 0.125f, /* 1 / sqrt(D) */
                                           .max_sequences = SEQUENCES,
                                           .max_queries = MOST_TOKENS,
                                           .max_positions = CAPACITY};
    tq_status status = tq_page_pool_create(&pool, &e->pool);
    if (status == TQ_OK) status = tq_attention_plan(&attention, &e->kind, &e->workspace_bytes);
    if (status != TQ_OK) return status;
    e->workspace = aligned_alloc(64, e->workspace_bytes);
    return e->workspace != NULL ? TQ_OK
                                : tq_fail(TQ_E_NO_MEMORY, 0, "engine", "no memory for a workspace");
}

static void engine_close(engine *e) {
    for (size_t i = 0; i < SEQUENCES; i++)
        tq_cache_destroy(e->caches[i]); /* before their pool */
    tq_page_pool_destroy(e->pool);
    free(e->workspace);
}

/* In place of a model. */
static void draw(float *x, size_t n) {
    for (size_t i = 0; i < n; i++)
        x[i] = (float)rand() / (float)RAND_MAX * 2 - 1;
}

/* The first sequence takes the prefix in, the others begin with what it holds. */
static tq_status share_prefix(engine *e) {
    static float k[PREFIX * G * D], v[PREFIX * G * D];
    const tq_cache_config config = {
        .size = sizeof config, .policy = TQ_CACHE_PAGED, .capacity = CAPACITY, .pool = e->pool};
    tq_status status = tq_cache_create(&config, &e->caches[0]);
    draw(k, PREFIX * G * D);
    draw(v, PREFIX * G * D);
    if (status == TQ_OK) status = tq_cache_append(e->caches[0], PREFIX, k, v);
    for (size_t i = 1; status == TQ_OK && i < SEQUENCES; i++)
        status = tq_cache_fork(e->caches[0], PREFIX, &e->caches[i]);
    return status;
}

/* Sequence i has n[i] new tokens; qkv: [tokens][H + 2 G][D], as a fused product gives them; out:
 * [tokens][H][D]. */
static tq_status step(engine *e, const size_t n[SEQUENCES], const float *qkv, float *out) {
    const size_t row = (H + 2 * G) * D;
    tq_segment segments[SEQUENCES][TQ_CACHE_SEGMENTS];
    tq_sequence sequences[SEQUENCES];
    tq_status status = TQ_OK;
    size_t tokens = 0;
    for (size_t i = 0; status == TQ_OK && i < SEQUENCES; tokens += n[i++]) {
        const float *k = qkv + tokens * row + H * D;
        const tq_cache_input input = {.size = sizeof input,
                                      .type = TQ_F32,
                                      .k = k,
                                      .v = k + G * D,
                                      .n_k = (n[i] - 1) * row + G * D,
                                      .n_v = (n[i] - 1) * row + G * D,
                                      .k_position_stride = row,
                                      .v_position_stride = row};
        status = tq_cache_append_input(e->caches[i], n[i], &input);
        if (status == TQ_OK) status = tq_cache_sequence(e->caches[i], n[i], segments[i], &sequences[i]);
    }
    if (status != TQ_OK) return status;
    const tq_attention_batch batch = {.size = sizeof batch,
                                      .n_sequences = SEQUENCES,
                                      .sequences = sequences,
                                      .q = qkv,
                                      .n_q = (tokens - 1) * row + H * D,
                                      .q_token_stride = row,
                                      .out = out,
                                      .n_out = tokens * H * D};
    return tq_attention_run(&e->kind, &batch, e->workspace, e->workspace_bytes);
}

static tq_status work(engine *e) {
    static const size_t tokens[][SEQUENCES] = {{1, 20, 7}, {1, 1, 1}}; /* a chunk of a prompt is many */
    static float qkv[MOST_TOKENS * (H + 2 * G) * D], out[MOST_TOKENS * H * D];
    tq_status status = share_prefix(e);
    for (size_t i = 0; status == TQ_OK && i < sizeof tokens / sizeof tokens[0]; i++) {
        draw(qkv, sizeof qkv / sizeof qkv[0]);
        status = step(e, tokens[i], qkv, out);
    }
    return status;
}

int main(void) {
    engine e = {0};
    tq_status status = engine_open(&e);
    if (status == TQ_OK) status = work(&e);
    if (status == TQ_OK)
        printf("sequences of %llu, %llu and %llu positions in %zu pages of 16\n",
               (unsigned long long)tq_cache_length(e.caches[0]),
               (unsigned long long)tq_cache_length(e.caches[1]),
               (unsigned long long)tq_cache_length(e.caches[2]), 128 - tq_page_pool_free_pages(e.pool));
    else
        fprintf(stderr, "%s: %s\n", tq_status_name(status), tq_last_error()->message);
    engine_close(&e);
    return status == TQ_OK ? 0 : 1;
}
