/* SPDX-License-Identifier: MIT
 * Kinds of layers at random, such that every head dimension, format and group of heads comes, and scenes
 * of each at random. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "answer.h"
#include "check.h"

enum { MOST_QUERIES = 17, MOST_LENGTH = 800 };

static const struct {
    uint32_t d, e;
} dims[] = {{128, 128}, {64, 64},   {256, 256}, {32, 32},     {576, 512}, {96, 96},   {80, 80},
            {512, 512}, {48, 48},   {192, 128}, {1024, 1024}, {112, 112}, {64, 128},  {256, 64},
            {192, 192}, {576, 576}, {512, 256}, {384, 384},   {640, 640}, {576, 128}, {1024, 256}};
static const tq_format formats[] = {TQ_TQ4, TQ_TQ2, TQ_TQ6, TQ_TQ3, TQ_TQ8, TQ_TQ5, TQ_TQ7};
static const tq_format v1_formats[] = {TQ_TQ4_V1, TQ_TQ8_V1, TQ_TQ6_V1, TQ_TQ5_V1};
static const uint32_t groups[] = {4, 1, 8, 2, 16, 3, 5, 7};
static const size_t stretches[] = {16, 100, 64, 2, 256, 7};

enum { N_DIMS = sizeof dims / sizeof dims[0] };

/* Formats of a side; v1's as far as the head dimension has them. */
static tq_format draw_format(uint32_t dim, size_t i, bool v1) {
    if (v1 && (dim == 256 || dim == 512)) return v1_formats[i % 4];
    return formats[i % 7];
}

static void draw_masks(tq_attention_config *c) {
    if (chance(25)) c->softcap = chance(50) ? 5.0f : 30.0f;
    if (chance(20)) c->bidirectional = 1;
    if (chance(35)) c->window = between(1, 90);
    if (c->window > 0 && chance(50)) c->sink_positions = between(1, 6);
}

/* Kind i: what must all come goes round, the rest is chance. */
static void draw_kind(tq_cuda_attention_config *config, size_t i) {
    tq_attention_config *c = &config->layer;
    *config = (tq_cuda_attention_config){.size = sizeof *config};
    const uint32_t group = groups[(i + i / 8) % 8];
    c->size = sizeof *c;
    c->n_kv_heads = (uint32_t)between(1, 3);
    c->n_heads = c->n_kv_heads * group;
    c->head_dim = dims[i % N_DIMS].d;
    c->v_head_dim = dims[i % N_DIMS].e == c->head_dim && chance(50) ? 0 : dims[i % N_DIMS].e;
    c->k_format = draw_format(c->head_dim, i + i / N_DIMS, i / N_DIMS % 2 == 0);
    c->v_format = draw_format(dims[i % N_DIMS].e, 3 * i + 1 + i / N_DIMS, i / N_DIMS % 3 != 1);
    if (chance(30) && dims[i % N_DIMS].e == c->head_dim) c->v_format = c->k_format;
    c->q_type = (tq_type)below(3), c->out_type = chance(50) ? TQ_F32 : (tq_type)below(3);
    c->domain = chance(20) ? TQ_ROTATED : TQ_ORIGINAL;
    c->scale = (chance(6) ? -1.0f : 1.0f) / sqrtf((float)c->head_dim);
    if (c->q_type != TQ_F16 && chance(8)) c->scale *= chance(50) ? 1e-30f : 1e28f;
    draw_masks(c);
    c->max_sequences = 5;
    c->max_queries = (size_t)5 * MOST_QUERIES;
    c->max_positions = MOST_LENGTH;
    config->accuracy = i % 2 == 0 ? TQ_CUDA_FAST : TQ_CUDA_EXACT; /* by turns for each dimension too */
    config->dense = chance(50);
    config->any_layout = chance(35);
    config->centre_stretch = TQ_IS_V1(c->k_format) || chance(60) ? 0 : stretches[below(6)];
}

static size_t draw_length(size_t most) {
    const size_t about = 16 * between(1, 10) + between(0, 2);
    const unsigned kind = (unsigned)below(10);
    size_t n = kind < 1   ? 0
               : kind < 5 ? between(1, 33)
               : kind < 8 ? about - 1
                          : between(100, MOST_LENGTH);
    return n > most ? between(1, most) : n;
}

