/* SPDX-License-Identifier: MIT
 * The optimal quantiser of N(0, 1): Newton on centroid = conditional mean, and integrals over its cells.
 */
#include "lloyd.h"

#include <math.h>

static const double inv_sqrt_2pi = 0.398942280401432678;
static const double inv_sqrt_2 = 0.707106781186547524;

/* Nodes and weights of the 16-point Gauss-Legendre rule on (-1, 1), the positive half. */
static const double gauss[8][2] = {
    {0.0950125098376374405, 0.189450610455068502}, {0.281603550779258915, 0.182603415044923584},
    {0.45801677765722737, 0.169156519395002536},   {0.617876244402643771, 0.149595988816576736},
    {0.755404408355002999, 0.124628971255533877},  {0.865631202387831755, 0.0951585116824927857},
    {0.9445750230732326, 0.0622535239386478936},   {0.989400934991649939, 0.0271524594117540964},
};

static double density(double t, const void *unused) {
    (void)unused;
    return inv_sqrt_2pi * exp(-0.5 * t * t);
}

static double upper_tail(double a) {
    return 0.5 * erfc(a * inv_sqrt_2);
}

double lloyd_integral(double (*f)(double, const void *), const void *context, double a, double b,
                      int parts) {
    double sum = 0, half = 0.5 * (b - a) / parts;
    for (int p = 0; p < parts; p++) {
        double mid = a + half * (2 * p + 1);
        for (int i = 0; i < 8; i++) {
            double step = half * gauss[i][0];
            sum += half * gauss[i][1] * (f(mid - step, context) + f(mid + step, context));
        }
    }
    return sum;
}

static double moment_about(double t, const void *mid) {
    return (t - *(const double *)mid) * density(t, NULL);
}

/* Integrating about the middle keeps the digits that (phi(a) - phi(b)) / P would lose in a narrow cell.
 */
double lloyd_cell_mean(double a, double b) {
    if (isinf(b)) return density(a, NULL) / upper_tail(a);
    double mid = 0.5 * (a + b);
    return mid + lloyd_integral(moment_about, &mid, a, b, 1) / lloyd_integral(density, NULL, a, b, 1);
}

/* Quantiles of the law with density proportional to phi^(1/3): the optimum for many levels. */
static void first_guess(lloyd *q) {
    for (size_t i = 0; i < q->n; i++) {
        double want = ((double)i + 0.5) / (double)q->n, lo = 0, hi = 20;
        for (int pass = 0; pass < 60; pass++) {
            double t = 0.5 * (lo + hi);
            if (erf(t * inv_sqrt_2 / sqrt(3.0)) < want)
                lo = t;
            else
                hi = t;
        }
        q->centroid[i] = lo;
    }
}

static void place_boundaries(lloyd *q) {
    q->lower[0] = 0;
    for (size_t i = 1; i < q->n; i++)
        q->lower[i] = 0.5 * (q->centroid[i - 1] + q->centroid[i]);
    q->lower[q->n] = INFINITY;
}

/* One Newton step; the Jacobian is tridiagonal, so elimination is one sweep down and one up. */
static double newton_step(lloyd *q) {
    double over[LLOYD_MAX_HALF], rhs[LLOYD_MAX_HALF], worst = 0, before = 0;
    for (size_t i = 0; i < q->n; i++) {
        double lo = q->lower[i], hi = q->lower[i + 1], mean = lloyd_cell_mean(lo, hi);
        int last = i + 1 == q->n;
        double mass = last ? upper_tail(lo) : lloyd_integral(density, NULL, lo, hi, 1);
        double by_lo = i == 0 ? 0 : 0.5 * density(lo, NULL) * (mean - lo) / mass;
        double by_hi = last ? 0 : 0.5 * density(hi, NULL) * (hi - mean) / mass;
        double residual = q->centroid[i] - mean;
        double pivot = 1 - by_lo - by_hi + by_lo * before;
        double carried = i == 0 ? 0 : rhs[i - 1];
        rhs[i] = (residual + by_lo * carried) / pivot;
        over[i] = before = -by_hi / pivot;
        worst = fmax(worst, fabs(residual));
    }
    double step = 0;
    for (size_t i = q->n; i-- > 0;) {
        step = rhs[i] - over[i] * step;
        q->centroid[i] -= step;
    }
    place_boundaries(q);
    return worst;
}

double lloyd_solve(lloyd *q, unsigned bits) {
    q->n = (size_t)1 << (bits - 1);
    first_guess(q);
    place_boundaries(q);
    for (int pass = 0; pass < 50; pass++)
        if (newton_step(q) < 1e-15) break;
    double worst = 0;
    for (size_t i = 0; i < q->n; i++)
        worst = fmax(worst, fabs(q->centroid[i] - lloyd_cell_mean(q->lower[i], q->lower[i + 1])));
    return worst;
}

typedef struct cell {
    double centroid;
    double dim; /* of the sphere */
} cell;

static double gauss_error(double t, const void *context) {
    const cell *c = context;
    return (t - c->centroid) * (t - c->centroid) * density(t, NULL);
}

static double gauss_error_squared(double t, const void *context) {
    double off = t - ((const cell *)context)->centroid;
    return off * off * gauss_error(t, context);
}

static double over_all_cells(const lloyd *q, double (*f)(double, const void *)) {
    double sum = 0;
    for (size_t i = 0; i + 1 < q->n; i++) {
        cell c = {q->centroid[i], 0};
        sum += lloyd_integral(f, &c, q->lower[i], q->lower[i + 1], 1);
    }
    cell c = {q->centroid[q->n - 1], 0};
    /* phi(20) is below 1e-87: what lies beyond is less than any digit of the result. */
    sum += lloyd_integral(f, &c, q->lower[q->n - 1], 20, 32);
    return 2 * sum;
}

double lloyd_distortion(const lloyd *q) {
    return over_all_cells(q, gauss_error);
}

double lloyd_error_variance(const lloyd *q) {
    double mean = lloyd_distortion(q);
    return over_all_cells(q, gauss_error_squared) - mean * mean;
}

static double sphere_error(double t, const void *context) {
    const cell *c = context;
    double inside = 1 - t * t / c->dim;
    if (inside <= 0) return 0;
    double norm =
        exp(lgamma(c->dim / 2) - lgamma((c->dim - 1) / 2)) / sqrt(3.14159265358979323846 * c->dim);
    double weight = norm * pow(inside, (c->dim - 3) / 2);
    return (t - c->centroid) * (t - c->centroid) * weight;
}

double lloyd_distortion_sphere(const lloyd *q, unsigned dim) {
    double sum = 0, edge = sqrt((double)dim);
    for (size_t i = 0; i < q->n; i++) {
        cell c = {q->centroid[i], (double)dim};
        int last = i + 1 == q->n;
        sum +=
            lloyd_integral(sphere_error, &c, q->lower[i], last ? edge : q->lower[i + 1], last ? 64 : 1);
    }
    return 2 * sum;
}
