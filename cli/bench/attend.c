/* SPDX-License-Identifier: MIT
 * One row of a benchmark of attention: checked, then timed beside the machine's limits. */
#include "bench/attend.h"

#include <stdlib.h>

#include "base/message.h"
#include "measure/limits.h"
#include "measure/timing.h"

enum { LEAST_SAMPLES = 7, OURS = 0, READ = 1, FMA = 2, N_SUBJECTS = 3 };

uint64_t cli_attend_f16_bytes(const cli_attend_case *c) {
    enum { KEYS_AND_VALUES = 2, BYTES = 2 };
    return (uint64_t)KEYS_AND_VALUES * BYTES * c->kv_heads * c->positions * c->dim;
}

double cli_attend_flops(const cli_attend_case *c) {
    const double n = (double)c->queries;
    const double pairs = n * (double)c->positions - 0.5 * n * (n - 1.0);
    return 4.0 * (double)c->heads * (double)c->dim * pairs;
}

typedef struct work {
    const cli_attend_case *c;
    cli_attend_data data;
    tq_status status;   /* the first failure */
    double fma_of_pass; /* operations */
} work;

static void attend_pass(void *context, size_t slice) {
    work *w = context;
    (void)slice;
    const tq_status status = cli_attend_call(&w->data);
    if (w->status == TQ_OK) w->status = status;
}

static void read_pass(void *context, size_t slice) {
    const work *w = context;
    (void)slice;
    measure_run_read(w->c->parallel, w->c->threads, w->data.f16, w->data.f16_bytes);
}

static void fma_pass(void *context, size_t slice) {
    work *w = context;
    (void)slice;
    w->fma_of_pass = measure_run_fma(w->c->parallel, w->c->threads);
}

/* seconds: [N_SUBJECTS + 1][samples], the last for ratios. */
static void summarise(const work *w, double *seconds, size_t samples, cli_attend_result *result) {
    double *ours = seconds + OURS * samples, *read = seconds + READ * samples;
    double *ratios = seconds + N_SUBJECTS * samples;
    for (size_t i = 0; i < samples; i++)
        ratios[i] = read[i] / ours[i];
    result->spread = measure_summarise(ratios, samples).spread;
    result->seconds = measure_summarise(ours, samples).median;
    result->read_s = measure_summarise(read, samples).median;
    result->fma_rate = w->fma_of_pass / measure_summarise(seconds + FMA * samples, samples).median;
    result->share = result->read_s / result->seconds;
    result->samples = samples;
}

/* most: samples asked for, 0 where the time that they take decides. */
static int measure(work *w, size_t most, cli_attend_result *result) {
    enum { MOST_SAMPLES = 31 };
    static void (*const passes[N_SUBJECTS])(void *, size_t) = {attend_pass, read_pass, fma_pass};
    measure_subject subjects[N_SUBJECTS];
    for (size_t k = 0; k < N_SUBJECTS; k++)
        subjects[k] = (measure_subject){.pass = passes[k], .work = w};
    const size_t samples =
        most > 0 ? most : measure_fitting_samples(&subjects[OURS], LEAST_SAMPLES, MOST_SAMPLES);
    double *seconds = calloc(samples, (N_SUBJECTS + 1) * sizeof *seconds);
    if (!seconds) return cli_out_of_memory();
    for (size_t k = 0; k < N_SUBJECTS; k++)
        subjects[k].seconds = seconds + k * samples;
    measure_time(subjects, N_SUBJECTS, samples, 1);
    summarise(w, seconds, samples, result);
    free(seconds);
    return cli_check(NULL, w->status);
}

static size_t encoded_bytes(const cli_attend_side *side) {
    return side->code_bytes + side->norm_bytes;
}

int cli_attend_run(const cli_attend_case *c, size_t samples, cli_attend_result *result) {
    work w = {.c = c};
    int rc = cli_attend_data_begin(&w.data, c);
    *result =
        (cli_attend_result){.f16_bytes = (size_t)cli_attend_f16_bytes(c), .flops = cli_attend_flops(c)};
    if (rc == CLI_DONE) {
        result->kv_bytes =
            c->kv_heads * c->positions * (encoded_bytes(&w.data.k) + encoded_bytes(&w.data.v));
        const tq_status status = cli_attend_call(&w.data);
        rc = status == TQ_OK ? cli_attend_check(&w.data, &result->error) : cli_check(NULL, status);
    }
    if (rc == CLI_DONE) rc = measure(&w, samples, result);
    cli_attend_data_free(&w.data);
    return rc;
}
