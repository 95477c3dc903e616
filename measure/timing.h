/* SPDX-License-Identifier: MIT
 * Times several things beside each other, so that what disturbs the machine disturbs them all. */
#ifndef TQKV_MEASURE_TIMING_H
#define TQKV_MEASURE_TIMING_H

#include <stddef.h>

/* Seconds of a clock that nobody sets; 0 where there is none. */
double measure_now(void);

/* Something to time. A pass works on one slice of its data. */
typedef struct measure_subject {
    void (*pass)(void *work, size_t slice);
    void *work;
    double *seconds; /* [samples] out: of one pass */
    size_t passes;   /* out: passes in a sample */
} measure_subject;

/* Takes `samples` samples of each subject, one of each in turn; every pass of any subject goes on to the
 * next of n_slices slices, so that a slice is met again only after all others. Warms up first. */
void measure_time(measure_subject *subjects, size_t n_subjects, size_t samples, size_t n_slices);

/* How many samples of the subject a second and a half hold: `most` at most, and `least` at least. Runs it
 * twice. */
size_t measure_fitting_samples(const measure_subject *subject, size_t least, size_t most);

/* The middle of the values, and half of the distance between their quartiles as a share of it. Sorts. */
typedef struct measure_summary {
    double median;
    double spread;
} measure_summary;

measure_summary measure_summarise(double *values, size_t n);

#endif
