/* SPDX-License-Identifier: MIT
 * Mean squared error of scalar quantisers of N(0, 1): of a given table, and the least that is possible.
 *
 * The closed forms subtract numbers near 1 to get a distortion of 4e-5 at 8 bits; long double leaves
 * enough digits to see how far a table rounded to float32 is from the optimum (1e-11 of it). Where long
 * double is double, that figure is only good to about 1e-10. */
#include "lloyd_max.h"

#include <assert.h>
#include <math.h>

enum { MAX_HALF = 128, NEWTON_STEPS = 50, BISECTIONS = 60 };

static long double density(long double x) {
    const long double inverse_sqrt_2pi = 0.398942280401432677939946059934381868L;
    return isinf(x) ? 0.0L : inverse_sqrt_2pi * expl(-0.5L * x * x);
}

/* The weight of x and above. */
static long double tail(long double x) {
    const long double inverse_sqrt_2 = 0.707106781186547524400844362104849039L;
    return 0.5L * erfcl(x * inverse_sqrt_2);
}

/* The integral of (x - c)^2 over 0 <= a <= x <= b, where c may lie anywhere. */
static long double half_cell(long double c, long double a, long double b) {
    const long double weight = tail(a) - tail(b);
    const long double above = isinf(b) ? 0.0L : (b - 2.0L * c) * density(b);
    return (1.0L + c * c) * weight + (a - 2.0L * c) * density(a) - above;
}

/* A cell below zero is mirrored: tails near 1 would have no digits to spare. */
static long double cell(long double c, long double a, long double b) {
    if (b <= 0.0L) return half_cell(-c, -b, -a);
    return a >= 0.0L ? half_cell(c, a, b) : half_cell(-c, 0.0L, -a) + half_cell(c, 0.0L, b);
}

double measure_gaussian_distortion(const float *centroids, const float *boundaries, size_t n) {
    long double sum = 0.0L;
    for (size_t i = 0; i < n; i++) {
        const long double below = i == 0 ? -HUGE_VALL : (long double)boundaries[i - 1];
        const long double above = i + 1 == n ? HUGE_VALL : (long double)boundaries[i];
        sum += cell((long double)centroids[i], below, above);
    }
    return (double)sum;
}

/* Boundary i of the positive half: 0, the midpoints, infinity. */
static long double boundary(const long double *c, size_t n, size_t i) {
    return i == 0 ? 0.0L : i == n ? HUGE_VALL : 0.5L * (c[i - 1] + c[i]);
}

/* The best density of many centroids for N(0, 1) is that of N(0, 3) (Panter and Dite); its quantiles are
 * close enough for Newton at every size. */
static void start_half(long double *c, size_t n) {
    for (size_t i = 0; i < n; i++) {
        const long double wanted = (2.0L * (long double)(n - i) - 1.0L) / (4.0L * (long double)n);
        long double low = 0.0L, high = 6.0L;
        for (int step = 0; step < BISECTIONS; step++) {
            const long double middle = 0.5L * (low + high);
            *(tail(middle) > wanted ? &low : &high) = middle;
        }
        c[i] = sqrtl(3.0L) * low;
    }
}

/* One Newton step on F_i = c_i - (mean of cell i), whose Jacobian is tridiagonal; returns the largest
 * |F_i| before the step. */
static long double newton_step(long double *c, size_t n) {
    long double upper[MAX_HALF], right[MAX_HALF], worst = 0.0L;

    for (size_t i = 0; i < n; i++) {
        const long double a = boundary(c, n, i), b = boundary(c, n, i + 1);
        const long double weight = tail(a) - tail(b);
        const long double mean = (density(a) - density(b)) / weight;
        const long double by_a = i == 0 ? 0.0L : 0.5L * density(a) * (mean - a) / weight;
        const long double by_b = i + 1 == n ? 0.0L : 0.5L * density(b) * (b - mean) / weight;
        /* Row i of the Jacobian is (-by_a, 1 - by_a - by_b, -by_b); eliminate on the way. */
        const long double pivot = 1.0L - by_a - by_b + (i ? by_a * upper[i - 1] : 0.0L);
        const long double f = c[i] - mean;
        upper[i] = -by_b / pivot;
        right[i] = (f + (i ? by_a * right[i - 1] : 0.0L)) / pivot;
        worst = fmaxl(worst, fabsl(f));
    }
    for (size_t i = n; i-- > 0;)
        right[i] -= i + 1 < n ? upper[i] * right[i + 1] : 0.0L;
    for (size_t i = 0; i < n; i++)
        c[i] -= right[i];
    return worst;
}

double measure_optimal_distortion(unsigned bits) {
    assert(bits >= 2 && bits <= 8);
    const size_t n = (size_t)1 << (bits - 1);
    long double c[MAX_HALF], sum = 0.0L;

    start_half(c, n);
    for (int step = 0; step < NEWTON_STEPS && newton_step(c, n) > 1e-14L; step++) {
    }
    for (size_t i = 0; i < n; i++)
        sum += half_cell(c[i], boundary(c, n, i), boundary(c, n, i + 1));
    return (double)(2.0L * sum);
}
