/* SPDX-License-Identifier: MIT
 * The optimal quantiser of N(0, 1), solved here again, and integrals over its cells. */
#ifndef TESTS_SUPPORT_LLOYD_H
#define TESTS_SUPPORT_LLOYD_H

#include <stddef.h>

enum { LLOYD_MAX_HALF = 128 };

/* The positive half of a symmetric quantiser: n cells, cell i is (lower[i], lower[i + 1]]. */
typedef struct lloyd {
    size_t n;
    double centroid[LLOYD_MAX_HALF];
    double lower[LLOYD_MAX_HALF + 1]; /* lower[0] = 0, lower[n] = INFINITY */
} lloyd;

/* Solves for `bits` bits. Returns the largest residual |centroid - conditional mean|. */
double lloyd_solve(lloyd *q, unsigned bits);

/* Mean of N(0, 1) within (a, b); b may be INFINITY. */
double lloyd_cell_mean(double a, double b);

/* E (X - Q(X))^2 for X ~ N(0, 1), by integration cell by cell. */
double lloyd_distortion(const lloyd *q);

/* Variance of (X - Q(X))^2: what the mean of n coordinates scatters by is its root over sqrt(n). */
double lloyd_error_variance(const lloyd *q);

/* lloyd_distortion() for a coordinate of a uniform unit vector of `dim` dimensions times sqrt(dim). */
double lloyd_distortion_sphere(const lloyd *q, unsigned dim);

/* Integral of f(t, context) over (a, b) by Gauss-Legendre rules on `parts` equal pieces. */
double lloyd_integral(double (*f)(double, const void *), const void *context, double a, double b,
                      int parts);

#endif
