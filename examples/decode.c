/* SPDX-License-Identifier: MIT
 * A layer of an engine: a prompt goes into its cache, and decode steps attend to it.
 *
 *     cc -std=c11 decode.c -o decode -ltqkv && ./decode
 *
 * tests/engine in the sources is an engine of several layers, kinds and sequences. */
#include <stdio.h>
#include <stdlib.h>
#include <tqkv/tqkv.h>

enum { H = 8, G = 2, D = 128, CAPACITY = 4096, PROMPT = 1000, STEPS = 20 };

typedef struct layer {
    tq_cache *cache;
    tq_attention_kind kind;
    void *workspace;
    size_t workspace_bytes;
} layer;

/* Once: the cache, and the plan that serves all steps (and all layers of this kind). */
static tq_status layer_open(layer *l) {
    const tq_cache_config cache = tq_cache_config_default(G, D, CAPACITY);
    const tq_attention_config attention = {.size = sizeof attention,
                                           .n_heads = H,
                                           .n_kv_heads = G,
                                           .head_dim = D,
                                           .k_format = cache.layer.k.format,
                                           .v_format = cache.layer.v.format,
                                           .scale = 0.0883883f, /* 1 / sqrt(D) */
                                           .max_positions = CAPACITY};
    tq_status status = tq_cache_create(&cache, &l->cache);
    if (status == TQ_OK) status = tq_attention_plan(&attention, &l->kind, &l->workspace_bytes);
    if (status != TQ_OK) return status;
    l->workspace = aligned_alloc(64, l->workspace_bytes);
    return l->workspace != NULL ? TQ_OK
                                : tq_fail(TQ_E_NO_MEMORY, 0, "layer", "no memory for a workspace");
}

static void layer_close(layer *l) {
    tq_cache_destroy(l->cache);
    free(l->workspace);
}

/* A step: the token's key and value go in, [G][D] each, and its queries attend, [H][D]. */
static tq_status layer_step(layer *l, const float *q, const float *k, const float *v, float *out) {
    tq_segment segments[TQ_CACHE_SEGMENTS];
    tq_sequence sequence;
    tq_status status = tq_cache_append(l->cache, 1, k, v);
    if (status == TQ_OK) status = tq_cache_sequence(l->cache, 1, segments, &sequence);
    if (status != TQ_OK) return status;
    const tq_attention_batch batch = {.size = sizeof batch,
                                      .n_sequences = 1,
                                      .sequences = &sequence,
                                      .q = q,
                                      .n_q = H * D,
                                      .out = out,
                                      .n_out = H * D};
    return tq_attention_run(&l->kind, &batch, l->workspace, l->workspace_bytes);
}

/* In place of a model. */
static void draw(float *x, size_t n) {
    for (size_t i = 0; i < n; i++)
        x[i] = (float)rand() / (float)RAND_MAX * 2 - 1;
}

int main(void) {
    static float q[H * D], k[PROMPT * G * D], v[PROMPT * G * D], out[H * D];
    layer l = {0};
    tq_cache_bytes bytes = {.size = sizeof bytes};
    tq_status status = layer_open(&l);
    draw(k, PROMPT * G * D);
    draw(v, PROMPT * G * D);
    if (status == TQ_OK) status = tq_cache_append(l.cache, PROMPT, k, v);
    for (int i = 0; status == TQ_OK && i < STEPS; i++) {
        draw(q, H * D);
        draw(k, G * D);
        draw(v, G * D);
        status = layer_step(&l, q, k, v, out);
    }
    if (status == TQ_OK) status = tq_cache_count_bytes(l.cache, &bytes);
    if (status == TQ_OK)
        printf("attended to %llu positions in %zu bytes, %zu in float16: out = %g %g ...\n",
               (unsigned long long)tq_cache_length(l.cache), bytes.used,
               (size_t)tq_cache_length(l.cache) * G * D * 4, (double)out[0], (double)out[1]);
    else
        fprintf(stderr, "%s: %s\n", tq_status_name(status), tq_last_error()->message);
    layer_close(&l);
    return status == TQ_OK ? 0 : 1;
}
