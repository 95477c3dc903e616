/* SPDX-License-Identifier: MIT
 * Runs of several scenes of one kind. */
#include "batch.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "half.h"
#include "support/cm.h"

/* Queries that float16 and bfloat16 hold as well as float32: a run may have them in any type. */
static void round_queries(scene *s) {
    float *q = (float *)(void *)s->q_memory.data;
    for (size_t i = 0; i < scene_rows(s) * s->params.head_dim; i++)
        q[i] = (float)bf16_to(bf16_from(fabsf(q[i]) < 0.01f ? 0.01f : q[i]));
}

static void draw_stores(scene_plan *p, unsigned k, unsigned v, rng *r) {
    for (size_t i = 0; i < p->n_segments; i++) {
        set_store(&p->segment[i].k, rng_below(r, 2) == 0 ? k : ENCODED_STORES + rng_below(r, 3));
        set_store(&p->segment[i].v, rng_below(r, 2) == 0 ? v : ENCODED_STORES + rng_below(r, 3));
    }
}

static void draw_kind(batch *b, rng *r, scene_plan *kind, unsigned *k, unsigned *v) {
    static const uint32_t dims[] = {32, 64, 80, 128, 256}, groups[] = {1, 2, 4, 8};
    const uint32_t kv_heads = 1 + rng_below(r, 3);
    *kind = plain_plan(kv_heads * groups[rng_below(r, 4)], kv_heads, dims[rng_below(r, 5)], 1, 0);
    kind->v_head_dim = rng_below(r, 2) == 0 ? 0 : dims[rng_below(r, 5)];
    kind->domain = rng_below(r, 2) == 0 ? TQ_ORIGINAL : TQ_ROTATED;
    draw_centres(kind, r);
    kind->sinks = rng_below(r, 2) == 0;
    kind->slopes = rng_below(r, 3) == 0;
    *k = rng_below(r, V2_STORES);
    *v = rng_below(r, V2_STORES);
    b->n = 1 + rng_below(r, MOST_SEQUENCES);
}

static void add_scene(batch *b, size_t i, scene_plan plan, size_t length, unsigned k, unsigned v,
                      const tq_attention_params *masks, rng *r) {
    scene *s = &b->scenes[i];
    plan.n_queries = 1 + (rng_below(r, 2) == 0 ? 0 : draw_size(r, 60));
    draw_segments(&plan, length, r);
    draw_stores(&plan, k, v, r);
    draw_layouts(&plan, r);
    scene_open(s, &plan, r);
    round_queries(s);
    s->params.bidirectional = masks->bidirectional;
    s->params.window = masks->window;
    s->params.sink_positions = masks->sink_positions;
    s->params.softcap = masks->softcap;
    s->params.scale = masks->scale;
    s->params.query_end = (length > s->params.n_queries ? length : s->params.n_queries) + rng_below(r, 3);
    if (i > 0) { /* they belong to the layer */
        s->params.sinks = b->scenes[0].params.sinks;
        s->params.slopes = b->scenes[0].params.slopes;
    }
    b->sequences[i] = (tq_sequence){.segments = s->segments,
                                    .n_segments = s->n_segments,
                                    .n_queries = s->params.n_queries,
                                    .query_end = s->params.query_end};
}

static size_t most(size_t a, size_t b) {
    return a > b ? a : b;
}

static tq_format planned(unsigned store) {
    side_plan p;
    set_store(&p, store);
    return p.format;
}

void batch_draw(batch *b, size_t length, rng *r) {
    scene_plan kind;
    unsigned k, v;
    memset(b, 0, sizeof *b);
    draw_kind(b, r, &kind, &k, &v);
    tq_attention_params masks = {
        .size = sizeof masks, .scale = (float)(1 / sqrt(kind.head_dim)), .n_queries = 1};
    draw_masks(&masks, length, r);
    tq_attention_config *c = &b->config;
    for (size_t i = 0; i < b->n; i++) {
        const size_t positions = draw_size(r, length);
        add_scene(b, i, kind, positions, k, v, &masks, r);
        b->tokens += b->scenes[i].params.n_queries;
        c->max_positions = most(c->max_positions, positions == 0 ? 1 : positions);
        c->max_segments = most(c->max_segments, b->scenes[i].n_segments);
    }
    c->size = sizeof *c;
    c->arithmetic = TQ_ARITHMETIC_FLOAT;
    c->n_heads = kind.n_heads;
    c->n_kv_heads = kind.n_kv_heads;
    c->head_dim = kind.head_dim;
    c->v_head_dim = kind.v_head_dim;
    c->k_format = planned(k);
    c->v_format = planned(v);
    c->q_type = (tq_type)rng_below(r, 3);
    c->out_type = (tq_type)rng_below(r, 3);
    c->domain = kind.domain;
    c->scale = masks.scale;
    c->softcap = masks.softcap;
    c->bidirectional = masks.bidirectional;
    c->window = masks.window;
    c->sink_positions = masks.sink_positions;
    c->max_sequences = b->n;
    c->max_queries = b->tokens;
}

