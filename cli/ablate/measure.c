/* SPDX-License-Identifier: MIT
 * A path of an ablation measured against float64, row by row and stretch by stretch. */
#include "ablate/ablate.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>

#include "base/message.h"
#include "base/progress.h"
#include "measure/percentile.h"

/* The positions are looked at in so many parts, to tell where a sum goes wrong. */
enum { STRETCHES = 8 };

/* Sums of exponentials of float32 scores of a few units are good to this. */
static const double SUM_ERROR = 1e-5;

/* What the path gave, and room to compare it. */
typedef struct desk {
    const cli_references *references;
    const cli_path *path;
    measure_exact own, seen; /* what it should read; the keys that it does */
    size_t n_stretches;
    float *out[STRETCHES + 1], *lse[STRETCHES + 1]; /* of each stretch; last: of all positions */
    float *keys, *values;                           /* as read */
    double sum_error;                               /* of the log-sum-exps that went with the keys */
    double *p, *p_scores, *scores, *weights;        /* [T] */
    double *want, *terms;                           /* [D] */
    double *cosines;                                /* [n] of a head */
    double longest_key;                             /* of the head at hand */
    cli_ablation *result;
    cli_finding finding;
    /* sums over rows */
    double error_decoded, whole_decoded, error_original, whole_original, cosine, kl, same_top;
} desk;

static double *new_doubles(size_t n) {
    return calloc(n ? n : 1, sizeof(double));
}

static size_t n_rows(const measure_exact *x) {
    return x->n_heads * x->n_queries;
}

int cli_references_begin(cli_references *r, const measure_exact *original, const measure_exact *decoded) {
    const size_t dim = original->head_dim, n = original->n_positions;
    double *weights = new_doubles(n), *terms = new_doubles(dim);
    *r = (cli_references){.original = *original, .decoded = *decoded};
    r->original_out = new_doubles(n_rows(original) * dim);
    r->decoded_out = new_doubles(n_rows(original) * dim);
    const bool there = weights && terms && r->original_out && r->decoded_out;
    for (size_t row = 0; there && row < n_rows(original); row++) {
        const size_t h = row / original->n_queries, i = row % original->n_queries;
        measure_exact_attend(original, h, i, weights, r->original_out + row * dim, terms);
        measure_exact_attend(decoded, h, i, weights, r->decoded_out + row * dim, terms);
        cli_progress_add(i + 1 == original->n_queries);
    }
    free(weights);
    free(terms);
    return there ? CLI_DONE : cli_out_of_memory();
}

void cli_references_end(cli_references *references) {
    free(references->original_out);
    free(references->decoded_out);
}

/* Keeps the worst of the earliest stage, the first head, the first positions. */
static void note(desk *d, cli_stage stage, size_t h, size_t first, size_t n, double size, double bound) {
    const size_t origin = (size_t)d->path->segment.first_position + first;
    cli_finding *f = &d->finding;
    const bool same = f->stage == stage && f->head == h && f->first == origin;
    const bool earlier = f->stage == CLI_STAGE_NONE || stage < f->stage ||
                         (stage == f->stage && (h < f->head || (h == f->head && origin < f->first)));
    if (earlier || (same && size > f->size)) {
        *f = (cli_finding){.path = d->path->name,
                           .stage = stage,
                           .head = h,
                           .first = origin,
                           .last = origin + n - 1,
                           .size = size,
                           .bound = bound};
    }
}

/* Length of the error of an output row in units of its absolute terms. */
static double row_error(const desk *d, const float *out) {
    const size_t dim = d->own.head_dim;
    double error = 0.0;
    for (size_t j = 0; j < dim; j++)
        error += ((double)out[j] - d->want[j]) * ((double)out[j] - d->want[j]);
    const double terms = measure_exact_length(d->terms, dim);
    error = sqrt(error);
    /* The smallest numbers have fewer digits. */
    return error <= (double)FLT_MIN ? 0.0 : error / terms;
}

static double lse_error(double got, double want) {
    return got == want ? 0.0 : fabs(got - want) / fmax(1.0, fabs(want));
}

/* What the library promises of an output (tqkv/attention.h). */
static double row_bound(const desk *d, size_t h, size_t i) {
    const measure_exact *x = &d->own;
    const double query =
        measure_exact_float_length(x->q + (h * x->n_queries + i) * x->head_dim, x->head_dim);
    const double n = (double)x->n_positions, reach = fabs(x->scale) * query * d->longest_key;
    return ldexp(fmin(n, 512.0) + n / 16.0 + 16.0 + ((double)x->head_dim / 16.0 + 24.0) * reach, -23);
}

