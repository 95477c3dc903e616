/* SPDX-License-Identifier: MIT
 * A path whose attention is a device's, and what it can be seen to read there.
 *
 * A device reads codes alone, so that no values of ours can bring weights out. But under a window of one
 * position a query sees its own alone: the output is its value, and the log-sum-exp its score, which is a
 * coordinate of the key for a query along an axis. One call reads keys and values of many positions. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ablate/ablate.h"
#include "measure/exact.h"

tq_status cli_there_attend(const cli_path *path, const float *q, float *out, float *lse) {
    const cli_there *there = path->there;
    return cli_device_attend(there->device, &path->params, there->exact, &there->cache, q, out, lse);
}

/* What the library promises of a score of length `reach`, and of an output (tqkv/cuda_attention.h), of a
 * row that sees n positions. */
static double promise(const cli_there *there, size_t n, size_t dim, double reach) {
    if (!there->exact) return ldexp(reach, -9);
    return ldexp(fmin((double)n, 512.0) + (double)n / 16.0 + 16.0 + ((double)dim / 16.0 + 24.0) * reach,
                 -24);
}

double cli_there_row_bound(const cli_there *there, size_t n, size_t dim, double reach) {
    const double score = promise(there, n, dim, reach);
    return there->exact ? 2.0 * score : ldexp(1.0, -9) + score;
}

/* The longest key of head g. */
static double longest_of(const cli_path *path, size_t g) {
    const size_t dim = path->params.head_dim;
    double longest = 0.0;
    for (size_t t = 0; t < path->length; t++)
        longest = fmax(longest, measure_exact_float_length(path->k + (g * path->length + t) * dim, dim));
    return longest;
}

/* What queries of head g are multiplied by, a power of two: the longest key then has a score of at most
 * 1, and of more than a half. Bounds of outputs grow with longer ones, those of keys with shorter ones.
 */
static double gain(double longest) {
    return longest > 0.0 ? ldexp(1.0, -(int)ceil(log2(longest))) : 1.0;
}

double cli_there_key_bound(const cli_path *path, size_t g) {
    const double longest = longest_of(path, g), factor = gain(longest), dim = path->params.head_dim;
    if (longest == 0.0) return CLI_READ_BOUND;
    const double reach = factor * (longest + 2.0 * path->centre_length);
    const double lse = path->there->exact ? ldexp(reach, -24) : ldexp(1.0, -20) + ldexp(reach, -22);
    return sqrt(dim) * (promise(path->there, 1, path->params.head_dim, reach) + lse) / factor / longest;
}

double cli_there_value_bound(const cli_path *path, size_t g) {
    const double longest = longest_of(path, g);
    const double reach = gain(longest) * (longest + 2.0 * path->centre_length);
    /* and the smallest rounding of what is read */
    return cli_there_row_bound(path->there, 1, path->params.head_dim, reach) + ldexp(1.0, -22);
}

/* Positions that are read in one call, at most: outputs, of D heads for each that is read, are then 64
 * MiB, and a device's workspace for them some times that. */
static size_t positions_of_call(const cli_path *path) {
    const size_t dim = path->params.head_dim, most = (size_t)1 << 24;
    const size_t each = path->params.n_kv_heads * dim * dim;
    return each >= most ? 1 : most / each < path->length ? most / each : path->length;
}

/* A call that reads positions [first, first + n): D query heads for each that is read, a query of each
 * for each position, along axis j of its own. */
typedef struct reading {
    const cli_path *path;
    tq_attention_params params;
    cli_device_cache cache;
    size_t *lengths, *young_from;
    float *q, *out, *lse; /* [G D][n][D], [G D][n] */
} reading;

static tq_status begin(const cli_path *path, size_t n, reading *r) {
    const size_t dim = path->params.head_dim, heads = path->params.n_kv_heads * dim;
    *r = (reading){.path = path, .params = path->params, .cache = path->there->cache};
    r->params.n_heads = (uint32_t)heads;
    r->params.scale = 1.0f;
    r->params.softcap = 0.0f;
    r->params.bidirectional = 0;
    r->params.window = 1;
    r->lengths = calloc(n, sizeof *r->lengths);
    r->young_from = calloc(n, sizeof *r->young_from);
    r->q = cli_new_floats(heads, n, dim);
    r->out = cli_new_floats(heads, n, dim);
    r->lse = cli_new_floats(heads, n, 1);
    return r->lengths && r->young_from && r->q && r->out && r->lse ? TQ_OK : TQ_E_NO_MEMORY;
}

static void end(reading *r) {
    free(r->lengths);
    free(r->young_from);
    free(r->q);
    free(r->out);
    free(r->lse);
}

/* Queries along the axes, as the path hands them over. */
static void fill_queries(const reading *r, const double *gains, size_t n) {
    const size_t dim = r->params.head_dim, rows = r->params.n_heads * n;
    const float *signs = r->path->signs;
    memset(r->q, 0, rows * dim * sizeof *r->q);
    for (size_t row = 0; row < rows; row++) {
        const size_t j = row / n % dim;
        r->q[row * dim + j] = (float)gains[row / n / dim] * (signs ? signs[j] : 1.0f);
    }
}

static void take_results(const reading *r, const double *gains, size_t first, size_t n, float *keys,
                         float *values) {
    const size_t dim = r->params.head_dim, length = r->path->length;
    const float *signs = r->path->signs;
    for (size_t g = 0; g < r->params.n_kv_heads; g++)
        for (size_t t = 0; t < n; t++) {
            const size_t to = (g * length + first + t) * dim;
            for (size_t j = 0; j < dim; j++) {
                keys[to + j] = (float)((double)r->lse[(g * dim + j) * n + t] / gains[g]);
                values[to + j] = r->out[(g * dim * n + t) * dim + j] * (signs ? signs[j] : 1.0f);
            }
        }
}

static tq_status read_some(reading *r, const double *gains, size_t first, size_t n, float *keys,
                           float *values) {
    const cli_there *there = r->path->there;
    r->params.n_queries = n;
    for (size_t i = 0; i < n; i++) {
        r->lengths[i] = first + i + 1;
        r->young_from[i] = there->young_from_end < first + i + 1 ? there->young_from_end : first + i + 1;
    }
    r->cache.n_sequences = n;
    r->cache.lengths = r->lengths;
    r->cache.young_from = r->young_from;
    fill_queries(r, gains, n);
    TRY_STATUS(
        cli_device_attend(there->device, &r->params, there->exact, &r->cache, r->q, r->out, r->lse));
    take_results(r, gains, first, n, keys, values);
    return TQ_OK;
}

tq_status cli_there_read(const cli_path *path, float *keys, float *values) {
    const size_t heads = path->params.n_kv_heads, each = positions_of_call(path);
    double *gains = malloc(heads * sizeof *gains);
    reading r;
    tq_status status = begin(path, each, &r);
    if (!gains) status = TQ_E_NO_MEMORY;
    for (size_t g = 0; status == TQ_OK && g < heads; g++)
        gains[g] = gain(longest_of(path, g));
    for (size_t at = 0; status == TQ_OK && at < path->length; at += each)
        status =
            read_some(&r, gains, at, path->length - at < each ? path->length - at : each, keys, values);
    end(&r);
    free(gains);
    return status;
}