void batch_close(batch *b) {
    for (size_t i = 0; i < b->n; i++)
        scene_close(&b->scenes[i]);
}

static size_t size_of(tq_type type) {
    return type == TQ_F32 ? sizeof(float) : sizeof(uint16_t);
}

static void put_value(uint8_t *at, tq_type type, float x) {
    const uint16_t narrow = type == TQ_F16 ? half_from((double)x) : bf16_from(x);
    if (type == TQ_F32)
        memcpy(at, &x, sizeof x);
    else
        memcpy(at, &narrow, sizeof narrow);
}

/* Strides of [N][H][length] or [H][N][length], with gaps or none, written out or implied; elements. */
static size_t draw_strides(size_t tokens, size_t heads, size_t length, size_t *token, size_t *head,
                           rng *r) {
    const size_t gap = rng_below(r, 2) == 0 ? 0 : 16 * rng_below(r, 3), row = length + gap;
    const bool by_token = rng_below(r, 2) == 0;
    *token = by_token ? heads * row : row;
    *head = by_token ? row : tokens * row;
    const size_t n = (tokens - 1) * *token + (heads - 1) * *head + length;
    if (by_token && gap == 0 && rng_below(r, 2) == 0) *token = *head = 0;
    return n;
}

static size_t token_stride(size_t stride, size_t heads, size_t length) {
    return stride == 0 ? heads * length : stride;
}

static size_t head_stride(size_t stride, size_t length) {
    return stride == 0 ? length : stride;
}

static void put_queries(run *u, const batch *b) {
    const tq_attention_config *c = &b->config;
    const size_t dim = c->head_dim, token_step = token_stride(u->args.q_token_stride, c->n_heads, dim),
                 head_step = head_stride(u->args.q_head_stride, dim);
    size_t token = 0;
    for (size_t i = 0; i < b->n; token += b->scenes[i++].params.n_queries) {
        const size_t n = b->scenes[i].params.n_queries;
        for (size_t row = 0; row < scene_rows(&b->scenes[i]); row++)
            for (size_t d = 0; d < dim; d++) {
                const size_t at = (token + row % n) * token_step + row / n * head_step + d;
                put_value(u->q.data + at * size_of(c->q_type), c->q_type, b->scenes[i].q[row * dim + d]);
            }
    }
}

void run_open(run *u, const batch *b, bool open, rng *r) {
    const tq_attention_config *c = &b->config;
    const size_t v_dim = c->v_head_dim == 0 ? c->head_dim : c->v_head_dim;
    tq_attention_batch *a = &u->args;
    memset(u, 0, sizeof *u);
    a->size = sizeof *a;
    a->n_sequences = b->n;
    a->sequences = b->sequences;
    a->n_q = draw_strides(b->tokens, c->n_heads, c->head_dim, &a->q_token_stride, &a->q_head_stride, r);
    a->n_out = draw_strides(b->tokens, c->n_heads, v_dim, &a->out_token_stride, &a->out_head_stride, r);
    a->n_lse = draw_strides(b->tokens, c->n_heads, 1, &a->lse_token_stride, &a->lse_head_stride, r);
    u->q = edge_new(a->n_q * size_of(c->q_type));
    put_queries(u, b);
    u->out = guard_new(a->n_out * size_of(c->out_type));
    u->lse = guard_new(a->n_lse * sizeof(float));
    u->max = guard_new(a->n_lse * sizeof(float));
    u->sum = guard_new(a->n_lse * sizeof(float));
    a->q = u->q.data;
    a->out = u->out.data;
    a->sinks = open ? NULL : b->scenes[0].params.sinks;
    a->slopes = b->scenes[0].params.slopes;
    a->lse = open ? NULL : (float *)u->lse.data;
    a->max = open ? (float *)u->max.data : NULL;
    a->sum = open ? (float *)u->sum.data : NULL;
    if (tq_attention_plan(c, &u->kind, &u->workspace_bytes) != TQ_OK)
        fail_msg("plan: %s", tq_last_error()->message);
    u->workspace = edge_new((u->workspace_bytes + 63) / 64 * 64);
    memset(u->workspace.data, 0xFF, u->workspace.size);
}

