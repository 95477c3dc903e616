/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codec.h"
#include "tqkv/tqkv.h"

enum { PAGE_ROWS = 64, LEAST_SLOTS = 4096, MOST_DIM = 1024 };

typedef struct encoding {
    const encode_row *row;
    stage *s;
    size_t slots, stretches, sets;
    int64_t *slot, *position; /* host [tokens] */
    tq_cuda_side k[MOST_SETS], v[MOST_SETS];
    tq_cuda_encode_params params[MOST_SETS];
} encoding;

static size_t size_of(tq_type type) {
    return type == TQ_F32 ? 4 : 2;
}

static size_t code_bytes(tq_format format, uint32_t dim) {
    size_t bytes = 0;
    const tq_codec codec = {.format = format, .head_dim = dim};
    return tq_row_size(&codec, &bytes, NULL) == TQ_OK ? bytes : 0;
}

/* Slots in random order of pages, positions anywhere: tokens of a prompt, or of as many sequences. */
static int host_arrays(encoding *e) {
    const size_t n = e->row->tokens;
    e->slot = malloc(2 * n * sizeof *e->slot);
    if (e->slot == NULL) return 0;
    e->position = e->slot + n;
    const size_t pages = e->slots / PAGE_ROWS, turn = stage_random() % pages;
    for (size_t t = 0; t < n; t++) {
        const size_t spread = n < pages ? t * PAGE_ROWS + t % PAGE_ROWS : t;
        const size_t page = (spread / PAGE_ROWS * 5 + turn) % pages; /* pages: a power of two */
        e->slot[t] = (int64_t)(page * PAGE_ROWS + spread % PAGE_ROWS);
        e->position[t] = (int64_t)(t % (e->stretches * TQ_DEFAULT_CENTRE_STRETCH));
    }
    return 1;
}

static int side(encoding *e, tq_format format, uint64_t *fault, tq_cuda_side *x) {
    const encode_row *row = e->row;
    const size_t rows = e->slots * row->kv_heads;
    *x = (tq_cuda_side){.codec = {.format = format, .head_dim = row->dim},
                        .src_type = row->type,
                        .n_codes = rows * code_bytes(format, row->dim),
                        .n_norms = rows * 2,
                        .fault = fault};
    x->src = take(&e->s->values, row->tokens * row->kv_heads * row->dim * size_of(row->type));
    x->codes = take(&e->s->codes, x->n_codes);
    x->norms = take(&e->s->norms, x->n_norms);
    return x->src != NULL && x->codes != NULL && x->norms != NULL;
}

/* Small ones, or many values would be less well told in float16 than they are. */
static int centres(encoding *e, const uint16_t *centre, tq_cuda_side *k) {
    if (!e->row->centres) return 1;
    k->centre = centre;
    k->n_centres = e->stretches;
    k->centre_stretch = TQ_DEFAULT_CENTRE_STRETCH;
    return centre != NULL;
}

static uint16_t *upload_centres(encoding *e) {
    const size_t n = e->stretches * e->row->kv_heads * e->row->dim;
    uint16_t *host = malloc(n * sizeof *host), *centre = NULL;
    if (host == NULL) return NULL;
    for (size_t i = 0; i < n; i++) {
        const float x = 0.5f * stage_normal();
        host[i] = 0;
        (void)tq_round_centre(&x, &host[i], 1);
    }
    centre = take_copy(&e->s->scratch, host, n * sizeof *host);
    free(host);
    return centre;
}

static int encoding_open(encoding *e, stage *s, const encode_row *row) {
    const uint64_t none[2] = {UINT64_MAX, UINT64_MAX};
    const size_t each = row->tokens * sizeof(int64_t);
    *e = (encoding){.row = row, .s = s, .slots = LEAST_SLOTS, .stretches = 32};
    while (e->slots < row->tokens)
        e->slots *= 2;
    if (!host_arrays(e)) return 0;
    const tq_cuda_encode_params shared = {.size = sizeof shared,
                                          .n_tokens = row->tokens,
                                          .n_kv_heads = row->kv_heads,
                                          .page_rows = PAGE_ROWS,
                                          .n_slots = e->slots,
                                          .slots = take_copy(&s->scratch, e->slot, each),
                                          .positions = take_copy(&s->scratch, e->position, each)};
    uint64_t *fault = take_copy(&s->scratch, none, sizeof none);
    const uint16_t *centre = row->centres ? upload_centres(e) : NULL;
    const size_t source = 2 * row->tokens * row->kv_heads * row->dim * size_of(row->type);
    e->sets = stage_sets(s, source, source, &s->values);
    int there = shared.slots != NULL && shared.positions != NULL && fault != NULL && e->sets > 0;
    for (size_t i = 0; i < e->sets && there; i++) {
        there = side(e, row->k, fault, &e->k[i]) && centres(e, centre, &e->k[i]) &&
                side(e, row->v, fault + 1, &e->v[i]);
        e->params[i] = shared;
        e->params[i].k = &e->k[i];
        e->params[i].v = &e->v[i];
    }
    return there;
}

