/* SPDX-License-Identifier: MIT
 * The kernels of attention. They give scalar's bytes, and score, accumulate and exp_sum stay within a
 * bound of the formula, which the sum of the absolute terms sets. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "check_kernels.h"
#include "values.h"

enum { MOST_POSITIONS = 19, SOME_QUERIES = 5 };

/* Rounding errors of a sum of `terms` products, in units of the sum of their magnitudes. */
static double bound(size_t terms) {
    return (double)(terms / TQ_LANES + 8) * FLT_EPSILON;
}

static void random_floats(run *r, float *x, size_t n) {
    rng_gauss_fill(&r->rng, x, n);
}

typedef struct shape {
    size_t dim, rows, n;
    unsigned place;
} shape;

static shape draw_shape(run *r, size_t dim, unsigned place) {
    return (shape){dim, 1 + rng_below(&r->rng, SOME_QUERIES), rng_below(&r->rng, MOST_POSITIONS + 1),
                   place};
}

static void score_case(run *r, const tq_kernels *kernel, shape s) {
    static float q[SOME_QUERIES * TQ_MAX_DIM], tile[MOST_POSITIONS * TQ_MAX_DIM];
    float want_scores[SOME_QUERIES * MOST_ROWS];
    random_floats(r, q, s.rows * s.dim);
    random_floats(r, tile, s.n * s.dim);
    if (!run_case(r, "dim %zu, %zu queries, %zu positions", s.dim, s.rows, s.n)) return;
    slot *const in = &r->slots[0], *const keys = &r->slots[1], *const out = &r->slots[2];
    const float *queries = slot_place(in, "queries", ELEMENT_FLOAT, s.place, 1, s.rows * s.dim, 0);
    slot_write(in, q);
    /* A slot holds five rows of the largest dim; more positions go in pieces. */
    for (size_t t = 0; t < s.n && !r->failed; t += MOST_ROWS) {
        const size_t n = s.n - t < MOST_ROWS ? s.n - t : MOST_ROWS;
        const float *rows = slot_place(keys, "tile", ELEMENT_FLOAT, s.place, 1, n * s.dim, 0);
        float *scores = slot_place(out, "scores", ELEMENT_FLOAT, s.place, s.rows, n, n + 3);
        slot_write(keys, tile + t * s.dim);
        kernel->score(s.dim, s.rows, queries, n, rows, scores, n + 3);
        for (size_t i = 0; i < s.rows; i++)
            for (size_t k = 0; k < n; k++) {
                double want = 0, terms = 0;
                for (size_t j = 0; j < s.dim; j++) {
                    want += (double)q[i * s.dim + j] * (double)tile[(t + k) * s.dim + j];
                    terms += fabs((double)q[i * s.dim + j] * (double)tile[(t + k) * s.dim + j]);
                }
                run_expect_near(r, (double)scores[i * (n + 3) + k], want, bound(s.dim) * terms);
            }
        tq_score_scalar(s.dim, s.rows, q, n, tile + t * s.dim, want_scores, n);
        run_expect(r, out, want_scores, SAME_BYTES);
    }
}

void check_score(run *r, const tq_kernels *kernel) {
    for (size_t dim = TQ_LANES; dim <= TQ_MAX_DIM && !r->failed; dim += TQ_LANES)
        for (unsigned place = 0; place < FLOAT_PLACES; place++)
            score_case(r, kernel, draw_shape(r, dim, float_place(place)));
}

static void accumulate_case(run *r, const tq_kernels *kernel, shape s) {
    static float w[SOME_QUERIES * MOST_ROWS], tile[MOST_ROWS * TQ_MAX_DIM],
        acc[SOME_QUERIES * TQ_MAX_DIM];
    const size_t n = s.n < MOST_ROWS ? s.n : MOST_ROWS, gap = some_gap(r);
    random_floats(r, w, s.rows * n);
    random_floats(r, tile, n * s.dim);
    random_floats(r, acc, s.rows * s.dim);
    if (!run_case(r, "dim %zu, %zu rows, %zu positions", s.dim, s.rows, n)) return;
    slot *const weights = &r->slots[0], *const values = &r->slots[1], *const out = &r->slots[2];
    const float *used = slot_place(weights, "weights", ELEMENT_FLOAT, s.place, 1, s.rows * n, 0);
    const float *rows = slot_place(values, "tile", ELEMENT_FLOAT, s.place, 1, n * s.dim, 0);
    float *sums = slot_place(out, "acc", ELEMENT_FLOAT, s.place, s.rows, s.dim, s.dim + gap);
    slot_write(weights, w);
    slot_write(values, tile);
    slot_write(out, acc);
    kernel->accumulate(s.dim, s.rows, used, n, n, rows, sums, s.dim + gap);
    for (size_t i = 0; i < s.rows; i++)
        for (size_t j = 0; j < s.dim; j++) {
            double want = (double)acc[i * s.dim + j], terms = fabs(want);
            for (size_t t = 0; t < n; t++) {
                want += (double)w[i * n + t] * (double)tile[t * s.dim + j];
                terms += fabs((double)w[i * n + t] * (double)tile[t * s.dim + j]);
            }
            run_expect_near(r, (double)sums[i * (s.dim + gap) + j], want, bound(n) * terms);
        }
    tq_accumulate_scalar(s.dim, s.rows, w, n, n, tile, acc, s.dim);
    run_expect(r, out, acc, SAME_BYTES);
}