void run_close(run *u) {
    edge_free(&u->workspace);
    edge_free(&u->q);
    guard_free(&u->out);
    guard_free(&u->lse);
    guard_free(&u->max);
    guard_free(&u->sum);
}

void run_make(run *u) {
    if (tq_attention_run(&u->kind, &u->args, u->workspace.data, u->workspace_bytes) == TQ_OK) return;
    const tq_error *e = tq_last_error();
    fail_msg("%s of \"%s\": %s", tq_status_name(e->status), e->field, e->message);
}

static void assert_row(const run *u, const batch *b, size_t at, const float *want) {
    const tq_attention_config *c = &b->config;
    const size_t size = size_of(c->out_type), dim = c->v_head_dim == 0 ? c->head_dim : c->v_head_dim;
    for (size_t d = 0; d < dim; d++) {
        uint8_t rounded[sizeof(float)];
        const uint8_t *got = (const uint8_t *)u->out.data + (at + d) * size;
        put_value(rounded, c->out_type, want[d]);
        if (memcmp(rounded, got, size) != 0)
            fail_msg("coordinate %zu: %02x%02x, a single call gives %g", d, got[1], got[0],
                     (double)want[d]);
    }
}

static void assert_scene(const run *u, const batch *b, const scene *s, size_t token) {
    const tq_attention_config *c = &b->config;
    const size_t n = s->params.n_queries, dim = scene_v_dim(s);
    const bool open = u->args.sum != NULL;
    whole w = whole_new(s);
    partial p = partial_new(s);
    if (open)
        attend_partly(s, s->segments, s->n_segments, &p);
    else
        attend(s, &w);
    for (size_t row = 0; row < scene_rows(s); row++) {
        const size_t h = row / n, t = token + row % n;
        const size_t at = t * token_stride(u->args.lse_token_stride, c->n_heads, 1) +
                          h * head_stride(u->args.lse_head_stride, 1);
        const float *want = open ? p.acc.data : w.out.data, *lse = w.lse.data, *max = p.max.data,
                    *sum = p.sum.data;
        assert_row(u, b,
                   t * token_stride(u->args.out_token_stride, c->n_heads, dim) +
                       h * head_stride(u->args.out_head_stride, dim),
                   want + row * dim);
        if (open) {
            assert_memory_equal(&u->args.max[at], &max[row], sizeof *max);
            assert_memory_equal(&u->args.sum[at], &sum[row], sizeof *sum);
        } else {
            assert_memory_equal(&u->args.lse[at], &lse[row], sizeof *lse);
        }
    }
    whole_free(&w);
    partial_free(&p);
}

void run_rows(const run *u, const batch *b, size_t i, float *out, float *lse) {
    const scene *s = &b->scenes[i];
    const size_t heads = b->config.n_heads, n = s->params.n_queries, dim = scene_v_dim(s);
    size_t token = 0;
    for (size_t j = 0; j < i; j++)
        token += b->scenes[j].params.n_queries;
    for (size_t row = 0; row < scene_rows(s); row++) {
        const size_t h = row / n, t = token + row % n;
        memcpy(out + row * dim,
               (const float *)u->out.data + t * token_stride(u->args.out_token_stride, heads, dim) +
                   h * head_stride(u->args.out_head_stride, dim),
               dim * sizeof *out);
        lse[row] = u->args.lse[t * token_stride(u->args.lse_token_stride, heads, 1) +
                               h * head_stride(u->args.lse_head_stride, 1)];
    }
}

void assert_as_single(const run *u, const batch *b) {
    for (size_t i = 0, token = 0; i < b->n; token += b->scenes[i++].params.n_queries)
        assert_scene(u, b, &b->scenes[i], token);
}
