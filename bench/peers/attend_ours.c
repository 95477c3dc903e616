/* SPDX-License-Identifier: MIT
 * tq_attention() on a cache of codes, and the stream that reads as many bytes as float16 would have. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "attend.h"
#include "measure/limits.h"
#include "measure/timing.h"
#include "tqkv/attention.h"

/* Keys or values. */
typedef struct encoded {
    void *codes, *norms;
} encoded;

typedef struct ours {
    tq_parallel openmp;
    tq_attention_params params;
    tq_segment segment;
    encoded k, v;
    float *out;
    void *workspace;
    size_t workspace_bytes;
} ours;

static int finish(tq_status status) {
    if (status == TQ_OK) return 0;
    fprintf(stderr, "peers: %s\n", tq_last_error()->message);
    return -1;
}

static void *room(size_t bytes) {
    void *memory = NULL;
    if (posix_memalign(&memory, 4096, bytes) != 0) return NULL;
    memset(memory, 1, bytes);
    return memory;
}

static tq_status encode(const peer_scene *s, tq_format format, const float *src, encoded *to,
                        tq_view *view) {
    const tq_codec codec = {.format = format, .head_dim = (uint32_t)s->dim, .scale_factor_d512 = 1.0f};
    const size_t rows = s->kv_heads * s->positions;
    const tq_batch batch = {.heads = s->kv_heads, .rows = s->positions};
    size_t code_bytes, norm_bytes;
    tq_status status = tq_row_size(&codec, &code_bytes, &norm_bytes);
    if (status != TQ_OK) return status;
    to->codes = room(rows * code_bytes);
    to->norms = room(rows * norm_bytes);
    if (!to->codes || !to->norms) return TQ_E_NO_MEMORY;
    status = tq_view_codes(view, &codec, s->kv_heads, s->positions, to->codes, rows * code_bytes,
                           to->norms, rows * norm_bytes);
    if (status != TQ_OK) return status;
    return tq_encode(&codec, &batch, src, rows * s->dim, NULL, 0, to->codes, rows * code_bytes, to->norms,
                     rows * norm_bytes);
}

static int ours_begin(peer_attend *side, const peer_scene *s) {
    ours *o = calloc(1, sizeof *o);
    side->scene = s;
    side->state = o;
    if (!o) return -1;
    tq_status status = s->threads > 1 ? tq_parallel_openmp(&o->openmp, (unsigned)s->threads) : TQ_OK;
    o->params = (tq_attention_params){.size = sizeof(tq_attention_params),
                                      .n_heads = (uint32_t)s->heads,
                                      .n_kv_heads = (uint32_t)s->kv_heads,
                                      .head_dim = (uint32_t)s->dim,
                                      .n_queries = 1,
                                      .scale = s->scale,
                                      .arithmetic = side->arithmetic,
                                      .parallel = s->threads > 1 ? &o->openmp : NULL};
    o->segment.length = s->positions;
    if (status == TQ_OK) status = encode(s, side->k, s->k, &o->k, &o->segment.k);
    if (status == TQ_OK) status = encode(s, side->v, s->v, &o->v, &o->segment.v);
    if (status == TQ_OK) status = tq_attention_workspace(&o->params, &o->segment, 1, &o->workspace_bytes);
    if (status != TQ_OK) return finish(status);
    o->workspace = room(o->workspace_bytes);
    o->out = room(s->heads * s->dim * sizeof *o->out);
    return o->workspace && o->out ? 0 : -1;
}

static int ours_run(peer_attend *side, size_t passes, double *seconds) {
    ours *o = side->state;
    tq_status status = TQ_OK;
    const double begun = measure_now();
    for (size_t i = 0; i < passes && status == TQ_OK; i++) {
        status = tq_attention(
            &o->params, &o->segment, 1, side->scene->q, side->scene->heads * side->scene->dim, o->out,
            side->scene->heads * side->scene->dim, NULL, 0, o->workspace, o->workspace_bytes);
    }
    *seconds = measure_now() - begun;
    return finish(status);
}

static int ours_result(peer_attend *side, float *out) {
    const ours *o = side->state;
    memcpy(out, o->out, side->scene->heads * side->scene->dim * sizeof *out);
    return 0;
}

static void ours_end(peer_attend *side) {
    ours *o = side->state;
    if (o) {
        free(o->k.codes);
        free(o->k.norms);
        free(o->v.codes);
        free(o->v.norms);
        free(o->workspace);
        free(o->out);
    }
    free(o);
    side->state = NULL;
}

const peer_code peer_code_ours = {
    .begin = ours_begin, .run = ours_run, .result = ours_result, .end = ours_end};

/* The state is the buffer. */
static int read_begin(peer_attend *side, const peer_scene *s) {
    side->scene = s;
    side->state = room(peer_scene_f16_bytes(s));
    return side->state ? 0 : -1;
}

static int read_run(peer_attend *side, size_t passes, double *seconds) {
    const peer_scene *s = side->scene;
    tq_parallel openmp;
    if (s->threads > 1 && finish(tq_parallel_openmp(&openmp, (unsigned)s->threads)) != 0) return -1;
    const double begun = measure_now();
    for (size_t i = 0; i < passes; i++) {
        measure_run_read(s->threads > 1 ? &openmp : NULL, s->threads, side->state,
                         peer_scene_f16_bytes(s));
    }
    *seconds = measure_now() - begun;
    return 0;
}

static void read_end(peer_attend *side) {
    free(side->state);
    side->state = NULL;
}

const peer_code peer_code_read = {.begin = read_begin, .run = read_run, .end = read_end};