/* The model's time is limited. */
static size_t most_length(const scene *s) {
    const tq_attention_config *c = &s->config.layer;
    const uint32_t e = c->v_head_dim == 0 ? c->head_dim : c->v_head_dim;
    const size_t one = scene_tokens(s) * c->n_heads * (c->head_dim + e);
    const size_t n = (size_t)16000000 / one;
    return n < 33 ? 33 : n > MOST_LENGTH ? MOST_LENGTH : n;
}

static void draw_lengths(scene *s) {
    for (size_t b = 0; b < s->n_sequences; b++) {
        size_t n = draw_length(most_length(s));
        if (s->n_tree > 0 && n > 0 && n < s->n_queries) n = s->n_queries;
        s->lengths[b] = n;
    }
}

/* Sinks, and positions not yet encoded: none, some, or all. */
static void draw_dense(scene *s) {
    static const size_t sinks[] = {0, 1, 4, 4, 7};
    s->n_sinks = sinks[below(5)];
    s->wide_dense = chance(40), s->permuted_dense = chance(40);
    s->code_first = chance(50) ? s->n_sinks : 0;
    if (chance(25)) return;
    s->has_coded = true;
    size_t most = 1;
    for (size_t b = 0; b < s->n_sequences; b++) {
        const size_t T = s->lengths[b], recent = between(1, chance(50) ? 12 : 90);
        const size_t kind = below(8);
        s->coded[b] = kind == 0 ? 0 : kind == 1 ? T + below(3) : T > recent ? T - recent : 0;
        const size_t begin = s->coded[b] > s->n_sinks ? s->coded[b] : s->n_sinks;
        if (T > begin && T - begin > most) most = T - begin;
    }
    s->recent_capacity = most + (chance(50) ? 0 : below(40));
}

static void draw_layout(scene *s) {
    static const size_t rows[] = {16, 64, 16, 32, 48, 128}, any_rows[] = {1, 5, 24, 16, 7, 64};
    static const layout even[] = {SIDE_BY_SIDE, GAPS, OUTERMOST};
    const bool any = s->config.any_layout != 0;
    s->layout = any && chance(85) ? (layout)(ODD + below(3)) : even[below(3)];
    s->page_rows = any ? any_rows[below(6)] : rows[below(6)];
    s->paged = chance(70);
    s->shared = s->paged && s->config.centre_stretch == 0 && chance(40);
}

static size_t up(size_t n, size_t to) {
    return (n + to - 1) / to * to;
}

/* An array, or where a window allows it a ring that has gone round. */
static void draw_ring(scene *s) {
    const tq_attention_config *c = &s->config.layer;
    size_t most = 1;
    for (size_t b = 0; b < s->n_sequences; b++) {
        const size_t coded = scene_coded(s, b);
        if (coded > s->code_first && coded - s->code_first > most) most = coded - s->code_first;
    }
    if (c->window > 0 && c->sink_positions <= s->n_sinks && chance(80)) {
        const size_t seen = (size_t)c->window + s->n_queries - 1;
        most = seen > s->n_tree ? seen : s->n_tree;
    }
    s->page_rows = s->config.any_layout ? most : up(most, 16);
    s->rows_of_capacity = chance(50);
}

static void draw_strides(scene *s) {
    const tq_attention_config *c = &s->config.layer;
    const size_t D = c->head_dim, H = c->n_heads, tokens = scene_tokens(s);
    const size_t E = c->v_head_dim == 0 ? D : c->v_head_dim;
    if (chance(30)) /* as in a packed projection */
        s->q_head = D, s->q_token = (H + 2 * (size_t)c->n_kv_heads) * D;
    else if (chance(30))
        s->q_head = D + below(4), s->q_token = H * s->q_head + below(4), s->q_lead = below(4);
    else if (chance(20)) /* heads outermost */
        s->q_token = D, s->q_head = tokens * D;
    if (chance(30))
        s->out_head = E + below(4), s->out_token = H * s->out_head + below(4), s->out_lead = below(4);
    else if (chance(20))
        s->out_token = E, s->out_head = tokens * E;
}

