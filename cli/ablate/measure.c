/* SPDX-License-Identifier: MIT
 * A path of an ablation run, held against float64, and its figures. */
#include "ablate/ablate.h"

#include <math.h>
#include <stdlib.h>

#include "base/message.h"
#include "measure/percentile.h"

/* Sums of exponentials of float32 scores of a few units are good to this. */
static const double SUM_ERROR = 1e-5;

static size_t part_begin(size_t n, size_t parts, size_t i) {
    return n / parts * i + (n % parts < i ? n % parts : i);
}

/* Parts are all positions, or stretches and then all. */
static bool begin(cli_outcome *o, const cli_path *path, bool in_stretches) {
    const size_t rows = (size_t)path->params.n_heads * path->params.n_queries, n = path->length;
    const size_t kv = path->params.n_kv_heads, dim = path->params.head_dim;
    const size_t stretches = !in_stretches ? 0 : n < CLI_STRETCHES ? n : CLI_STRETCHES;
    *o = (cli_outcome){.path = path, .n_parts = stretches + 1};
    bool there = true;
    for (size_t i = 0; i <= stretches; i++) {
        cli_part *p = &o->parts[i];
        p->begin = i == stretches ? 0 : part_begin(n, stretches, i);
        p->end = i == stretches ? n : part_begin(n, stretches, i + 1);
        p->out = cli_new_floats(rows, dim, 1);
        p->lse = cli_new_floats(rows, 1, 1);
        there = there && p->out && p->lse;
    }
    o->keys = cli_new_floats(kv, n, dim);
    o->values = cli_new_floats(kv, n, dim);
    return there && o->keys && o->values;
}

static void end(cli_outcome *o) {
    for (size_t i = 0; i < o->n_parts; i++) {
        free(o->parts[i].out);
        free(o->parts[i].lse);
    }
    free(o->keys);
    free(o->values);
}

/* Keys are read by way of values: where both seem wrong, and nothing that befalls keys explains it, the
 * log-sum-exps tell whether keys are. */
static void find_misread(cli_outcome *o, double sum_error) {
    cli_finding keys, values;
    const bool bad_values = cli_find_misread(o->path, CLI_STAGE_VALUES, o->values, &values);
    if (bad_values) o->misread = values;
    if (cli_find_misread(o->path, CLI_STAGE_KEYS, o->keys, &keys)) {
        const bool explained = keys.cause != CLI_CAUSE_UNKNOWN && keys.cause != CLI_CAUSE_ROUNDING;
        if (explained || !bad_values || sum_error > SUM_ERROR) o->misread = keys;
    }
}

/* A device's keys are read from log-sum-exps alone, whatever its values are. */
static tq_status run_there(cli_outcome *o) {
    TRY_STATUS(cli_path_attend(o->path, o->parts, o->n_parts));
    TRY_STATUS(cli_there_read(o->path, o->keys, o->values));
    find_misread(o, (double)INFINITY);
    return TQ_OK;
}

/* An ageing path is read after it has attended: its cache is then whole. */
static tq_status run_path(cli_outcome *o) {
    cli_path end = *o->path;
    double sum_error;
    if (end.there) return run_there(o);
    TRY_STATUS(cli_path_attend(o->path, o->parts, o->n_parts));
    if (end.ageing)
        TRY_STATUS(
            cli_ageing_segments(end.ageing, end.first + end.length, end.segments, &end.n_segments));
    TRY_STATUS(cli_path_keys(&end, o->keys, &sum_error));
    TRY_STATUS(cli_path_values(&end, o->values));
    find_misread(o, sum_error);
    return TQ_OK;
}

static double ratio(double error, double whole) {
    return whole > 0.0 ? sqrt(error / whole) : error > 0.0 ? (double)INFINITY : 0.0;
}

/* Mean and first percentile of the cosines of n rows, by way of `room`. */
static void sum_up_cosines(const cli_row_errors *rows, size_t n, double *room, double *mean, double *p1) {
    *mean = 0.0;
    for (size_t i = 0; i < n; i++) {
        room[i] = rows[i].cosine;
        *mean += rows[i].cosine / (double)n;
    }
    measure_sort(room, n);
    *p1 = room[measure_rank(n, 1)];
}

