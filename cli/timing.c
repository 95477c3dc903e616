/* SPDX-License-Identifier: MIT
 * Times several things beside each other, so that what disturbs the machine disturbs them all. */
#include "timing.h"

#include <stdlib.h>
#include <time.h>

/* Long beside the clock's resolution and short beside a scheduler's time slice. */
static const double sample_s = 0.5e-3;
/* The processor has found its clock rate by then. */
static const double warm_up_s = 10e-3;
static const double row_s = 1.5;

static double now_s(void) {
    struct timespec now;
    if (clock_gettime(CLOCK_MONOTONIC, &now) != 0) {
        return 0.0;
    }
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* Slices are handed out in turn over all subjects. */
typedef struct slices {
    size_t next, count;
} slices;

static double time_passes(const cli_subject *subject, size_t passes, slices *turn) {
    const double begun = now_s();
    for (size_t i = 0; i < passes; i++) {
        subject->pass(subject->work, turn->next);
        turn->next = (turn->next + 1) % turn->count;
    }
    return now_s() - begun;
}

/* How many passes fill a sample. The fastest pass counts: the first one may have met cold pages. */
static void calibrate(cli_subject *subject, slices *turn) {
    double spent = 0.0, fastest = 1e9;
    do {
        const double seconds = time_passes(subject, 1, turn);
        fastest = seconds < fastest ? seconds : fastest;
        spent += seconds + 1e-9; /* a clock that stands still must not hold us up for ever */
    } while (spent < warm_up_s);
    subject->passes = 1;
    if (fastest < sample_s) {
        subject->passes = fastest > 0.0 ? (size_t)(sample_s / fastest) + 1 : 1000;
    }
}

void cli_time(cli_subject *subjects, size_t n_subjects, size_t samples, size_t n_slices) {
    slices turn = {0, n_slices};
    for (size_t k = 0; k < n_subjects; k++) {
        calibrate(&subjects[k], &turn);
    }
    for (size_t i = 0; i < samples; i++) {
        for (size_t k = 0; k < n_subjects; k++) {
            /* Nobody always comes first. */
            cli_subject *subject = &subjects[(i + k) % n_subjects];
            subject->seconds[i] = time_passes(subject, subject->passes, &turn) / (double)subject->passes;
        }
    }
}

size_t cli_fitting_samples(const cli_subject *subject, size_t least, size_t most) {
    slices turn = {0, 1};
    (void)time_passes(subject, 1, &turn); /* pages and caches are cold */
    const double fit = row_s / (time_passes(subject, 1, &turn) + 1e-9);
    return fit >= (double)most ? most : fit <= (double)least ? least : (size_t)fit;
}

static int ascending(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Between two values the straight line. */
static double quantile(const double *sorted, size_t n, double q) {
    const double place = q * (double)(n - 1);
    const size_t below = (size_t)place;
    const size_t above = below + 1 < n ? below + 1 : below;
    return sorted[below] + (place - (double)below) * (sorted[above] - sorted[below]);
}

cli_summary cli_summarise(double *values, size_t n) {
    qsort(values, n, sizeof *values, ascending);
    const double median = quantile(values, n, 0.5);
    const double half_range = 0.5 * (quantile(values, n, 0.75) - quantile(values, n, 0.25));
    return (cli_summary){median, median > 0.0 ? half_range / median : 0.0};
}
