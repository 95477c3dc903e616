/* SPDX-License-Identifier: MIT
 * multiply, reduce_max and softcap: what scores go through before they become weights. */
#include <float.h>
#include <math.h>

#include "check_kernels.h"
#include "values.h"

enum { MOST_SCORES = 70 };

static void multiply_case(run *r, const tq_kernels *kernel, size_t n, pattern p, unsigned place) {
    float factors[MOST_SCORES], x[MOST_SCORES], want[MOST_SCORES];
    const unsigned x_place = float_place(rng_below(&r->rng, FLOAT_PLACES));
    fill_values(p, &r->rng, NULL, factors, n);
    fill_values((pattern)rng_below(&r->rng, ALL_PATTERNS), &r->rng, NULL, x, n);
    for (size_t i = 0; i < n; i++)
        want[i] = x[i] * factors[i];
    if (!run_case(r, "n %zu, %s factors", n, pattern_name(p))) return;
    slot *const in = &r->slots[0], *const out = &r->slots[1];
    const float *used = slot_place(in, "factors", ELEMENT_FLOAT, place, 1, n, n);
    float *data = slot_place(out, "x", ELEMENT_FLOAT, x_place, 1, n, n);
    slot_write(in, factors);
    slot_write(out, x);
    kernel->multiply(n, used, data);
    run_expect(r, in, factors, SAME_BYTES);
    run_expect(r, out, want, SAME_OR_NAN);
}

void check_multiply(run *r, const tq_kernels *kernel) {
    for (size_t n = 0; n <= MOST_SCORES && !r->failed; n++)
        for (pattern p = 0; p < ALL_PATTERNS; p++)
            for (unsigned place = p % 3; place < FLOAT_PLACES; place += 3)
                multiply_case(r, kernel, n, p, float_place(place));
}

typedef enum crowd { ORDINARY, LOW, WITH_NAN, WITH_INFINITY, CROWDS } crowd;
static const char *const crowd_names[CROWDS] = {"ordinary", "low", "with NaN", "with infinity"};

/* All of them below `high`, or not finite, which makes the answer NaN. */
static void fill_crowd(run *r, crowd c, float high, float *x, size_t n) {
    for (size_t i = 0; i < n; i++) {
        const bool odd = c == LOW || (c != ORDINARY && rng_below(&r->rng, 2) == 0);
        x[i] = odd ? (c == WITH_NAN ? copysignf(NAN, rng_below(&r->rng, 2) ? 1.0f : -1.0f) : -INFINITY)
                   : high - (float)rng_uniform(&r->rng) * 8.0f;
    }
}

/* `at` of n values holds the largest, and so may others; at == n: none does. */
static void reduce_max_case(run *r, const tq_kernels *kernel, size_t n, size_t at, unsigned place) {
    static const float highs[] = {-3.5f, 1e-40f, 0.0f, 7.25f, -FLT_MAX, INFINITY};
    const float high = highs[rng_below(&r->rng, 6)];
    const crowd c = (crowd)rng_below(&r->rng, CROWDS);
    const float below = high == INFINITY ? 100.0f : high;
    const float tops[] = {-INFINITY, below - 1.0f, below, nextafterf(below, INFINITY), NAN};
    const float top = tops[rng_below(&r->rng, 16) == 0 ? 4 : rng_below(&r->rng, 4)];
    const bool ties = rng_below(&r->rng, 2) == 0;
    float x[MOST_SCORES], want = top;
    fill_crowd(r, c, below, x, n);
    for (size_t i = at; i < n; i++)
        if (i == at || (ties && rng_below(&r->rng, 4) == 0)) x[i] = high;
    for (size_t i = 0; i < n; i++) {
        if (x[i] > want) want = x[i];
        if (!isfinite(x[i])) want = NAN;
        if (isnan(want)) break;
    }
    if (!run_case(r, "n %zu, %s, top %a, the largest at %zu", n, crowd_names[c], (double)top, at)) return;
    slot *const in = &r->slots[0];
    const float *data = slot_place(in, "x", ELEMENT_FLOAT, place, 1, n, n);
    slot_write(in, x);
    const float got = kernel->reduce_max(n, data, top);
    /* equal infinities have no difference, and zeros of either sign will do */
    if (isnan(want))
        run_expect_index(r, (size_t)(isnan(got) != 0), 1);
    else if (got != want)
        run_expect_near(r, (double)got, (double)want, 0.0);
    run_expect(r, in, x, SAME_BYTES);
}

