/* SPDX-License-Identifier: MIT
 * A way to compute attention over a cache, and what it can be seen to read there.
 *
 * Nothing is looked at inside the library. A query along axis j has scores that are coordinates j of the
 * keys; values of which position b is the unit vector b bring the weights out, and their logarithms are
 * the scores. The other way round, keys that are unit vectors give all weight to one position, and its
 * value comes out. Both run over many positions at once, through the kernels that serve any call. */
#include "ablate/ablate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/heads.h"
#include "measure/exact.h"

/* Positions that are looked at in one call. */
enum { BLOCK = 128 };

static void apply_signs(const cli_path *path, size_t rows, float *x) {
    const size_t dim = path->params.head_dim;
    for (size_t i = 0; path->signs && i < rows * dim; i++)
        x[i] *= path->signs[i % dim];
}

/* Queries of the original domain as the path hands them over, in place. */
static tq_status prepare(const cli_path *path, size_t rows, float *q) {
    apply_signs(path, rows, q);
    return path->k_codec ? tq_rotate(path->k_codec, TQ_ROTATED, rows, q, q) : TQ_OK;
}

/* The path's outputs to the original domain, in place. */
static tq_status finish(const cli_path *path, size_t rows, float *out) {
    const tq_status status =
        path->v_codec ? tq_rotate(path->v_codec, TQ_ORIGINAL, rows, out, out) : TQ_OK;
    apply_signs(path, rows, out);
    return status;
}

size_t cli_clip(const tq_segment *segments, size_t n, uint64_t begin, uint64_t end,
                tq_segment clipped[TQ_CACHE_SEGMENTS]) {
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        const uint64_t at = segments[i].first_position, stop = at + segments[i].length;
        const uint64_t from = at > begin ? at : begin, to = stop < end ? stop : end;
        if (from < to)
            clipped[kept++] = cli_stretch(&segments[i], (size_t)(from - at), (size_t)(to - from));
    }
    return kept;
}

static tq_status attend_parts(const cli_path *path, const float *q, const cli_part *parts,
                              size_t n_parts) {
    tq_status status = TQ_OK;
    /* All positions: of a device no others are asked for. */
    if (path->there) return cli_there_attend(path, q, parts->out, parts->lse);
    if (path->ageing) return cli_ageing_attend(path, q, parts, n_parts);
    for (size_t i = 0; status == TQ_OK && i < n_parts; i++) {
        const tq_segment part =
            cli_stretch(&path->segments[0], parts[i].begin, parts[i].end - parts[i].begin);
        status = cli_attend(&path->params, &part, q, parts[i].out, parts[i].lse);
    }
    return status;
}

tq_status cli_path_attend(const cli_path *path, const cli_part *parts, size_t n_parts) {
    const tq_attention_params *p = &path->params;
    const size_t rows = (size_t)p->n_heads * p->n_queries;
    float *q = cli_new_floats(rows, p->head_dim, 1);
    if (!q) return TQ_E_NO_MEMORY;
    memcpy(q, path->q, rows * p->head_dim * sizeof *q);
    tq_status status = prepare(path, rows, q);
    if (status == TQ_OK) status = attend_parts(path, q, parts, n_parts);
    for (size_t i = 0; status == TQ_OK && i < n_parts; i++)
        status = finish(path, rows, parts[i].out);
    free(q);
    return status;
}

/* Calls without a mask or a cap, with queries of their own, a head for each KV head. */
typedef struct probe {
    const cli_path *path;
    tq_attention_params params;
    float *q;     /* [G][n_queries][D] */
    float *units; /* [G][block][D] the unit vectors */
    size_t block;
    cli_partial out;
} probe;

static tq_status probe_begin(const cli_path *path, size_t n_queries, probe *p) {
    const size_t dim = path->params.head_dim;
    *p = (probe){.path = path, .params = path->params};
    p->params.n_heads = path->params.n_kv_heads;
    p->params.n_queries = n_queries;
    p->params.query_end = 0;
    p->params.scale = 1.0f;
    p->params.softcap = 0.0f;
    p->params.bidirectional = 1;
    p->params.window = 0;
    p->block = dim < BLOCK ? dim : BLOCK;
    p->q = cli_new_floats(p->params.n_heads, n_queries, dim);
    p->units = cli_new_floats(p->params.n_heads, p->block, dim);
    const tq_status status = cli_partial_new(&p->params, &p->out);
    return p->q && p->units ? status : TQ_E_NO_MEMORY;
}

static void probe_end(probe *p) {
    free(p->q);
    free(p->units);
    cli_partial_free(&p->out);
}

/* n unit vectors a head, times a factor. */
static void fill_units(const probe *p, size_t n, float factor, float *to) {
    const size_t dim = p->params.head_dim;
    memset(to, 0, p->params.n_heads * n * dim * sizeof *to);
    for (size_t r = 0; r < p->params.n_heads * n; r++)
        to[r * dim + r % n] = factor;
}

static tq_status units_view(const probe *p, size_t n, tq_view *view) {
    const size_t dim = p->params.head_dim, heads = p->params.n_heads;
    TRY_STATUS(tq_view_dense(view, TQ_F32, p->params.head_dim, heads, n, p->units, heads * n * dim));
    view->domain = p->params.domain;
    return TQ_OK;
}

/* What queries of head g are multiplied by: the longest key then has scores of length sqrt(D)/4 or a
 * little less. Weights of right keys cannot vanish then, and those of keys that are 20 times too long
 * hardly; longer queries would find more digits, shorter ones fewer. A power of two: it changes none. */
