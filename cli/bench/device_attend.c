/* SPDX-License-Identifier: MIT
 * A row of a device's attention: one call on a cache of any configuration, held against float64. */
#include <math.h>
#include <stdlib.h>

#include "base/message.h"
#include "bench/device.h"
#include "measure/exact.h"

/* Keys or values. */
typedef struct side {
    cli_heads original;
    float *young, *decoded; /* [G][T][D] */
    tq_encoded encoded;
} side;

typedef struct attend_row {
    const cli_device_case *c;
    tq_cache_config config;
    tq_attention_params params;
    float *values; /* keys, values and queries, which are not alike */
    side k, v;
    float *out, *lse;
    size_t *young_from; /* [n] the same for all: the cache as it is in the end */
    bool ages;
} attend_row;

static tq_status fill_side(const attend_row *r, bool is_keys, side *s) {
    const size_t n = s->original.n_heads * s->original.n_positions * s->original.head_dim;
    cli_heads from = s->original;
    TRY_STATUS(cli_round_to_half(s->original.data, n, s->young));
    if (cli_encodes_young(&r->config)) from.data = s->young;
    TRY_STATUS(cli_encode_aged(&r->config, is_keys, &from, &s->encoded));
    return tq_encoded_get(&s->encoded, 0, s->original.n_positions, TQ_ORIGINAL, s->decoded, n, 0);
}

static bool take_side(const attend_row *r, float *values, side *s) {
    const cli_device_case *c = r->c;
    s->original = (cli_heads){c->kv_heads, c->positions, c->dim, values};
    s->young = cli_new_floats(c->kv_heads, c->positions, c->dim);
    s->decoded = cli_new_floats(c->kv_heads, c->positions, c->dim);
    return s->young && s->decoded;
}

static int begin(const cli_device_case *c, attend_row *r) {
    const size_t each = c->kv_heads * c->positions * c->dim, rows = c->heads * c->queries;
    r->c = c;
    r->values = cli_new_floats(2 * each + rows * c->dim, 1, 1);
    r->out = cli_new_floats(rows, c->dim, 1);
    r->lse = cli_new_floats(rows, 1, 1);
    r->young_from = calloc(c->queries, sizeof *r->young_from);
    if (!r->values || !r->out || !r->lse || !r->young_from) return cli_out_of_memory();
    if (!take_side(r, r->values, &r->k) || !take_side(r, r->values + each, &r->v))
        return cli_out_of_memory();
    measure_fill_gaussian(r->values, 2 * each + rows * c->dim);
    r->config = cli_fit_config(&c->way.config, &r->k.original, 0);
    r->ages = cli_way_ages(&r->config);
    for (size_t i = 0; i < c->queries; i++)
        r->young_from[i] = cli_encoded_end(&r->config, c->positions);
    r->params = (tq_attention_params){.size = sizeof r->params,
                                      .n_heads = c->heads,
                                      .n_kv_heads = c->kv_heads,
                                      .head_dim = c->dim,
                                      .n_queries = c->queries,
                                      .query_end = c->positions,
                                      .scale = (float)(1.0 / sqrt((double)c->dim))};
    TRY(cli_check(NULL, fill_side(r, true, &r->k)));
    return cli_check(NULL, fill_side(r, false, &r->v));
}

static void end(attend_row *r) {
    side *const sides[] = {&r->k, &r->v};
    for (size_t i = 0; i < 2; i++) {
        free(sides[i]->young);
        free(sides[i]->decoded);
        tq_encoded_free(&sides[i]->encoded);
    }
    free(r->values);
    free(r->out);
    free(r->lse);
    free(r->young_from);
}

/* Of every head the first and the last query. */
static int find_error(const attend_row *r, double *worst) {
    const cli_device_case *c = r->c;
    const size_t each = c->kv_heads * c->positions * c->dim, dim = c->dim;
    const measure_exact x = {.n_heads = c->heads,
                             .n_kv_heads = c->kv_heads,
                             .head_dim = dim,
                             .n_queries = c->queries,
                             .n_positions = c->positions,
                             .first_query = c->positions - c->queries,
                             .scale = (double)r->params.scale,
                             .causal = true,
                             .q = r->values + 2 * each,
                             .k = r->k.decoded,
                             .v = r->v.decoded,
                             .k_young = r->ages ? r->k.young : NULL,
                             .v_young = r->ages ? r->v.young : NULL,
                             .young_from = r->young_from,
                             .n_sinks = r->config.sinks};
    double *room = calloc(c->positions + 2 * dim, sizeof *room), *out = room + c->positions;
    if (!room) return cli_out_of_memory();
    *worst = 0.0;
    for (size_t h = 0; h < c->heads; h++)
        for (size_t i = 0; i<c->queries; i += c->queries> 1 ? c->queries - 1 : 1) {
            measure_exact_attend(&x, h, i, room, out, out + dim);
            const double error =
                measure_exact_error(r->out + (h * c->queries + i) * dim, out, out + dim, dim);
            /* Not written as error > worst, which a NaN would pass. */
            *worst = error <= *worst ? *worst : error;
            if (isnan(error)) break;
        }
    free(room);
    return CLI_DONE;
}

static int check(const attend_row *r, double *error) {
    /* On normally distributed vectors a multiple of what is seen, far below what is promised. */
    const double bound = r->c->exact ? 1e-5 : 3e-3;
    TRY(find_error(r, error));
    if (*error <= bound) return CLI_DONE;
    return cli_fail("attention on %s at D = %u is off by %.3g of its absolute terms, %.0e is allowed; "
                    "nothing is told",
                    r->c->way.name, r->c->dim, *error, bound);
}

/* Codes and norms of what is encoded, float16 of the others. */
static int count_bytes(const attend_row *r, double *bytes) {
    const cli_device_case *c = r->c;
    const size_t end = r->young_from[0], coded = end > r->config.sinks ? end - r->config.sinks : 0;
    size_t codes[2], norms[2];
    TRY(cli_check(NULL, tq_row_size(&r->k.encoded.codec, &codes[0], &norms[0])));
    TRY(cli_check(NULL, tq_row_size(&r->v.encoded.codec, &codes[1], &norms[1])));
    *bytes = (double)c->kv_heads *
             ((double)coded * (double)(codes[0] + norms[0] + codes[1] + norms[1]) +
              (double)(c->positions - coded) * 2.0 * (double)c->dim * (double)sizeof(uint16_t));
    return CLI_DONE;
}

static int run(cli_device *device, attend_row *r, cli_device_result *result) {
    const size_t length = r->c->positions, each = r->c->kv_heads * length * r->c->dim;
    const cli_device_cache cache = {.k = &r->k.encoded,
                                    .v = &r->v.encoded,
                                    .k_young = r->ages ? r->k.young : NULL,
                                    .v_young = r->ages ? r->v.young : NULL,
                                    .n_sinks = r->config.sinks,
                                    .n_sequences = 1,
                                    .lengths = &length,
                                    .young_from = r->young_from};
    cli_device_time(device, &result->timing);
    TRY(cli_check(NULL, cli_device_attend(device, &r->params, r->c->exact, &cache, r->values + 2 * each,
                                          r->out, r->lse)));
    TRY(check(r, &result->error));
    result->f16_bytes = 4.0 * (double)each;
    return count_bytes(r, &result->bytes);
}

int cli_device_attend_run(cli_device *device, const cli_device_case *c, cli_device_result *result) {
    attend_row r = {0};
    int rc = begin(c, &r);
    if (rc == CLI_DONE) rc = run(device, &r, result);
    cli_device_time(device, NULL);
    end(&r);
    return rc;
}
