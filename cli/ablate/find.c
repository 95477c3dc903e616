/* SPDX-License-Identifier: MIT
 * What a path reads against what it should: where they part first, and what would explain it. */
#include <math.h>
#include <stdlib.h>

#include "ablate/ablate.h"

/* An explanation holds if what it leaves is below 1e-3 of the whole; here squared. */
static const double EXPLAINED = 1e-6;

/* Vectors of one head, and the positions of it that are wrong. */
typedef struct pair {
    const float *read, *truth; /* [length][dim] */
    size_t dim, length;
    size_t first, last;
} pair;

static double difference(const float *a, const float *b, size_t dim) {
    double sum = 0.0;
    for (size_t d = 0; d < dim; d++)
        sum += ((double)a[d] - (double)b[d]) * ((double)a[d] - (double)b[d]);
    return sum;
}

/* One factor for all vectors, by least squares. */
static bool is_scaled(const pair *p, cli_finding *finding) {
    double rt = 0.0, tt = 0.0, rr = 0.0;
    for (size_t i = p->first * p->dim; i < (p->last + 1) * p->dim; i++) {
        const double r = (double)p->read[i], t = (double)p->truth[i];
        if (!isnan(r)) {
            rt += r * t;
            tt += t * t;
            rr += r * r;
        }
    }
    finding->factor = tt > 0.0 ? rt / tt : 1.0;
    const bool differs = fabs(finding->factor - 1.0) > sqrt(EXPLAINED);
    return differs && rr - finding->factor * rt <= EXPLAINED * rr;
}

/* Whether position t holds what belongs to t + shift, wherever both are there. */
static bool is_shifted_by(const pair *p, long long shift, double whole) {
    double left = 0.0;
    size_t compared = 0;
    for (size_t t = p->first; t <= p->last && left <= EXPLAINED * whole; t++) {
        const long long at = (long long)t + shift;
        if (at >= 0 && at < (long long)p->length) {
            left += difference(p->read + t * p->dim, p->truth + (size_t)at * p->dim, p->dim);
            compared++;
        }
    }
    return left <= EXPLAINED * whole && 2 * compared > p->last - p->first;
}

static bool is_shifted(const pair *p, cli_finding *finding) {
    double whole = 0.0;
    for (size_t t = p->first; t <= p->last; t++) {
        const double length = measure_exact_float_length(p->truth + t * p->dim, p->dim);
        whole += length * length;
    }
    for (long long s = 1; s < (long long)p->length; s++) {
        for (int back = 0; back < 2; back++) {
            finding->shift = back ? -s : s;
            if (is_shifted_by(p, finding->shift, whole)) return true;
        }
    }
    return false;
}

/* Magnitudes agree coordinate by coordinate. */
static bool is_flipped(const pair *p, cli_finding *finding) {
    double left = 0.0, whole = 0.0;
    finding->flipped = 0;
    for (size_t d = 0; d < p->dim; d++) {
        double agreement = 0.0;
        for (size_t t = p->first; t <= p->last; t++) {
            const double r = (double)p->read[t * p->dim + d], x = (double)p->truth[t * p->dim + d];
            left += (fabs(r) - fabs(x)) * (fabs(r) - fabs(x));
            whole += x * x;
            agreement += r * x;
        }
        finding->flipped += agreement < 0.0;
    }
    return finding->flipped > 0 && left <= EXPLAINED * whole;
}

/* Most vectors are off by what the one before is: centres serve stretches. */
static bool is_off_centre(const pair *p) {
    const size_t dim = p->dim;
    size_t alike = 0;
    for (size_t t = p->first + 1; t <= p->last; t++) {
        const float *read = p->read + t * dim, *truth = p->truth + t * dim;
        double change = 0.0;
        for (size_t d = 0; d < dim; d++) {
            const double now = (double)read[d] - (double)truth[d];
            const double before = (double)read[d - dim] - (double)truth[d - dim];
            change += (now - before) * (now - before);
        }
        alike += change <= EXPLAINED * difference(read, truth, dim);
    }
    return p->last > p->first && 10 * alike >= 9 * (p->last - p->first);
}

