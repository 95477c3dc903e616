/* SPDX-License-Identifier: MIT
 * One row of a benchmark: an operation on a format, checked, then timed beside the machine's limit. */
#include "bench/bench.h"

#include <stdlib.h>
#include <string.h>

#include "base/message.h"
#include "measure/timing.h"

const char *const cli_bench_op_names[CLI_N_BENCH_OPS] = {"encode", "decode", "rotate", "requantize",
                                                         "attend"};

/* Ours, as measure_time() calls it. Outputs: codes and norms of encode, `out` of the others. */
typedef struct work {
    const cli_bench_case *bench;
    measure_slices slices;
    const float *in;
    float *out;
    uint8_t *codes;
    uint8_t *norms;
    tq_status status; /* the first failure */
} work;

static tq_status run_slice(const work *w, size_t slice) {
    const cli_bench_case *c = w->bench;
    const measure_slices *s = &w->slices;
    const tq_batch batch = {.heads = 1, .rows = s->rows, .parallel = c->parallel};
    const size_t n = s->rows * s->dim;
    const float *in = w->in + measure_dense_at(s, slice);
    float *out = w->out + measure_dense_at(s, slice);
    uint8_t *codes = w->codes + measure_codes_at(s, slice);
    uint8_t *norms = w->norms + measure_norms_at(s, slice);

    switch (c->op) {
    case CLI_BENCH_ENCODE:
        return tq_encode(&c->codec, &batch, in, n, NULL, 0, codes, s->rows * s->code_bytes, norms,
                         s->rows * s->norm_bytes);
    case CLI_BENCH_DECODE:
        return tq_decode(&c->codec, &batch, c->domain, codes, s->rows * s->code_bytes, norms,
                         s->rows * s->norm_bytes, NULL, 0, out, n);
    case CLI_BENCH_ROTATE:
        return tq_rotate(&c->codec, TQ_ROTATED, s->rows, in, out);
    default:
        return tq_requantize(c->codec.format, in, out, n);
    }
}

static void pass(void *context, size_t slice) {
    work *w = context;
    const tq_status status = run_slice(w, slice);
    if (w->status == TQ_OK) w->status = status;
}

enum { CHECK_ROWS = 256 };

/* Whether both hold the same results, for the rows of b that begin at row `first` of a. */
static bool same(const work *a, size_t first, const work *b) {
    const measure_slices *s = &b->slices;
    if (b->bench->op != CLI_BENCH_ENCODE)
        return memcmp(a->out + first * s->dim, b->out, s->rows * s->dim * sizeof(float)) == 0;
    return memcmp(a->codes + first * s->code_bytes, b->codes, s->rows * s->code_bytes) == 0 &&
           memcmp(a->norms + first * s->norm_bytes, b->norms, s->rows * s->norm_bytes) == 0;
}

/* Does CHECK_ROWS of the rows of `ours` again, into the arrays of `again`, and compares. */
static int check_rows(const work *ours, size_t first, const work *again) {
    const measure_slices *s = &ours->slices;
    const tq_codec *codec = &ours->bench->codec;
    work w = *again;
    w.in = ours->in + first * s->dim;
    if (ours->bench->op == CLI_BENCH_DECODE) {
        w.codes = ours->codes + first * s->code_bytes;
        w.norms = ours->norms + first * s->norm_bytes;
    }
    TRY(cli_check(NULL, run_slice(&w, 0)));
    return same(ours, first, &w)
               ? CLI_DONE
               : cli_fail("%s of %s at D = %u: other bytes than by the scalar level; nothing is timed",
                          cli_bench_op_names[w.bench->op], tq_format_name(codec->format),
                          codec->head_dim);
}

/* A whole slice at the level, in one call as when it is timed, and both its ends by scalar kernels. */
static int check_slice(const work *ours, measure_data *data, tq_isa isa, const work *again) {
    TRY(cli_check(NULL, tq_isa_set(TQ_ISA_SCALAR)));
    if (ours->bench->op == CLI_BENCH_DECODE)
        TRY(cli_check(NULL, measure_fill_codes(data, &ours->bench->codec, &ours->slices)));
    TRY(cli_check(NULL, tq_isa_set(isa)));
    TRY(cli_check(NULL, run_slice(ours, 0)));
    TRY(cli_check(NULL, tq_isa_set(TQ_ISA_SCALAR)));
    TRY(check_rows(ours, 0, again));
    return check_rows(ours, ours->slices.rows - again->slices.rows, again);
}