static double longest_key(const measure_exact *x, size_t h) {
    const float *k = x->k + measure_exact_group(x, h) * x->n_positions * x->head_dim;
    double longest = 0.0;
    for (size_t t = 0; t < x->n_positions; t++)
        longest = fmax(longest, measure_exact_float_length(k + t * x->head_dim, x->head_dim));
    return longest;
}

/* One stretch of a row, or all of it as the last one. Returns the error of the output. */
static double check_part(desk *d, size_t h, size_t i, size_t part, size_t first, size_t n, double bound) {
    const size_t row = h * d->own.n_queries + i;
    const bool all = part == STRETCHES;
    const double lse = measure_exact_softmax(d->scores + first, n, d->weights);
    measure_exact_output(&d->own, h, d->weights, first, n, d->want, d->terms);
    const double off = lse_error((double)d->lse[part][row], lse);
    const double error = row_error(d, d->out[part] + row * d->own.head_dim);
    /* Not written as off > bound, which NaN would pass. */
    if (!(off <= bound)) note(d, all ? CLI_STAGE_MERGE : CLI_STAGE_SOFTMAX, h, first, n, off, bound);
    if (!(error <= bound))
        note(d, all ? CLI_STAGE_MERGE : CLI_STAGE_ACCUMULATION, h, first, n, error, bound);
    return error;
}

static size_t stretch_begin(const desk *d, size_t s) {
    const size_t n = d->own.n_positions;
    return n / d->n_stretches * s + (n % d->n_stretches < s ? n % d->n_stretches : s);
}

static void check_row(desk *d, cli_ablate_row *row, size_t h, size_t i) {
    const double bound = row_bound(d, h, i);
    measure_exact_scores(&d->own, h, i, d->scores);
    for (size_t s = 0; s < d->n_stretches; s++) {
        const size_t first = stretch_begin(d, s);
        check_part(d, h, i, s, first, stretch_begin(d, s + 1) - first, bound);
    }
    const double error = check_part(d, h, i, STRETCHES, 0, d->own.n_positions, bound);
    row->worst = error > row->worst || isnan(error) ? error : row->worst;
    d->result->bound = fmax(d->result->bound, bound);
}

static void add_errors(desk *d, size_t h, size_t i) {
    const size_t dim = d->own.head_dim, at = (h * d->own.n_queries + i) * dim;
    double oo = 0.0, rr = 0.0, cross = 0.0;
    for (size_t j = 0; j < dim; j++) {
        const double o = (double)d->out[STRETCHES][at + j];
        const double r = d->references->original_out[at + j], x = d->references->decoded_out[at + j];
        d->error_decoded += (o - x) * (o - x);
        d->whole_decoded += x * x;
        d->error_original += (o - r) * (o - r);
        oo += o * o;
        rr += r * r;
        cross += o * r;
    }
    d->whole_original += rr;
    d->cosines[i] = oo == 0.0 || rr == 0.0 ? (oo == rr ? 1.0 : 0.0) : cross / sqrt(oo) / sqrt(rr);
    d->cosine += d->cosines[i];
}

static size_t heaviest(const double *scores, size_t n) {
    size_t best = 0;
    for (size_t t = 1; t < n; t++)
        best = scores[t] > scores[best] ? t : best;
    return best;
}

/* The softmax over the keys that the path reads, against that over the originals. */
static void add_divergence(desk *d, size_t h, size_t i) {
    const size_t n = d->own.n_positions;
    measure_exact_scores(&d->references->original, h, i, d->p_scores);
    const double p_lse = measure_exact_softmax(d->p_scores, n, d->p);
    measure_exact_scores(&d->seen, h, i, d->scores);
    const double lse = measure_exact_softmax(d->scores, n, d->weights);
    d->kl += measure_exact_divergence(d->p, d->p_scores, p_lse, d->scores, lse, n);
    d->same_top += heaviest(d->p_scores, n) == heaviest(d->scores, n);
}

static void measure_head(desk *d, cli_ablate_row *row, size_t h, double *all) {
    const size_t n = d->own.n_queries;
    d->longest_key = longest_key(&d->own, h);
    for (size_t i = 0; i < n; i++) {
        check_row(d, row, h, i);
        add_errors(d, h, i);
        add_divergence(d, h, i);
        all[h * n + i] = d->cosines[i];
        row->head_mean[h] += d->cosines[i] / (double)n;
    }
    measure_sort(d->cosines, n);
    row->head_p1[h] = d->cosines[measure_rank(n, 1)];
    cli_progress_add(1);
}

