/* SPDX-License-Identifier: MIT
 * Times all formats and the machine's limits beside each other. */
#include "speeds.h"

#include <stdlib.h>
#include <string.h>

#include "measure/timing.h"

enum { MAX_SUBJECTS = N_PEER_FORMATS + MEASURE_MOST_LIMITS };

/* What a format or a limit works with. */
typedef struct work {
    const peer_format *format; /* NULL: a limit */
    measure_limit limit;
    const measure_slices *slices;
    const float *in;
    float *out;
    uint8_t *codes;
    size_t slice_bytes; /* of codes */
    int failed;
} work;

static void encode_pass(void *context, size_t slice) {
    work *w = context;
    w->failed |=
        peer_encode(w->format, w->slices->rows, w->slices->dim,
                    w->in + measure_dense_at(w->slices, slice), w->codes + slice * w->slice_bytes);
}

static void decode_pass(void *context, size_t slice) {
    work *w = context;
    w->failed |=
        peer_decode(w->format, w->slices->rows, w->slices->dim, w->codes + slice * w->slice_bytes,
                    TQ_ROTATED, w->out + measure_dense_at(w->slices, slice));
}

static void limit_pass(void *context, size_t slice) {
    const work *w = context;
    const size_t at = measure_dense_at(w->slices, slice);
    measure_run_limit(w->limit, NULL, 1, w->in + at, w->out + at, w->slices->rows, w->slices->dim);
}

/* The data repeat, so that all slices have the same codes; but they lie apart. */
static int fill_codes(work *w) {
    w->codes = calloc(w->slices->count, w->slice_bytes);
    if (!w->codes) return -1;
    encode_pass(w, 0);
    for (size_t i = 1; i < w->slices->count; i++)
        memcpy(w->codes + i * w->slice_bytes, w->codes, w->slice_bytes);
    return w->failed;
}

static double median_of(const double *seconds, size_t samples, double *scratch) {
    memcpy(scratch, seconds, samples * sizeof *scratch);
    return measure_summarise(scratch, samples).median;
}

/* subjects: the formats that take part, then n_limits limits. */
static void take_speeds(const measure_subject *subjects, size_t n_formats, size_t n_limits,
                        size_t samples, double *scratch, peer_speeds *speeds) {
    const measure_subject *fastest = &subjects[n_formats];
    const work *w = fastest->work;
    const double gb = 1e-9 * (double)(w->slices->rows * w->slices->dim * sizeof(float));
    for (size_t k = 1; k < n_limits; k++) {
        const measure_subject *other = &subjects[n_formats + k];
        if (median_of(other->seconds, samples, scratch) < median_of(fastest->seconds, samples, scratch))
            fastest = other;
    }
    speeds->limit = ((const work *)fastest->work)->limit;
    speeds->limit_gb_per_s = gb / median_of(fastest->seconds, samples, scratch);
    for (size_t k = 0; k < n_formats; k++) {
        const size_t index = (size_t)(((const work *)subjects[k].work)->format - peer_formats);
        const double seconds = median_of(subjects[k].seconds, samples, scratch);
        for (size_t i = 0; i < samples; i++)
            scratch[i] = fastest->seconds[i] / subjects[k].seconds[i];
        const measure_summary share = measure_summarise(scratch, samples);
        speeds->formats[index] = (peer_speed){gb / seconds, share.median, share.spread};
    }
}

static int measure_way(int way, measure_set set, work *works, size_t n_formats, size_t samples,
                       peer_speeds *speeds) {
    measure_subject subjects[MAX_SUBJECTS];
    measure_limit limits[MEASURE_MOST_LIMITS];
    const size_t n_limits = measure_limits_of(way == PEER_FROM_CODES, set == MEASURE_SET_RAM, limits);
    const size_t n = n_formats + n_limits;
    int failed = 0;
    double *seconds = calloc(n + 1, samples * sizeof *seconds);
    if (!seconds) return -1;
    for (size_t k = 0; k < n; k++) {
        works[k].limit = k < n_formats ? MEASURE_LIMIT_STORE : limits[k - n_formats];
        subjects[k] = (measure_subject){.pass = k >= n_formats         ? limit_pass
                                                : way == PEER_TO_CODES ? encode_pass
                                                                       : decode_pass,
                                        .work = &works[k],
                                        .seconds = seconds + k * samples};
    }
    measure_time(subjects, n, samples, works[0].slices->count);
    take_speeds(subjects, n_formats, n_limits, samples, seconds + n * samples, speeds);
    for (size_t k = 0; k < n; k++)
        failed |= works[k].failed;
    free(seconds);
    return failed ? -1 : 0;
}

int peer_measure(measure_data *data, measure_set set, size_t dim, size_t samples,
                 peer_speeds speeds[N_PEER_WAYS]) {
    const tq_codec any = {.format = TQ_TQ4, .head_dim = (uint32_t)dim};
    measure_slices slices;
    work works[MAX_SUBJECTS];
    size_t n = 0;
    int rc = measure_slice(&any, set, 1, &slices) == TQ_OK ? 0 : -1;

    memset(speeds, 0, N_PEER_WAYS * sizeof *speeds);
    for (size_t k = 0; k < MAX_SUBJECTS; k++)
        works[k] = (work){.slices = &slices, .in = data->dense, .out = data->other};
    for (size_t k = 0; rc == 0 && k < N_PEER_FORMATS; k++) {
        const size_t row_bytes = peer_row_bytes(&peer_formats[k], dim);
        if (row_bytes > 0) {
            works[n].format = &peer_formats[k];
            works[n].slice_bytes = (slices.rows * row_bytes + 63) / 64 * 64;
            rc = fill_codes(&works[n++]);
        }
    }
    for (int way = 0; rc == 0 && way < N_PEER_WAYS; way++)
        rc = measure_way(way, set, works, n, samples, &speeds[way]);
    for (size_t k = 0; k < n; k++)
        free(works[k].codes);
    return rc;
}
