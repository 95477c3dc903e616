/* SPDX-License-Identifier: MIT
 * ggml's flash attention on the CPU, by a graph of its own as llama.cpp computes one. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "attend.h"
#include "ggml-cpu.h"
#include "ggml.h"
#include "measure/timing.h"

typedef struct state {
    struct ggml_context *context; /* of tensors without data */
    struct ggml_cgraph *graph;
    struct ggml_cplan plan;
    struct ggml_threadpool *threads;
    void *k, *v, *work;
    float *out;
} state;

static void *room(size_t bytes) {
    void *memory = NULL;
    if (posix_memalign(&memory, 4096, bytes + 64) != 0) return NULL;
    memset(memory, 0, bytes + 64);
    return memory;
}

/* llama.cpp keeps a position's heads side by side; per head, their positions are. */
static void *convert(const peer_attend *side, const peer_scene *s, const float *src) {
    const enum ggml_type type = (enum ggml_type)side->ggml_type;
    const ggml_from_float_t from_float = ggml_get_type_traits_cpu(type)->from_float;
    const size_t row_bytes = ggml_row_size(type, (int64_t)s->dim);
    char *cache = room(s->kv_heads * s->positions * row_bytes);
    for (size_t g = 0; cache && g < s->kv_heads; g++) {
        for (size_t t = 0; t < s->positions; t++) {
            const size_t row = side->per_head ? g * s->positions + t : t * s->kv_heads + g;
            from_float(src + (g * s->positions + t) * s->dim, cache + row * row_bytes, (int64_t)s->dim);
        }
    }
    return cache;
}

/* [D, T, G] in ggml's order, innermost first, whatever lies behind it. */
static struct ggml_tensor *cache_tensor(const peer_attend *side, struct ggml_context *context,
                                        void *data) {
    const peer_scene *s = side->scene;
    const enum ggml_type type = (enum ggml_type)side->ggml_type;
    const int64_t dim = (int64_t)s->dim, rows = (int64_t)s->positions, heads = (int64_t)s->kv_heads;
    struct ggml_tensor *t = side->per_head ? ggml_new_tensor_3d(context, type, dim, rows, heads)
                                           : ggml_new_tensor_3d(context, type, dim, heads, rows);
    t->data = data;
    return side->per_head ? t : ggml_permute(context, t, 0, 2, 1, 3);
}

static int make_graph(peer_attend *side, state *w) {
    enum { N_TENSORS = 16 };
    const peer_scene *s = side->scene;
    const struct ggml_init_params params = {
        .mem_size = N_TENSORS * ggml_tensor_overhead() + ggml_graph_overhead(), .no_alloc = true};
    w->context = ggml_init(params);
    if (!w->context) return -1;
    struct ggml_tensor *q =
        ggml_new_tensor_3d(w->context, GGML_TYPE_F32, (int64_t)s->dim, 1, (int64_t)s->heads);
    q->data = s->q;
    struct ggml_tensor *k = cache_tensor(side, w->context, w->k);
    struct ggml_tensor *v = cache_tensor(side, w->context, w->v);
    struct ggml_tensor *out = ggml_flash_attn_ext(w->context, q, k, v, NULL, s->scale, 0.0f, 0.0f);
    ggml_set_name(out, side->name);
    out->data = w->out;
    w->graph = ggml_new_graph(w->context);
    ggml_build_forward_expand(w->graph, out);
    return 0;
}

static int ggml_begin(peer_attend *side, const peer_scene *s) {
    state *w = calloc(1, sizeof *w);
    side->scene = s;
    side->state = w;
    if (!w) return -1;
    w->k = convert(side, s, s->k);
    w->v = convert(side, s, s->v);
    w->out = room(s->heads * s->dim * sizeof *w->out);
    if (!w->k || !w->v || !w->out || make_graph(side, w) != 0) return -1;
    struct ggml_threadpool_params params = ggml_threadpool_params_default((int)s->threads);
    params.paused = true; /* its threads poll for work for a while, beside others that are timed */
    w->threads = ggml_threadpool_new(&params);
    w->plan = ggml_graph_plan(w->graph, (int)s->threads, w->threads);
    w->work = room(w->plan.work_size);
    w->plan.work_data = w->work;
    return w->threads && w->work ? 0 : -1;
}

static int ggml_run(peer_attend *side, size_t passes, double *seconds) {
    state *w = side->state;
    enum ggml_status status = GGML_STATUS_SUCCESS;
    ggml_threadpool_resume(w->threads);
    const double begun = measure_now();
    for (size_t i = 0; i < passes && status == GGML_STATUS_SUCCESS; i++)
        status = ggml_graph_compute(w->graph, &w->plan);
    *seconds = measure_now() - begun;
    ggml_threadpool_pause(w->threads);
    if (status != GGML_STATUS_SUCCESS) {
        fprintf(stderr, "peers: ggml: %s\n", ggml_status_to_string(status));
        return -1;
    }
    return 0;
}

static int ggml_result(peer_attend *side, float *out) {
    const state *w = side->state;
    memcpy(out, w->out, side->scene->heads * side->scene->dim * sizeof *out);
    return 0;
}

static void ggml_end(peer_attend *side) {
    state *w = side->state;
    if (w) {
        if (w->threads) ggml_threadpool_free(w->threads);
        ggml_free(w->context);
        free(w->k);
        free(w->v);
        free(w->work);
        free(w->out);
    }
    free(w);
    side->state = NULL;
}

const peer_code peer_code_ggml = {
    .begin = ggml_begin, .run = ggml_run, .result = ggml_result, .end = ggml_end};
