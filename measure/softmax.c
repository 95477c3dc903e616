/* SPDX-License-Identifier: MIT
 * Softmaxes of many logits.
 *
 * One exponential an entry, written so that the compiler makes vectors of it without a licence to
 * reorder: sums run in SLOTS places at once, and a library's exp() would be a call an entry. */
#include "softmax.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

enum { SLOTS = 128 };

static double fold(const double *sums) {
    double sum = 0;
    for (size_t j = 0; j < SLOTS; j++)
        sum += sums[j];
    return sum;
}

/* e^x for x up to 0, within 1e-14 of it; e^-700 below that. x = k ln 2 + r: a Taylor series of degree 11
 * for e^r, |r| at most ln(2)/2, and k added to its exponent. */
static inline double exp_of(double x) {
    static const double shift = 0x1.8p52; /* what is added to it is rounded to a whole number */
    const double y = x < -700 ? -700 : x;
    const double t = y * 0x1.71547652b82fep0 + shift, k = t - shift;
    const double r = (y - k * 0x1.62e42fefa3800p-1) - k * 0x1.ef35793c76730p-45;
    double e = 1.0 / 39916800;
    e = e * r + 1.0 / 3628800;
    e = e * r + 1.0 / 362880;
    e = e * r + 1.0 / 40320;
    e = e * r + 1.0 / 5040;
    e = e * r + 1.0 / 720;
    e = e * r + 1.0 / 120;
    e = e * r + 1.0 / 24;
    e = e * r + 1.0 / 6;
    e = e * r + 0.5;
    e = e * r + 1;
    e = e * r + 1;
    uint64_t bits, power;
    memcpy(&bits, &e, sizeof bits);
    memcpy(&power, &t, sizeof power); /* its lowest bits are k */
    bits += power << 52;
    memcpy(&e, &bits, sizeof e);
    return e;
}

static float largest(const float *x, size_t n) {
    float most[SLOTS], m = x[0];
    size_t i = 0;
    for (size_t j = 0; j < SLOTS; j++)
        most[j] = x[0];
    for (; n - i >= SLOTS; i += SLOTS)
        for (size_t j = 0; j < SLOTS; j++)
            most[j] = x[i + j] > most[j] ? x[i + j] : most[j];
    for (size_t j = 0; j < n - i; j++)
        most[j] = x[i + j] > most[j] ? x[i + j] : most[j];
    for (size_t j = 0; j < SLOTS; j++)
        m = most[j] > m ? most[j] : m;
    return m;
}

static size_t place_of(const float *x, size_t n, float value) {
    size_t i = 0;
    while (i + 1 < n && x[i] != value)
        i++;
    return i;
}

measure_softmax measure_softmax_of(const float *restrict logits, size_t n, double *restrict p) {
    double sums[SLOTS] = {0};
    const double top = (double)largest(logits, n);
    for (size_t i = 0; i < n; i += SLOTS) {
        const size_t m = n - i < SLOTS ? n - i : SLOTS;
        for (size_t j = 0; j < m; j++) {
            const double e = exp_of((double)logits[i + j] - top);
            p[i + j] = e;
            sums[j] += e;
        }
    }
    const double sum = fold(sums);
    for (size_t i = 0; i < n; i++)
        p[i] /= sum;
    return (measure_softmax){top + log(sum), place_of(logits, n, (float)top)};
}

/* The p add up to 1, so that the logarithms of both sums, which all entries share, stand apart. */
measure_softmax measure_softmax_beside(const float *reference, const double *p, const measure_softmax *r,
                                       const float *logits, size_t n, double *kl) {
    double sums[SLOTS] = {0}, apart[SLOTS] = {0};
    const double top = (double)largest(logits, n);
    for (size_t i = 0; i < n; i += SLOTS) {
        const size_t m = n - i < SLOTS ? n - i : SLOTS;
        for (size_t j = 0; j < m; j++) {
            const double x = (double)logits[i + j];
            sums[j] += exp_of(x - top);
            apart[j] += p[i + j] * ((double)reference[i + j] - x);
        }
    }
    const double log_sum = top + log(fold(sums));
    *kl = fold(apart) - (r->log_sum - log_sum);
    /* Rounding may leave nearly equal distributions a hair below zero, where no divergence lies. */
    if (*kl < 0) *kl = 0;
    return (measure_softmax){log_sum, place_of(logits, n, (float)top)};
}
