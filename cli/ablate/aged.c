/* SPDX-License-Identifier: MIT
 * What positions are that age: float16 first, then codes less the centre of their stretch. Made without a
 * cache, from the rules in tqkv/cache.h, so that a cache can be held against it. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ablate/ablate.h"
#include "base/message.h"

static size_t smaller(size_t a, size_t b) {
    return a < b ? a : b;
}

static size_t larger(size_t a, size_t b) {
    return a > b ? a : b;
}

static tq_status round_to_half(const float *from, size_t n, float *to) {
    uint16_t *halves = malloc(n * sizeof *halves);
    tq_status status = halves ? tq_round_centre(from, halves, n) : TQ_E_NO_MEMORY;
    for (size_t i = 0; status == TQ_OK && i < n; i++)
        to[i] = cli_half(halves[i]);
    free(halves);
    return status;
}

/* Of a stretch that begins at `begin`: its first keys, as far as they are no sinks. */
static tq_status learn(const tq_cache_config *c, const cli_heads *keys, size_t begin, uint16_t *centre) {
    const size_t all = keys->n_positions, dim = keys->head_dim, from = larger(begin, c->sinks);
    const size_t left = c->centre_stretch == 0             ? all
                        : begin + c->centre_stretch > from ? begin + c->centre_stretch - from
                                                           : 0;
    const size_t there = from < all ? smaller(left, all - from) : 0;
    const tq_batch batch = {
        .heads = keys->n_heads, .rows = smaller(c->learn_centre, there), .dense_head_stride = all * dim};
    if (batch.rows == 0) return TQ_OK;
    return tq_learn_centre((uint32_t)dim, &batch, keys->data + from * dim,
                           (keys->n_heads * all - from) * dim, centre, keys->n_heads * dim);
}

/* The longest of n_centres * G vectors. */
static double longest(const tq_encoded *e) {
    const size_t dim = e->codec.head_dim;
    double most = 0.0;
    for (size_t i = 0; i < e->n_centres * e->n_kv_heads; i++) {
        double sum = 0.0;
        for (size_t d = 0; d < dim; d++) {
            const double value = (double)cli_half(e->centre[i * dim + d]);
            sum += value * value;
        }
        most = fmax(most, sqrt(sum));
    }
    return most;
}

/* All positions as codes, whether or not they get there. */
static tq_status encode(const tq_cache_config *c, bool is_keys, const cli_heads *from, tq_encoded *e,
                        const tq_codec *codec) {
    const size_t all = from->n_positions, stretch = c->centre_stretch;
    const size_t n = !is_keys || c->learn_centre == 0 ? 0 : stretch ? (all - 1) / stretch + 1 : 1;
    TRY_STATUS(tq_encoded_alloc(e, codec, from->n_heads, all, n, n ? stretch : 0));
    for (size_t i = 0; i < n; i++)
        TRY_STATUS(learn(c, from, i * stretch, e->centre + i * from->n_heads * from->head_dim));
    return tq_encoded_put(e, all, from->data, from->n_heads * all * from->head_dim, 0);
}

static void fill_end(cli_ablate_side *s, const cli_heads *heads, const tq_cache_config *c) {
    const size_t all = heads->n_positions, dim = heads->head_dim, end = cli_encoded_end(c, all);
    for (size_t i = 0; i < heads->n_heads * all; i++) {
        const bool young = i % all < c->sinks || i % all >= end;
        memcpy(s->flat_end + i * dim, (young ? s->flat_young : s->flat_decoded) + i * dim,
               dim * sizeof *s->flat_end);
    }
}

static tq_status fill(cli_ablate_side *s, const cli_heads *heads, const tq_cache_config *c,
                      bool is_keys) {
    const size_t all = heads->n_positions, dim = heads->head_dim, n = heads->n_heads * all * dim;
    cli_heads from = *heads;
    memcpy(s->flat_original, heads->data, n * sizeof *heads->data);
    TRY_STATUS(round_to_half(heads->data, n, s->flat_young));
    /* With sinks alone codes come from what was appended. */
    if (c->recent > 0 || c->learn_centre > 0) from.data = s->flat_young;
    TRY_STATUS(encode(c, is_keys, &from, &s->encoded, &s->codec));
    TRY_STATUS(tq_encoded_get(&s->encoded, 0, all, TQ_ORIGINAL, s->flat_decoded, n, 0));
    TRY_STATUS(tq_encoded_get(&s->encoded, 0, all, TQ_ROTATED, s->ring_decoded, n, 0));
    s->centre_length = longest(&s->encoded);
    fill_end(s, heads, c);
    return tq_rotate(&s->codec, TQ_ROTATED, heads->n_heads * all, s->flat_young, s->ring_young);
}

int cli_aged_side_build(const char *path, const cli_heads *heads, const tq_cache_config *config,
                        bool is_keys, cli_ablate_side *side) {
    *side = (cli_ablate_side){.codec = is_keys ? config->layer.k : config->layer.v};
    float **all[] = {&side->flat_original, &side->flat_decoded, &side->flat_young,
                     &side->flat_end,      &side->ring_decoded, &side->ring_young};
    TRY(cli_check(path, tq_row_size(&side->codec, NULL, NULL)));
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        *all[i] = cli_new_floats(heads->n_heads, heads->n_positions, heads->head_dim);
        if (!*all[i]) return cli_out_of_memory();
    }
    return cli_check(path, fill(side, heads, config, is_keys));
}