static void sum_up(const cli_row_errors *rows, size_t n_heads, size_t n_queries, double *room,
                   cli_ablate_row *row, double *bound) {
    const size_t n = n_heads * n_queries;
    size_t same_top = 0;
    double error_decoded = 0.0, whole_decoded = 0.0, error_original = 0.0, whole_original = 0.0;
    for (size_t i = 0; i < n; i++) {
        const cli_row_errors *r = &rows[i];
        error_decoded += r->error_decoded;
        whole_decoded += r->whole_decoded;
        error_original += r->error_original;
        whole_original += r->whole_original;
        row->kl += r->kl / (double)n;
        same_top += r->same_top;
        row->worst = r->worst > row->worst || isnan(r->worst) ? r->worst : row->worst;
        *bound = fmax(*bound, r->bound);
    }
    row->top1 = (double)same_top / (double)n;
    row->nrmse_decoded = ratio(error_decoded, whole_decoded);
    row->nrmse_original = ratio(error_original, whole_original);
    sum_up_cosines(rows, n, room, &row->cosine_mean, &row->cosine_p1);
    for (size_t h = 0; h < n_heads; h++)
        sum_up_cosines(rows + h * n_queries, n_queries, room, &row->head_mean[h], &row->head_p1[h]);
}

static int run_one(cli_outcome *o, const cli_path *path, bool in_stretches) {
    return begin(o, path, in_stretches) ? cli_check(path->name, run_path(o)) : cli_out_of_memory();
}

/* Where a row goes wrong though keys and values are read as they should be: in which stretch, if in one.
 */
static int localise(const measure_exact *truths, size_t n_truths, const tq_parallel *threads,
                    const cli_path *path, cli_row_errors *rows, cli_finding *finding) {
    cli_outcome outcome;
    cli_check_of check = {.outcome = &outcome, .rows = rows};
    int rc = run_one(&outcome, path, true);
    if (rc == CLI_DONE) rc = cli_check_rows(truths, n_truths, threads, &check, 1);
    if (rc == CLI_DONE && check.finding.stage != CLI_STAGE_NONE) *finding = check.finding;
    end(&outcome);
    return rc;
}

static int find_first(const measure_exact *truths, size_t n_truths, const tq_parallel *threads,
                      const cli_check_of *checks, cli_ablation *result) {
    for (size_t i = 0; i < result->n_rows; i++) {
        const cli_outcome *o = checks[i].outcome;
        result->finding = o->misread.stage != CLI_STAGE_NONE ? o->misread : checks[i].finding;
        if (result->finding.stage == CLI_STAGE_NONE) continue;
        if (o->misread.stage != CLI_STAGE_NONE) return CLI_DONE;
        if (!o->path->there)
            return localise(truths, n_truths, threads, o->path, checks[i].rows, &result->finding);
        result->finding.stage = CLI_STAGE_ATTENTION;
        return CLI_DONE;
    }
    return CLI_DONE;
}

static int measure(const measure_exact *truths, size_t n_truths, const tq_parallel *threads,
                   cli_check_of *checks, double *room, cli_ablation *result) {
    TRY(cli_check_rows(truths, n_truths, threads, checks, result->n_rows));
    for (size_t i = 0; i < result->n_rows; i++) {
        cli_ablate_row *row = &result->rows[i];
        row->path = checks[i].outcome->path->name;
        row->head_mean = calloc(truths->n_heads, sizeof *row->head_mean);
        row->head_p1 = calloc(truths->n_heads, sizeof *row->head_p1);
        if (!row->head_mean || !row->head_p1) return cli_out_of_memory();
        sum_up(checks[i].rows, truths->n_heads, truths->n_queries, room, row, &result->bound);
    }
    return find_first(truths, n_truths, threads, checks, result);
}

int cli_measure_paths(const measure_exact *truths, size_t n_truths, const tq_parallel *threads,
                      const cli_path *paths, cli_ablation *result) {
    const size_t n = truths->n_heads * truths->n_queries, n_paths = result->n_rows;
    cli_outcome outcomes[CLI_MAX_PATHS] = {{0}};
    cli_check_of checks[CLI_MAX_PATHS] = {{0}};
    double *room = calloc(n, sizeof *room);
    int rc = room ? CLI_DONE : cli_out_of_memory();
    for (size_t i = 0; rc == CLI_DONE && i < n_paths; i++) {
        checks[i] = (cli_check_of){.outcome = &outcomes[i], .rows = calloc(n, sizeof *checks[i].rows)};
        rc = checks[i].rows ? run_one(&outcomes[i], &paths[i], false) : cli_out_of_memory();
    }
    if (rc == CLI_DONE) rc = measure(truths, n_truths, threads, checks, room, result);
    for (size_t i = 0; i < n_paths; i++) {
        end(&outcomes[i]);
        free(checks[i].rows);
    }
    free(room);
    return rc;
}
