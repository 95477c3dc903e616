/* SPDX-License-Identifier: MIT
 * Attention in float64, from its definition: what results are measured against.
 *
 * A vector's lanes are eight keys, or coordinates of a value, and never parts of one sum. */
#include "exact.h"

#include <assert.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "tqkv/cpu.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

/* Keys of a tile, queries that share its loads, and coordinates and positions at a time. */
enum { KEYS = 8, QUERIES = 4, DEPTH = 64, RUN = 64 };
_Static_assert(MEASURE_EXACT_BLOCK % QUERIES == 0, "a block is whole groups of queries");

/* products: sums[j][t] += q[d][j] * tile[d][t] for d below n.
 * values: out[j][d] += w[j][t] * v[t][d], and the same of magnitudes, for t below n and d below dim, a
 * multiple of the lanes. w has rows of `stride`. */
typedef struct kernels {
    void (*products)(size_t n, const double *q, const double *tile, double *sums);
    void (*values)(size_t n, size_t dim, const double *w, size_t stride, const float *v, double *out,
                   double *terms);
} kernels;

/* Written once for registers of `lanes` doubles; add(a, b, c) is a * b + c, rounded once where the
 * machine has that; widen(x) so many floats from x on. */
#define KERNELS(name, features, lanes, add, widen)                                                       \
    typedef double name __attribute__((vector_size(8 * lanes)));                                         \
    typedef int64_t name##_bits __attribute__((vector_size(8 * lanes)));                                 \
    features static void products_##name(size_t n, const double *q, const double *tile, double *sums) {  \
        name sum[QUERIES][KEYS / lanes], key;                                                            \
        memcpy(sum, sums, sizeof sum);                                                                   \
        for (size_t d = 0; d < n; d++, q += QUERIES, tile += KEYS) {                                     \
            _Pragma("GCC unroll 4") for (size_t i = 0; i < KEYS / lanes; i++) {                          \
                memcpy(&key, tile + i * lanes, sizeof key);                                              \
                _Pragma("GCC unroll 4") for (size_t j = 0; j < QUERIES; j++) sum[j][i] =                 \
                    add(key, q[j] - (name){0}, sum[j][i]);                                               \
            }                                                                                            \
        }                                                                                                \
        memcpy(sums, sum, sizeof sum);                                                                   \
    }                                                                                                    \
    features static void values_##name(size_t n, size_t dim, const double *w, size_t stride,             \
                                       const float *v, double *out, double *terms) {                     \
        for (size_t d = 0; d < dim; d += lanes) {                                                        \
            name sum[QUERIES], size[QUERIES];                                                            \
            _Pragma("GCC unroll 4") for (size_t j = 0; j < QUERIES; j++) {                               \
                memcpy(&sum[j], out + j * dim + d, sizeof sum[j]);                                       \
                memcpy(&size[j], terms + j * dim + d, sizeof size[j]);                                   \
            }                                                                                            \
            for (size_t t = 0; t < n; t++) {                                                             \
                const name value = widen(v + t * dim + d);                                               \
                const name large = (name)((name##_bits)value & INT64_MAX);                               \
                _Pragma("GCC unroll 4") for (size_t j = 0; j < QUERIES; j++) {                           \
                    const name weight = w[j * stride + t] - (name){0};                                   \
                    sum[j] = add(value, weight, sum[j]);                                                 \
                    size[j] = add(large, weight, size[j]);                                               \
                }                                                                                        \
            }                                                                                            \
            _Pragma("GCC unroll 4") for (size_t j = 0; j < QUERIES; j++) {                               \
                memcpy(out + j * dim + d, &sum[j], sizeof sum[j]);                                       \
                memcpy(terms + j * dim + d, &size[j], sizeof size[j]);                                   \
            }                                                                                            \
        }                                                                                                \
    }

#define MULTIPLY_ADD(a, b, c) ((a) * (b) + (c))
#define WIDEN_ONE(x)          ((one){(double)(x)[0]})
#define WIDEN_TWO(x)          ((two){(double)(x)[0], (double)(x)[1]})
KERNELS(one, , 1, MULTIPLY_ADD, WIDEN_ONE)
KERNELS(two, , 2, MULTIPLY_ADD, WIDEN_TWO)
#if defined(__x86_64__)
#define WIDEN_FOUR(x)  _mm256_cvtps_pd(_mm_loadu_ps(x))
#define WIDEN_EIGHT(x) _mm512_cvtps_pd(_mm256_loadu_ps(x))
KERNELS(four, __attribute__((target("avx2,fma"))), 4, _mm256_fmadd_pd, WIDEN_FOUR)
KERNELS(eight, __attribute__((target("avx512f"))), 8, _mm512_fmadd_pd, WIDEN_EIGHT)
#endif

/* Those that there are registers for, if whole ones are filled. */
static kernels best_kernels(size_t dim) {
    if (dim % KEYS != 0) return (kernels){products_one, values_one};
#if defined(__x86_64__)
    if (tq_isa_available(TQ_ISA_AVX512)) return (kernels){products_eight, values_eight};
    if (tq_isa_available(TQ_ISA_AVX2)) return (kernels){products_four, values_four};
#endif
    return (kernels){products_two, values_two};
}

size_t measure_exact_group(const measure_exact *x, size_t h) {
    return h / (x->n_heads / x->n_kv_heads);
}

static size_t smaller(size_t a, size_t b) {
    return a < b ? a : b;
}

static size_t larger(size_t a, size_t b) {
    return a > b ? a : b;
}

static bool is_young(const measure_exact *x, size_t i, size_t t) {
    return x->k_young && (t < x->n_sinks || t >= x->young_from[i]);
}

/* Positions [first, end) hold all that query i sees. */
static void sight(const measure_exact *x, size_t i, size_t *first, size_t *end) {
    const size_t at = x->first_query + i;
    *first = x->window != 0 && at + 1 > x->window ? smaller(at + 1 - x->window, x->n_positions) : 0;
    *end = x->causal && at < x->n_positions ? at + 1 : x->n_positions;
}

/* What queries first .. first + m - 1 see. */
static void sight_of_all(const measure_exact *x, size_t first, size_t m, size_t *from, size_t *to) {
    *from = x->n_positions;
    *to = 0;
    for (size_t i = first; i < first + m; i++) {
        size_t begin, end;
        sight(x, i, &begin, &end);
        *from = smaller(*from, begin);
        *to = larger(*to, end);
    }
}

/* n coordinates of eight keys, side by side; those beyond the last are zeros. */
static void fill_tile(const measure_exact *x, const float *k, size_t t, size_t n, double *tile) {
    for (size_t l = 0; l < KEYS; l++)
        for (size_t d = 0; d < n; d++)
            tile[d * KEYS + l] = t + l < x->n_positions ? (double)k[(t + l) * x->head_dim + d] : 0.0;
}

/* n coordinates of the queries of a block, each group's side by side; those that are not there are zeros.
 */
static void fill_queries(const measure_exact *x, const float *q, size_t m, size_t n, double *to) {
    for (size_t j = 0; j < MEASURE_EXACT_BLOCK; j++)
        for (size_t d = 0; d < n; d++)
            to[(j / QUERIES * DEPTH + d) * QUERIES + j % QUERIES] =
                j < m ? (double)q[j * x->head_dim + d] : 0.0;
}

/* Room for the sums of eight keys: those of keys as they have aged, and of young ones. */
typedef double sums[MEASURE_EXACT_BLOCK][KEYS];

/* The products of a block's queries with eight keys. */
static void multiply(const measure_exact *x, const kernels *use, const float *k, size_t t, size_t depth,
                     size_t m, const double *q, sums out) {
    double tile[DEPTH * KEYS];
    fill_tile(x, k, t, depth, tile);
    for (size_t j = 0; j < m; j += QUERIES)
        use->products(depth, q + j * DEPTH, tile, out[j]);
}

/* Whether some query of some keys [t, t + KEYS) finds a young (or old) one. */
static bool any(const measure_exact *x, size_t first, size_t m, size_t t, bool young) {
    for (size_t i = first; i < first + m; i++)
        for (size_t l = 0; l < KEYS; l++)
            if (is_young(x, i, t + l) == young) return true;
    return false;
}

/* Adds the products over coordinates [d, d + depth) to the scores of keys [from, to). */
static void add_products(const measure_exact *x, const kernels *use, size_t h, size_t first, size_t m,
                         size_t d, size_t depth, size_t from, size_t to, double *scores) {
    const size_t all = x->n_positions, dim = x->head_dim;
    const size_t at = measure_exact_group(x, h) * all * dim + d;
    double q[MEASURE_EXACT_BLOCK * DEPTH];
    fill_queries(x, x->q + (h * x->n_queries + first) * dim + d, m, depth, q);
    for (size_t t = from / KEYS * KEYS; t < to; t += KEYS) {
        sums old = {{0}}, young = {{0}};
        if (any(x, first, m, t, false)) multiply(x, use, x->k + at, t, depth, m, q, old);
        if (x->k_young && any(x, first, m, t, true))
            multiply(x, use, x->k_young + at, t, depth, m, q, young);
        for (size_t j = 0; j < m; j++)
            for (size_t l = 0; l < smaller(KEYS, all - t); l++)
                scores[j * all + t + l] += (is_young(x, first + j, t + l) ? young : old)[j][l];
    }
}

void measure_exact_scores(const measure_exact *x, size_t h, size_t first, size_t m, double *scores) {
    const kernels use = best_kernels(x->head_dim);
    const size_t all = x->n_positions;
    size_t from, to;
    sight_of_all(x, first, m, &from, &to);
    memset(scores, 0, m * all * sizeof *scores);
    for (size_t d = 0; d < x->head_dim; d += DEPTH)
        add_products(x, &use, h, first, m, d, smaller(DEPTH, x->head_dim - d), from, to, scores);
    for (size_t j = 0; j < m; j++) {
        double *row = scores + j * all;
        size_t begin, end;
        sight(x, first + j, &begin, &end);
        for (size_t t = 0; t < all; t++) {
            const double score = x->scale * row[t];
            row[t] = t < begin || t >= end ? -(double)INFINITY
                     : x->softcap > 0.0    ? x->softcap * tanh(score / x->softcap)
                                           : score;
        }
    }
}

double measure_exact_softmax(const double *scores, size_t n, double *weights) {
    double top = -(double)INFINITY, sum = 0.0;
    for (size_t t = 0; t < n; t++)
        top = scores[t] > top ? scores[t] : top;
    if (isinf(top)) {
        for (size_t t = 0; t < n; t++)
            weights[t] = 0.0;
        return top;
    }
    for (size_t t = 0; t < n; t++) {
        weights[t] = isinf(scores[t]) ? 0.0 : exp(scores[t] - top);
        sum += weights[t];
    }
    for (size_t t = 0; t < n; t++)
        weights[t] /= sum;
    return top + log(sum);
}

/* Weights of four queries at n positions, as far as they are above 0 and find a key as old as asked for.
 * Returns whether there are any. */
static bool pick(const measure_exact *x, size_t first, size_t m, bool young, const double *weights,
                 size_t t, size_t n, double *picked) {
    bool found = false;
    for (size_t j = 0; j < QUERIES; j++) {
        for (size_t i = 0; i < n; i++) {
            const double w = j < m && is_young(x, first + j, t + i) == young
                                 ? weights[j * x->n_positions + t + i]
                                 : 0.0;
            picked[j * RUN + i] = w > 0.0 ? w : 0.0;
            found = found || w > 0.0;
        }
    }
    return found;
}

/* Four queries, of which m are there. */
static void add_values(const measure_exact *x, const kernels *use, size_t h, size_t first, size_t m,
                       const double *weights, size_t from, size_t n, double *out, double *terms) {
    const size_t at = measure_exact_group(x, h) * x->n_positions;
    double picked[QUERIES * RUN];
    for (size_t t = from; t < from + n; t += RUN) {
        const size_t run = smaller(RUN, from + n - t);
        for (int young = 0; young < (x->v_young ? 2 : 1); young++) {
            const float *v = (young ? x->v_young : x->v) + (at + t) * x->head_dim;
            if (pick(x, first, m, young, weights, t, run, picked))
                use->values(run, x->head_dim, picked, RUN, v, out, terms);
        }
    }
}

void measure_exact_output(const measure_exact *x, size_t h, size_t first, size_t m, const double *weights,
                          size_t from, size_t n, double *out, double *terms) {
    const kernels use = best_kernels(x->head_dim);
    const size_t dim = x->head_dim;
    assert(dim <= MEASURE_EXACT_MAX_DIM);
    for (size_t j = 0; j < m; j += QUERIES) {
        double sum[QUERIES * MEASURE_EXACT_MAX_DIM], size[QUERIES * MEASURE_EXACT_MAX_DIM];
        const size_t rows = smaller(QUERIES, m - j);
        memset(sum, 0, QUERIES * dim * sizeof *sum);
        memset(size, 0, QUERIES * dim * sizeof *size);
        add_values(x, &use, h, first + j, rows, weights + j * x->n_positions, from, n, sum, size);
        memcpy(out + j * dim, sum, rows * dim * sizeof *out);
        if (terms) memcpy(terms + j * dim, size, rows * dim * sizeof *terms);
    }
}

void measure_exact_attend(const measure_exact *x, size_t h, size_t i, double *scratch, double *out,
                          double *terms) {
    measure_exact_scores(x, h, i, 1, scratch);
    measure_exact_softmax(scratch, x->n_positions, scratch);
    measure_exact_output(x, h, i, 1, scratch, 0, x->n_positions, out, terms);
}

double measure_exact_error(const float *got, const double *want, const double *measure, size_t n) {
    double off = 0.0;
    for (size_t d = 0; d < n; d++)
        off += ((double)got[d] - want[d]) * ((double)got[d] - want[d]);
    return sqrt(off) / measure_exact_length(measure, n);
}

double measure_exact_length(const double *vector, size_t n) {
    double sum = 0.0;
    for (size_t d = 0; d < n; d++)
        sum += vector[d] * vector[d];
    return sqrt(sum);
}

double measure_exact_float_length(const float *vector, size_t n) {
    double sum = 0.0;
    for (size_t d = 0; d < n; d++)
        sum += (double)vector[d] * (double)vector[d];
    return sqrt(sum);
}

double measure_exact_divergence(const double *p, const double *p_scores, double p_lse,
                                const double *scores, double lse, size_t n) {
    double sum = 0.0;
    for (size_t t = 0; t < n; t++)
        if (p[t] > 0.0) sum += p[t] * ((p_scores[t] - p_lse) - (scores[t] - lse));
    /* It is not negative; rounding may make it so by a little. */
    return sum > 0.0 || isnan(sum) ? sum : 0.0;
}
