/* SPDX-License-Identifier: MIT
 * Times several things beside each other, so that what disturbs the machine disturbs them all. */
#include "timing.h"

#include <time.h>

#include "percentile.h"

/* Long beside the clock's resolution and short beside a scheduler's time slice. */
static const double sample_s = 0.5e-3;
/* The processor has found its clock rate by then. */
static const double warm_up_s = 10e-3;
static const double row_s = 1.5;

double measure_now(void) {
    struct timespec now;
    if (clock_gettime(CLOCK_MONOTONIC, &now) != 0) return 0.0;
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* Slices are handed out in turn over all subjects. */
typedef struct slices {
    size_t next, count;
} slices;

static double time_passes(const measure_subject *subject, size_t passes, slices *turn) {
    const double begun = measure_now();
    for (size_t i = 0; i < passes; i++) {
        subject->pass(subject->work, turn->next);
        turn->next = (turn->next + 1) % turn->count;
    }
    return measure_now() - begun;
}

/* How many passes fill a sample. The fastest pass counts: the first one may have met cold pages. */
static void calibrate(measure_subject *subject, slices *turn) {
    double spent = 0.0, fastest = 1e9;
    do {
        const double seconds = time_passes(subject, 1, turn);
        fastest = seconds < fastest ? seconds : fastest;
        spent += seconds + 1e-9; /* a clock that stands still must not hold us up for ever */
    } while (spent < warm_up_s);
    subject->passes = 1;
    if (fastest < sample_s) subject->passes = fastest > 0.0 ? (size_t)(sample_s / fastest) + 1 : 1000;
}

void measure_time(measure_subject *subjects, size_t n_subjects, size_t samples, size_t n_slices) {
    slices turn = {0, n_slices};
    for (size_t k = 0; k < n_subjects; k++)
        calibrate(&subjects[k], &turn);
    for (size_t i = 0; i < samples; i++) {
        for (size_t k = 0; k < n_subjects; k++) {
            /* Nobody always comes first. */
            measure_subject *subject = &subjects[(i + k) % n_subjects];
            subject->seconds[i] = time_passes(subject, subject->passes, &turn) / (double)subject->passes;
        }
    }
}

size_t measure_fitting_samples(const measure_subject *subject, size_t least, size_t most) {
    slices turn = {0, 1};
    (void)time_passes(subject, 1, &turn); /* pages and caches are cold */
    const double fit = row_s / (time_passes(subject, 1, &turn) + 1e-9);
    return fit >= (double)most ? most : fit <= (double)least ? least : (size_t)fit;
}

measure_summary measure_summarise(double *values, size_t n) {
    measure_sort(values, n);
    const double median = values[measure_rank(n, 50)];
    const double half_range = 0.5 * (values[measure_rank(n, 75)] - values[measure_rank(n, 25)]);
    return (measure_summary){median, median > 0.0 ? half_range / median : 0.0};
}