void check_reduce_max(run *r, const tq_kernels *kernel) {
    unsigned place = 0;
    for (size_t n = 0; n <= MOST_SCORES && !r->failed; n++)
        for (size_t at = 0; at <= n; at++)
            for (unsigned i = 0; i < 7; i++) /* prime to the places, so that all come in turn */
                reduce_max_case(r, kernel, n, at, float_place(place++ % FLOAT_PLACES));
}

/* Quotients of every magnitude, half of them where the curve bends, and what has an exact answer. */
static float some_score(run *r, float cap) {
    static const float special[] = {0.0f, -0.0f, INFINITY, -INFINITY, NAN, 0.625f, FLT_MIN};
    const uint32_t choice = rng_below(&r->rng, 16);
    const double sign = rng_below(&r->rng, 2) ? 1.0 : -1.0, at = rng_uniform(&r->rng);
    if (choice < 7) return special[choice] * cap;
    if (choice < 11) return (float)(sign * pow(10.0, 60.0 * at - 30.0) * (double)cap);
    return (float)(sign * (choice < 14 ? 1.0 : 12.0) * at * (double)cap);
}

/* Within a few units in the last place of the result itself, which is what they are of cap where scores
 * are large, and keeps small scores what they are. */
static void expect_softened(run *r, float x, float cap, float got) {
    const double want = (double)cap * tanh((double)x / (double)cap);
    const bool is_nan = isnan(got);
    if (isnan(x)) {
        run_expect_index(r, is_nan, 1);
    } else if (x == 0.0f || isinf(x)) {
        run_expect_near(r, (double)got, want, 0.0);
        run_expect_index(r, signbit(got) != 0, signbit(x) != 0);
    } else {
        run_expect_near(r, (double)got, want,
                        4 * FLT_EPSILON * fabs(want) + 0x1p-149 * (1 + (double)cap));
        run_expect_near(r, fmax(fabs((double)got), (double)cap), (double)cap, 0.0);
    }
}

static void softcap_case(run *r, const tq_kernels *kernel, size_t n, float cap, unsigned place) {
    float x[MOST_SCORES];
    for (size_t i = 0; i < n; i++)
        x[i] = some_score(r, cap);
    if (!run_case(r, "n %zu, cap %a", n, (double)cap)) return;
    slot *const out = &r->slots[0];
    float *scores = slot_place(out, "x", ELEMENT_FLOAT, place, 1, n, n);
    slot_write(out, x);
    kernel->softcap(n, cap, scores);
    for (size_t i = 0; i < n; i++)
        expect_softened(r, x[i], cap, scores[i]);
    tq_softcap_scalar(n, cap, x);
    run_expect(r, out, x, SAME_OR_NAN);
}

void check_softcap(run *r, const tq_kernels *kernel) {
    static const float caps[] = {1.0f, 30.0f, 50.0f, 15.3f, 1e-3f, 1e4f, 0x1p-126f, 1e8f};
    for (size_t n = 0; n <= MOST_SCORES && !r->failed; n++)
        for (size_t c = 0; c < sizeof caps / sizeof caps[0]; c++)
            for (unsigned place = (unsigned)n % 2; place < FLOAT_PLACES; place += 2)
                softcap_case(r, kernel, n, caps[c], float_place(place));
}