static double gain(const cli_path *path, size_t g) {
    const size_t dim = path->params.head_dim, length = path->length;
    double longest = 0.0;
    for (size_t t = 0; t < length; t++)
        longest = fmax(longest, measure_exact_float_length(path->k + (g * length + t) * dim, dim));
    if (longest == 0.0) return 1.0;
    return ldexp(1.0, (int)floor(log2(sqrt((double)dim) / 4.0 / longest)));
}

/* Weights of positions [first, first + n) for the query along axis j to coordinate j of their keys. */
static void read_scores(const probe *p, size_t g, double factor, size_t first, size_t n, float *keys) {
    const size_t dim = p->params.head_dim, length = p->path->length;
    for (size_t j = 0; j < dim; j++) {
        const size_t row = g * dim + j;
        for (size_t t = 0; t < n; t++) {
            const double weight = (double)p->out.acc[row * dim + t];
            const double score = weight > 0.0 ? log(weight) + (double)p->out.max[row] : (double)NAN;
            keys[(g * length + first + t) * dim + j] = (float)(score / factor);
        }
    }
}

/* How far the log-sum-exp of a query's scores is from that of the keys that should be read. */
static double sum_error_of(const probe *p, size_t g, double factor, size_t first, size_t n, size_t j) {
    const size_t dim = p->params.head_dim, row = g * dim + j;
    const float *truth = p->path->k + (g * p->path->length + first) * dim + j;
    double sum = 0.0; /* scores are at most sqrt(D)/4: no need to take the largest out */
    for (size_t t = 0; t < n; t++)
        sum += exp(factor * (double)truth[t * dim]);
    const double error = fabs(log((double)p->out.sum[row]) + (double)p->out.max[row] - log(sum));
    return isnan(error) ? (double)INFINITY : error;
}

/* A block of positions that lie in one segment. */
typedef struct block {
    tq_segment segment;
    size_t first, n; /* positions, from the path's first */
} block;

/* Goes on to the next block, from an empty one to the first; false after the last. */
static bool next_block(const probe *p, size_t *index, block *b) {
    const cli_path *path = p->path;
    for (; *index < path->n_segments; (*index)++, b->n = b->first = 0) {
        const tq_segment *s = &path->segments[*index];
        const size_t origin = (size_t)s->first_position - path->first;
        const size_t done = b->n == 0 ? 0 : b->first + b->n - origin, left = s->length - done;
        if (left == 0) continue;
        b->first = origin + done;
        b->n = left < p->block ? left : p->block;
        b->segment = cli_stretch(s, done, b->n);
        return true;
    }
    return false;
}

static tq_status probe_keys(const cli_path *path, probe *p, const double *gains, float *keys,
                            double *sum_error) {
    const size_t dim = p->params.head_dim, heads = p->params.n_heads;
    fill_units(p, dim, 1.0f, p->q);
    for (size_t i = 0; i < heads * dim * dim; i++)
        p->q[i] *= (float)gains[i / dim / dim];
    tq_status status = prepare(path, heads * dim, p->q);
    size_t index = 0;
    for (block b = {.n = 0}; status == TQ_OK && next_block(p, &index, &b);) {
        fill_units(p, b.n, 1.0f, p->units);
        status = units_view(p, b.n, &b.segment.v);
        if (status == TQ_OK) status = cli_attend_partial(&p->params, &b.segment, p->q, &p->out);
        for (size_t g = 0; status == TQ_OK && g < heads; g++) {
            read_scores(p, g, gains[g], b.first, b.n, keys);
            for (size_t j = 0; j < dim; j++)
                *sum_error = fmax(*sum_error, sum_error_of(p, g, gains[g], b.first, b.n, j));
        }
    }
    return status;
}

/* What nothing is read of is as it ought to be. */
static void fill_with_truth(const cli_path *path, const float *truth, float *read) {
    memcpy(read, truth, path->params.n_kv_heads * path->length * path->params.head_dim * sizeof *read);
}

tq_status cli_path_keys(const cli_path *path, float *keys, double *sum_error) {
    probe p;
    const size_t heads = path->params.n_kv_heads;
    double *gains = malloc(heads * sizeof *gains);
    tq_status status = probe_begin(path, path->params.head_dim, &p);
    *sum_error = 0.0;
    fill_with_truth(path, path->k, keys);
    if (!gains) status = TQ_E_NO_MEMORY;
    for (size_t g = 0; status == TQ_OK && g < heads; g++)
        gains[g] = gain(path, g);
    if (status == TQ_OK) status = probe_keys(path, &p, gains, keys, sum_error);
    free(gains);
    probe_end(&p);
    return status;
}

/* Positions each singled out by a score of 128 that no other has: their weights are e^-128 times
 * smaller, 0 in float32. */
static tq_status read_values(probe *p, block *b, float *values) {
    const size_t dim = p->params.head_dim, length = p->path->length, n = b->n;
    fill_units(p, n, 1.0f, p->units);
    fill_units(p, n, 128.0f, p->q);
    TRY_STATUS(units_view(p, n, &b->segment.k));
    p->params.n_queries = n;
    TRY_STATUS(cli_attend_partial(&p->params, &b->segment, p->q, &p->out));
    TRY_STATUS(finish(p->path, p->params.n_heads * n, p->out.acc));
    for (size_t g = 0; g < p->params.n_heads; g++)
        memcpy(values + (g * length + b->first) * dim, p->out.acc + g * n * dim,
               n * dim * sizeof *values);
    return TQ_OK;
}

tq_status cli_path_values(const cli_path *path, float *values) {
    const size_t dim = path->params.head_dim;
    probe p;
    tq_status status = probe_begin(path, dim < BLOCK ? dim : BLOCK, &p);
    size_t index = 0;
    fill_with_truth(path, path->v, values);
    for (block b = {.n = 0}; status == TQ_OK && next_block(&p, &index, &b);)
        status = read_values(&p, &b, values);
    probe_end(&p);
    return status;
}