static void draw_extras(scene *s) {
    static const float spreads[] = {0.1f, 1.0f, 1.0f, 1.0f, 3.0f, 9.0f, 40.0f};
    s->lse = chance(70), s->base2 = chance(30), s->logits = chance(30);
    if (s->config.layer.out_type == TQ_F32) s->open = chance(25);
    s->slopes = s->n_tree == 0 && chance(20);
    s->slope_size = chance(50) ? 0.5f : 0.01f;
    s->spread = spreads[below(7)];
    s->centre = s->config.centre_stretch > 0 || (!TQ_IS_V1(s->config.layer.k_format) && chance(25));
    s->stretch = s->config.centre_stretch;
    if (chance(30)) s->centre_lead = between(1, 8);
    s->along = s->centre && chance(25);
    if (!s->shared && chance(15)) s->random_codes = true;
    s->ordinary = s->spread <= 3.0f && !s->random_codes;
}

static void draw_scene(scene *s, const tq_cuda_attention_config *config) {
    static const size_t queries[] = {1, 1, 1, 2, 3, 5, 8, 17};
    *s = (scene){.name = "drawn", .config = *config};
    s->n_sequences = between(1, 5), s->n_queries = queries[below(8)];
    const bool tree = s->config.layer.bidirectional == 0 && chance(25);
    s->n_tree = !tree ? 0 : chance(50) ? between(1, 70) : s->n_queries;
    draw_lengths(s);
    if (config->dense) draw_dense(s);
    draw_layout(s);
    draw_extras(s);
    draw_strides(s);
    if (!s->paged) draw_ring(s);
}

static void check_kind(const options *o, size_t i, const tq_cuda_attention_config *config,
                       const tq_cuda_attention *plan, const tq_cuda_attention_info *info) {
    for (size_t j = 0; j < o->scenes; j++) {
        scene s;
        const size_t failures = failed;
        if (o->one_scene >= 0 && j != (size_t)o->one_scene) continue;
        seed(o->seed * 1000000 + i * 1000 + j + 1);
        draw_scene(&s, config);
        check_scene(&s, plan, info);
        if (failed > failures)
            printf("    again: check_devices --only drawn --seed %llu --kind %zu --scene %zu\n",
                   (unsigned long long)o->seed, i, j);
    }
}

static void try_plan(size_t i, const tq_cuda_attention_config *config, tq_cuda_attention **plan,
                     tq_cuda_attention_info *info) {
    if (tq_cuda_attention_plan(cuda, config, plan, info) == TQ_OK) return;
#ifdef _OPENMP
#pragma omp critical
#endif
    expect(false, "kind %zu is not planned: D %u E %u, %s/%s, %u heads of %u, accuracy %d: %s", i,
           config->layer.head_dim, config->layer.v_head_dim, tq_format_name(config->layer.k_format),
           tq_format_name(config->layer.v_format), config->layer.n_heads, config->layer.n_kv_heads,
           (int)config->accuracy, tq_last_error()->message);
}

void check_drawn(const options *o) {
    tq_cuda_attention_config *configs = host(o->kinds * sizeof *configs);
    tq_cuda_attention **plans = host(o->kinds * sizeof *plans);
    tq_cuda_attention_info *infos = host(o->kinds * sizeof *infos);
    size_t origins[3] = {0};
    for (size_t i = 0; i < o->kinds; i++) {
        seed(o->seed * 1000000 + i * 1000);
        draw_kind(&configs[i], i);
    }
    const double begin = seconds();
#ifdef _OPENMP
#pragma omp parallel for schedule(dynamic, 1)
#endif
    for (size_t i = 0; i < o->kinds; i++)
        if (o->one_kind < 0 || i == (size_t)o->one_kind) try_plan(i, &configs[i], &plans[i], &infos[i]);
    const double planned = seconds();
    for (size_t i = 0; i < o->kinds; i++) {
        if (plans[i] == NULL) continue;
        origins[infos[i].origin % 3]++;
        check_kind(o, i, &configs[i], plans[i], &infos[i]);
        tq_cuda_attention_free(plans[i]);
    }
    printf("drawn: planned in %.1f s (%zu built in, %zu of the cache, %zu compiled), checked in %.1f s\n",
           planned - begin, origins[0], origins[1], origins[2], seconds() - planned);
    free(configs), free(plans), free(infos);
}