void check_accumulate(run *r, const tq_kernels *kernel) {
    for (size_t dim = TQ_LANES; dim <= TQ_MAX_DIM && !r->failed; dim += TQ_LANES)
        for (unsigned place = 0; place < FLOAT_PLACES; place++)
            accumulate_case(r, kernel, draw_shape(r, dim, float_place(place)));
}

static void exp_sum_case(run *r, const tq_kernels *kernel, size_t n, float spread, unsigned place) {
    float x[MOST_POSITIONS * 3], top = -FLT_MAX;
    random_floats(r, x, n);
    for (size_t i = 0; i < n; i++) {
        x[i] *= spread;
        top = x[i] > top ? x[i] : top;
    }
    if (!run_case(r, "n %zu, spread %g", n, (double)spread)) return;
    slot *const out = &r->slots[0];
    float *scores = slot_place(out, "scores", ELEMENT_FLOAT, place, 1, n, n);
    double want_sum = 0;
    slot_write(out, x);
    const float sum = kernel->exp_sum(n, top, scores);
    for (size_t i = 0; i < n; i++) {
        const double want = exp((double)(x[i] - top));
        want_sum += want;
        run_expect_near(r, (double)scores[i], want, 4 * FLT_EPSILON * want + 2e-38);
    }
    run_expect_near(r, (double)sum, want_sum, 8 * FLT_EPSILON * want_sum);
    run_expect_near(r, (double)sum, (double)tq_exp_sum_scalar(n, top, x), 0.0);
    run_expect(r, out, x, SAME_BYTES);
}

void check_exp_sum(run *r, const tq_kernels *kernel) {
    static const float spreads[] = {0.0f, 1e-6f, 1.0f, 20.0f, 90.0f, 1e4f, 1e30f};
    for (size_t n = 1; n <= MOST_POSITIONS * 3 && !r->failed; n++)
        for (size_t s = 0; s < sizeof spreads / sizeof spreads[0]; s++)
            exp_sum_case(r, kernel, n, spreads[s], float_place((unsigned)(n % FLOAT_PLACES)));
}

void check_scale(run *r, const tq_kernels *kernel) {
    static float x[TQ_MAX_DIM], want[TQ_MAX_DIM];
    for (size_t n = TQ_LANES; n <= TQ_MAX_DIM && !r->failed; n += TQ_LANES) {
        const unsigned place = float_place(rng_below(&r->rng, FLOAT_PLACES));
        random_floats(r, x, n);
        const float factor = x[0];
        for (size_t i = 0; i < n; i++)
            want[i] = x[i] * factor;
        if (!run_case(r, "n %zu", n)) continue;
        float *acc = slot_place(&r->slots[0], "acc", ELEMENT_FLOAT, place, 1, n, n);
        slot_write(&r->slots[0], x);
        kernel->scale(n, factor, acc);
        run_expect(r, &r->slots[0], want, SAME_BYTES);
    }
}

/* All 65536 numbers, sixteen or more at a time. */
static void widen_all(run *r, tq_f16_to_f32_fn *widen, tq_f16_to_f32_fn *scalar) {
    uint16_t halves[TQ_MAX_DIM];
    float want[TQ_MAX_DIM];
    for (unsigned first = 0, n = TQ_LANES; first < 65536 && !r->failed; first += n) {
        const unsigned in_place = 2 * rng_below(&r->rng, 32),
                       out_place = rng_below(&r->rng, FLOAT_PLACES);
        n = TQ_LANES * (1 + rng_below(&r->rng, TQ_MAX_DIM / TQ_LANES));
        for (unsigned i = 0; i < n; i++)
            halves[i] = (uint16_t)(first + i);
        scalar(n, halves, want);
        if (!run_case(r, "%u numbers from 0x%04x on", n, first)) continue;
        const unsigned place = rng_below(&r->rng, 2) == 0 ? in_place : PLACE_LAST;
        void *src = slot_place(&r->slots[0], "src", ELEMENT_BYTE, place, 1, n * sizeof *halves, 0);
        float *dst = slot_place(&r->slots[1], "dst", ELEMENT_FLOAT, float_place(out_place), 1, n, n);
        slot_write(&r->slots[0], halves);
        widen(n, src, dst);
        run_expect(r, &r->slots[1], want, SAME_OR_NAN);
    }
}

void check_f16_to_f32(run *r, const tq_kernels *kernel) {
    widen_all(r, kernel->f16_to_f32, tq_f16_to_f32_scalar);
}