int cli_bench_check(const cli_bench_case *c, measure_data *data, tq_isa isa) {
    work ours = {
        .bench = c, .in = data->dense, .out = data->other, .codes = data->codes, .norms = data->norms};
    TRY(cli_check(NULL, measure_slice(&c->codec, c->set, c->threads, &ours.slices)));
    work again = ours;
    ours.slices.count = 1;
    again.slices.rows = ours.slices.rows < CHECK_ROWS ? ours.slices.rows : CHECK_ROWS;
    again.out = calloc(again.slices.rows, again.slices.dim * sizeof *again.out);
    again.norms = calloc(again.slices.rows, again.slices.norm_bytes);
    again.codes = calloc(again.slices.rows, again.slices.code_bytes);
    int rc = again.out && again.norms && again.codes ? check_slice(&ours, data, isa, &again)
                                                     : cli_out_of_memory();
    free(again.out);
    free(again.norms);
    free(again.codes);
    return rc == CLI_DONE ? cli_check(NULL, tq_isa_set(isa)) : rc;
}

/* A limit, as measure_time() calls it. */
typedef struct limit_work {
    measure_limit limit;
    const work *ours;
} limit_work;

static void limit_pass(void *context, size_t slice) {
    const limit_work *l = context;
    const work *w = l->ours;
    const size_t at = measure_dense_at(&w->slices, slice);
    measure_run_limit(l->limit, w->bench->parallel, w->bench->threads, w->in + at, w->out + at,
                      w->slices.rows, w->slices.dim);
}

/* Where both kinds of store are timed, the limit is the faster one. Sorts `theirs`. */
static void take_limit(measure_limit limit, double bytes, const double *ours, double *theirs,
                       double *ratios, size_t samples, cli_bench_result *result) {
    for (size_t i = 0; i < samples; i++)
        ratios[i] = theirs[i] / ours[i];
    const double gb_per_s = 1e-9 * bytes / measure_summarise(theirs, samples).median;
    if (gb_per_s > result->limit_gb_per_s) {
        const measure_summary share = measure_summarise(ratios, samples);
        result->limit = limit;
        result->limit_gb_per_s = gb_per_s;
        result->share = share.median;
        result->spread = share.spread;
    }
}

/* seconds: room for 1 + MEASURE_MOST_LIMITS times [samples], and for ratios. */
static void time_beside_limits(work *w, double *seconds, size_t samples, cli_bench_result *result) {
    measure_limit limits[MEASURE_MOST_LIMITS];
    limit_work limit_works[MEASURE_MOST_LIMITS];
    measure_subject subjects[1 + MEASURE_MOST_LIMITS] = {{.pass = pass, .work = w, .seconds = seconds}};
    const size_t n_limits =
        measure_limits_of(w->bench->op == CLI_BENCH_DECODE, w->bench->set == MEASURE_SET_RAM, limits);
    const double bytes = (double)(w->slices.rows * w->slices.dim * sizeof(float));

    for (size_t k = 0; k < n_limits; k++) {
        limit_works[k] = (limit_work){limits[k], w};
        subjects[1 + k] = (measure_subject){
            .pass = limit_pass, .work = &limit_works[k], .seconds = seconds + (1 + k) * samples};
    }
    measure_time(subjects, 1 + n_limits, samples, w->slices.count);
    *result = (cli_bench_result){0};
    for (size_t k = 0; k < n_limits; k++) {
        take_limit(limits[k], bytes, seconds, subjects[1 + k].seconds,
                   seconds + (1 + MEASURE_MOST_LIMITS) * samples, samples, result);
    }
    const double ours = measure_summarise(seconds, samples).median;
    result->gb_per_s = 1e-9 * bytes / ours;
    result->ns_per_row = 1e9 * ours / (double)w->slices.rows;
}

int cli_bench_run(const cli_bench_case *c, measure_data *data, size_t samples, cli_bench_result *result) {
    work w = {
        .bench = c, .in = data->dense, .out = data->other, .codes = data->codes, .norms = data->norms};
    TRY(cli_check(NULL, measure_slice(&c->codec, c->set, c->threads, &w.slices)));
    if (c->op == CLI_BENCH_DECODE) TRY(cli_check(NULL, measure_fill_codes(data, &c->codec, &w.slices)));
    double *seconds = calloc(samples, (2 + MEASURE_MOST_LIMITS) * sizeof *seconds);
    if (!seconds) return cli_out_of_memory();
    time_beside_limits(&w, seconds, samples, result);
    free(seconds);
    return cli_check(NULL, w.status);
}