/* Lengths agree vector by vector, closely: a small error of any kind changes them little. */
static bool is_turned(const pair *p, const cli_finding *finding) {
    double left = 0.0, whole = 0.0;
    for (size_t t = p->first; t <= p->last; t++) {
        const double r = measure_exact_float_length(p->read + t * p->dim, p->dim);
        const double x = measure_exact_float_length(p->truth + t * p->dim, p->dim);
        left += (r - x) * (r - x);
        whole += x * x;
    }
    return finding->size > 0.1 && left <= EXPLAINED * EXPLAINED * 100.0 * whole;
}

static cli_cause explain(const pair *p, cli_finding *finding) {
    if (finding->size <= sqrt(EXPLAINED)) return CLI_CAUSE_ROUNDING;
    if (is_scaled(p, finding)) return CLI_CAUSE_SCALE;
    if (is_shifted(p, finding)) return CLI_CAUSE_ORDER;
    if (is_flipped(p, finding)) return CLI_CAUSE_SIGNS;
    if (is_off_centre(p)) return CLI_CAUSE_CENTRE;
    return is_turned(p, finding) ? CLI_CAUSE_ROTATION : CLI_CAUSE_UNKNOWN;
}

/* How far a position is off; at least 1 where it cannot be read at all. */
static double error_at(const pair *p, double unit, size_t t) {
    const double error = sqrt(difference(p->read + t * p->dim, p->truth + t * p->dim, p->dim));
    if (isnan(error)) return 1.0;
    return error == 0.0 ? 0.0 : error / unit;
}

static double longest_of(const pair *p) {
    double longest = 0.0;
    for (size_t t = 0; t < p->length; t++)
        longest = fmax(longest, measure_exact_float_length(p->truth + t * p->dim, p->dim));
    return longest;
}

/* The first run of wrong positions. Scores tell a key to a share of the longest one, weighted sums a
 * value to a share of its own length. */
static bool find_run(pair *p, cli_stage stage, double bound, double *size) {
    const double longest = longest_of(p);
    bool inside = false;
    *size = 0.0;
    for (size_t t = 0; t < p->length; t++) {
        const double own = measure_exact_float_length(p->truth + t * p->dim, p->dim);
        const double error = error_at(p, stage == CLI_STAGE_VALUES && own > 0.0 ? own : longest, t);
        const bool wrong = !(error <= bound);
        if (inside && !wrong) break;
        if (wrong) {
            p->first = inside ? p->first : t;
            p->last = t;
            *size = fmax(*size, error);
            inside = true;
        }
    }
    return inside;
}

static double bound_of(const cli_path *path, cli_stage stage, size_t g) {
    if (!path->there) return CLI_READ_BOUND;
    return stage == CLI_STAGE_KEYS ? cli_there_key_bound(path, g) : cli_there_value_bound(path, g);
}

bool cli_find_misread(const cli_path *path, cli_stage stage, const float *read, cli_finding *finding) {
    const size_t dim = path->params.head_dim, length = path->length;
    const float *truth = stage == CLI_STAGE_KEYS ? path->k : path->v;
    for (size_t g = 0; g < path->params.n_kv_heads; g++) {
        pair p = {read + g * length * dim, truth + g * length * dim, dim, length, 0, 0};
        const double bound = bound_of(path, stage, g);
        double size;
        if (find_run(&p, stage, bound, &size)) {
            *finding = (cli_finding){.path = path->name,
                                     .stage = stage,
                                     .head = g,
                                     .first = path->first + p.first,
                                     .last = path->first + p.last,
                                     .size = size,
                                     .bound = bound};
            finding->cause = explain(&p, finding);
            return true;
        }
    }
    return false;
}