void check_bf16_to_f32(run *r, const tq_kernels *kernel) {
    widen_all(r, kernel->bf16_to_f32, tq_bf16_to_f32_scalar);
}

/* What rounding has to tell apart: each number, and what lies just below, on and just above the middle to
 * the next one, which for the largest is the power of two that infinity stands for. */
enum { OF_EACH = 4 };
typedef struct narrow_type {
    tq_f16_to_f32_fn *widen;
    uint16_t infinity;
    double past; /* the power of two behind the largest number */
} narrow_type;

static const narrow_type f16 = {tq_f16_to_f32_scalar, 0x7c00, 0x1p16},
                         bf16 = {tq_bf16_to_f32_scalar, 0x7f80, 0x1p128};

static void around(const narrow_type *type, unsigned half, float x[OF_EACH], uint16_t want[OF_EACH]) {
    const uint16_t magnitude = half & 0x7fff, sign = half & 0x8000;
    const uint16_t pair[TQ_LANES] = {magnitude, magnitude + 1};
    float low[TQ_LANES];
    type->widen(TQ_LANES, pair, low);
    const double next = pair[1] == type->infinity ? type->past : (double)low[1];
    const float middle = (float)((double)low[0] / 2 + next / 2);
    const float magnitudes[OF_EACH] = {low[0], nextafterf(middle, 0.0f), middle,
                                       nextafterf(middle, INFINITY)};
    const unsigned up[OF_EACH] = {0, 0, magnitude & 1, 1};
    for (unsigned i = 0; i < OF_EACH; i++) {
        x[i] = copysignf(magnitudes[i], sign == 0 ? 1.0f : -1.0f);
        want[i] = (uint16_t)(half + up[i]);
    }
}

static void narrow_case(run *r, tq_f32_to_f16_fn *narrow, size_t n, const float *x,
                        const uint16_t *want) {
    const unsigned in_place = float_place(rng_below(&r->rng, FLOAT_PLACES));
    const unsigned even = 2 * rng_below(&r->rng, 32);
    const unsigned out_place = rng_below(&r->rng, 2) == 0 ? even : PLACE_LAST;
    if (!run_case(r, "%zu numbers from %a on", n, (double)x[0])) return;
    const float *src = slot_place(&r->slots[0], "src", ELEMENT_FLOAT, in_place, 1, n, n);
    void *dst = slot_place(&r->slots[1], "dst", ELEMENT_BYTE, out_place, 1, n * sizeof *want, 0);
    slot_write(&r->slots[0], x);
    narrow(n, src, dst);
    run_expect(r, &r->slots[1], want, SAME_BYTES);
}

/* Every finite number of both signs, and then what is beyond them all. */
static void narrow_all(run *r, tq_f32_to_f16_fn *narrow, const narrow_type *type,
                       const uint16_t beyond_want[TQ_LANES]) {
    static const uint32_t beyond[TQ_LANES] = {
        0x7f800000, 0xff800000, 0x7f7fffff, 0xff7fffff, 0x47800001, 0xc7ffffff, 0x7f800001, 0xff800001,
        0x7f802000, 0xffbfffff, 0x7fc00000, 0xffc02000, 0x7fffffff, 0xffffffff, 0x00000001, 0x807fffff};
    float x[TQ_MAX_DIM];
    uint16_t want[TQ_MAX_DIM];
    size_t n = 0, most = TQ_LANES;
    for (unsigned half = 0; half < 65536 && !r->failed; half++) {
        const bool last = half == 0x8000u + type->infinity - 1;
        if ((half & type->infinity) == type->infinity) continue;
        around(type, half, x + n, want + n);
        n += OF_EACH;
        if (n < most && !last) continue;
        narrow_case(r, narrow, n, x, want);
        n = 0;
        most = TQ_LANES * (1 + rng_below(&r->rng, TQ_MAX_DIM / TQ_LANES));
    }
    memcpy(x, beyond, sizeof beyond);
    narrow_case(r, narrow, TQ_LANES, x, beyond_want);
}

void check_f32_to_f16(run *r, const tq_kernels *kernel) {
    static const uint16_t beyond[TQ_LANES] = {0x7c00, 0xfc00, 0x7c00, 0xfc00, 0x7c00, 0xfc00,
                                              0x7e00, 0xfe00, 0x7e01, 0xffff, 0x7e00, 0xfe01,
                                              0x7fff, 0xffff, 0x0000, 0x8000};
    narrow_all(r, kernel->f32_to_f16, &f16, beyond);
}

void check_f32_to_bf16(run *r, const tq_kernels *kernel) {
    static const uint16_t beyond[TQ_LANES] = {0x7f80, 0xff80, 0x7f80, 0xff80, 0x4780, 0xc800,
                                              0x7fc0, 0xffc0, 0x7fc0, 0xffff, 0x7fc0, 0xffc0,
                                              0x7fff, 0xffff, 0x0000, 0x8080};
    narrow_all(r, kernel->f32_to_bf16, &bf16, beyond);
}
