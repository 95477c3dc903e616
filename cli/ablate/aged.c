/* SPDX-License-Identifier: MIT
 * What positions are that age: float16 first, then codes less the centre of their stretch. Made without a
 * cache, from the rules in tqkv/cache.h, so that a cache can be held against it. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ablate/ablate.h"
#include "base/message.h"

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

static void fill_end(cli_ablate_side *s, const cli_heads *heads, const tq_cache_config *c) {
    const size_t all = heads->n_positions, dim = heads->head_dim, end = cli_encoded_end(c, all);
    for (size_t i = 0; i < heads->n_heads * all; i++) {
        const bool young = i % all < c->sinks || i % all >= end;
        memcpy(s->flat_end + i * dim, (young ? s->flat_young : s->flat_decoded) + i * dim,
               dim * sizeof *s->flat_end);
    }
}

static tq_status fill(cli_ablate_side *s, const cli_heads *heads, const tq_cache_config *c, bool is_keys,
                      cli_device *device) {
    const size_t all = heads->n_positions, dim = heads->head_dim, n = heads->n_heads * all * dim;
    cli_heads from = *heads;
    memcpy(s->flat_original, heads->data, n * sizeof *heads->data);
    TRY_STATUS(cli_round_to_half(heads->data, n, s->flat_young));
    if (cli_encodes_young(c)) from.data = s->flat_young;
    TRY_STATUS(cli_encode_aged(c, is_keys, &from, &s->encoded));
    TRY_STATUS(tq_encoded_get(&s->encoded, 0, all, TQ_ORIGINAL, s->flat_decoded, n, 0));
    TRY_STATUS(device ? cli_device_decode(device, &s->encoded, TQ_ROTATED, s->ring_decoded)
                      : tq_encoded_get(&s->encoded, 0, all, TQ_ROTATED, s->ring_decoded, n, 0));
    s->centre_length = longest(&s->encoded);
    fill_end(s, heads, c);
    return tq_rotate(&s->codec, TQ_ROTATED, heads->n_heads * all, s->flat_young, s->ring_young);
}

int cli_aged_side_build(const char *path, const cli_heads *heads, const tq_cache_config *config,
                        bool is_keys, cli_device *device, cli_ablate_side *side) {
    *side = (cli_ablate_side){.codec = is_keys ? config->layer.k : config->layer.v};
    float **all[] = {&side->flat_original, &side->flat_decoded, &side->flat_young,
                     &side->flat_end,      &side->ring_decoded, &side->ring_young};
    TRY(cli_check(path, tq_row_size(&side->codec, NULL, NULL)));
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        *all[i] = cli_new_floats(heads->n_heads, heads->n_positions, heads->head_dim);
        if (!*all[i]) return cli_out_of_memory();
    }
    return cli_check(path, fill(side, heads, config, is_keys, device));
}