static tq_status launch(void *work, size_t i, cudaStream_t stream) {
    const encoding *e = work;
    return tq_cuda_encode(e->s->cuda, &e->params[i % e->sets], stream);
}

static void source_of(const encoding *e, const tq_cuda_side *x, size_t vector, float *to) {
    const size_t dim = e->row->dim, at = vector * dim;
    uint16_t halves[MOST_DIM];
    if (e->row->type == TQ_F32) {
        download(to, (const float *)x->src + at, dim * sizeof *to);
        return;
    }
    download(halves, (const uint16_t *)x->src + at, dim * sizeof *halves);
    for (size_t d = 0; d < dim; d++)
        to[d] = from_bf16(halves[d]);
}

/* The last head of a token: the CPU's bytes. */
static int same(const encoding *e, const tq_cuda_side *x, size_t token) {
    const encode_row *row = e->row;
    const size_t g = row->kv_heads - 1, bytes = code_bytes(x->codec.format, row->dim);
    const size_t page = (size_t)e->slot[token] / PAGE_ROWS, in = (size_t)e->slot[token] % PAGE_ROWS;
    const size_t at = (page * row->kv_heads + g) * PAGE_ROWS + in;
    const tq_batch one = {.heads = 1, .rows = 1};
    float values[MOST_DIM];
    uint16_t centre[MOST_DIM];
    uint8_t codes[MOST_DIM], right[MOST_DIM], norm[2], right_norm[2];
    source_of(e, x, token * row->kv_heads + g, values);
    if (x->centre != NULL) {
        const size_t stretch = (size_t)e->position[token] / TQ_DEFAULT_CENTRE_STRETCH;
        download(centre, x->centre + (stretch * row->kv_heads + g) * row->dim, row->dim * sizeof *centre);
    }
    download(codes, (const char *)x->codes + at * bytes, bytes);
    download(norm, (const char *)x->norms + at * 2, 2);
    return tq_encode(&x->codec, &one, values, row->dim, x->centre != NULL ? centre : NULL,
                     x->centre != NULL ? row->dim : 0, right, bytes, right_norm, 2) == TQ_OK &&
           memcmp(codes, right, bytes) == 0 && memcmp(norm, right_norm, 2) == 0;
}

static int check(encoding *e) {
    const tq_status status = launch(e, 0, e->s->stream);
    uint64_t fault[2];
    if (status != TQ_OK) {
        print_failed("tq_cuda_encode", tq_last_error()->message);
        return 0;
    }
    need(cudaStreamSynchronize(e->s->stream), "tq_cuda_encode");
    download(fault, e->k[0].fault, sizeof fault);
    const size_t last = e->row->tokens - 1;
    if (fault[0] == UINT64_MAX && fault[1] == UINT64_MAX && same(e, &e->k[0], 0) &&
        same(e, &e->k[0], last) && same(e, &e->v[0], 0) && same(e, &e->v[0], last))
        return 1;
    print_failed("wrong result", "not the bytes of the CPU");
    return 0;
}

static void time_encoding(encoding *e) {
    const encode_row *row = e->row;
    const size_t vectors = row->tokens * row->kv_heads;
    const size_t source = 2 * vectors * row->dim * size_of(row->type);
    timing t;
    if (!check(e)) return;
    if (stage_time(e->s, launch, e, stage_launches(e->sets, source), &t) != TQ_OK) {
        print_failed("tq_cuda_encode, captured", tq_last_error()->message);
        return;
    }
    print_timing(&t);
    printf(", \"sets\": %zu, \"source_bytes\": %zu, \"bytes\": %zu}\n", e->sets, source,
           source + vectors * (code_bytes(row->k, row->dim) + code_bytes(row->v, row->dim) + 4));
}

void encode_measure(stage *s, const encode_row *row, int there_is_time) {
    static encoding e;
    printf("{\"kind\": \"encode\", \"tokens\": %zu, \"kv_heads\": %u, \"dim\": %u, \"k\": \"%s\", "
           "\"v\": \"%s\", \"type\": \"%s\", \"centres\": %s, ",
           row->tokens, row->kv_heads, row->dim, tq_format_name(row->k), tq_format_name(row->v),
           row->type == TQ_F32 ? "f32" : "bf16", row->centres ? "true" : "false");
    if (!there_is_time) {
        print_failed("time", "none was left");
        return;
    }
    stage_reset(s, row->dim, row->type);
    if (encoding_open(&e, s, row))
        time_encoding(&e);
    else
        print_failed("memory", "the row does not fit");
    free(e.slot);
    s->norms_dim = 0; /* overwritten */
    fflush(stdout);
}