static double ratio(double error, double whole) {
    return whole > 0.0 ? sqrt(error / whole) : error > 0.0 ? (double)INFINITY : 0.0;
}

static int measure_rows(desk *d, cli_ablate_row *row) {
    const size_t rows = n_rows(&d->own);
    double *all = new_doubles(rows);
    row->head_mean = new_doubles(d->own.n_heads);
    row->head_p1 = new_doubles(d->own.n_heads);
    if (!all || !row->head_mean || !row->head_p1) {
        free(all);
        return cli_out_of_memory();
    }
    for (size_t h = 0; h < d->own.n_heads; h++)
        measure_head(d, row, h, all);
    row->nrmse_decoded = ratio(d->error_decoded, d->whole_decoded);
    row->nrmse_original = ratio(d->error_original, d->whole_original);
    row->cosine_mean = d->cosine / (double)rows;
    measure_sort(all, rows);
    row->cosine_p1 = all[measure_rank(rows, 1)];
    row->top1 = d->same_top / (double)rows;
    row->kl = d->kl / (double)rows;
    free(all);
    return CLI_DONE;
}

static bool desk_begin(desk *d) {
    const measure_exact *x = &d->own;
    const size_t kv = x->n_kv_heads, n = x->n_positions, dim = x->head_dim;
    bool there = true;
    for (size_t s = 0; s <= STRETCHES; s++) {
        d->out[s] = cli_new_floats(n_rows(x), dim, 1);
        d->lse[s] = cli_new_floats(n_rows(x), 1, 1);
        there = there && d->out[s] && d->lse[s];
    }
    d->keys = cli_new_floats(kv, n, dim);
    d->values = cli_new_floats(kv, n, dim);
    d->p = new_doubles(n);
    d->p_scores = new_doubles(n);
    d->scores = new_doubles(n);
    d->weights = new_doubles(n);
    d->want = new_doubles(dim);
    d->terms = new_doubles(dim);
    d->cosines = new_doubles(x->n_queries);
    return there && d->keys && d->values && d->p && d->p_scores && d->scores && d->weights && d->want &&
           d->terms && d->cosines;
}

static void desk_end(desk *d) {
    for (size_t s = 0; s <= STRETCHES; s++) {
        free(d->out[s]);
        free(d->lse[s]);
    }
    free(d->keys);
    free(d->values);
    free(d->p);
    free(d->p_scores);
    free(d->scores);
    free(d->weights);
    free(d->want);
    free(d->terms);
    free(d->cosines);
}

static tq_status run_path(desk *d) {
    TRY_STATUS(cli_path_keys(d->path, d->keys, &d->sum_error));
    TRY_STATUS(cli_path_values(d->path, d->values));
    for (size_t s = 0; s < d->n_stretches; s++) {
        const size_t first = stretch_begin(d, s);
        TRY_STATUS(
            cli_path_stretch(d->path, first, stretch_begin(d, s + 1) - first, d->out[s], d->lse[s]));
    }
    return cli_path_attend(d->path, d->out[STRETCHES], d->lse[STRETCHES]);
}

/* The earliest stage that is wrong. Keys are read by way of values: where both seem wrong, and nothing
 * that befalls keys explains it, the log-sum-exps tell whether keys are. */
static cli_finding find(const desk *d) {
    cli_finding keys, values;
    const bool bad_values = cli_find_misread(d->path, CLI_STAGE_VALUES, d->values, &values);
    if (cli_find_misread(d->path, CLI_STAGE_KEYS, d->keys, &keys)) {
        const bool explained = keys.cause != CLI_CAUSE_UNKNOWN && keys.cause != CLI_CAUSE_ROUNDING;
        if (explained || !bad_values || d->sum_error > SUM_ERROR) return keys;
    }
    return bad_values ? values : d->finding;
}

static int measure_desk(desk *d, cli_ablate_row *row) {
    if (!desk_begin(d)) return cli_out_of_memory();
    TRY(cli_check(d->path->name, run_path(d)));
    d->seen.k = d->keys;
    TRY(measure_rows(d, row));
    if (d->result->finding.stage == CLI_STAGE_NONE) d->result->finding = find(d);
    return CLI_DONE;
}

int cli_measure_path(const cli_references *references, const cli_path *path, const measure_exact *own,
                     cli_ablation *result, cli_ablate_row *row) {
    desk d = {.references = references, .path = path, .own = *own, .seen = *own, .result = result};
    d.n_stretches = own->n_positions < STRETCHES ? own->n_positions : STRETCHES;
    row->path = path->name;
    const int rc = measure_desk(&d, row);
    desk_end(&d);
    return rc;
}
