/* SPDX-License-Identifier: MIT
 * Partial results: two halves of sequences merged are the whole, and a merge of any partials is what
 * float64 makes of them. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "answer.h"
#include "check.h"
#include "usual.h"

enum { SPLIT = 64, MOST_PARTIALS = 64, ROWS = 12, HEADS = 4, WIDTH = 96 };

/* Device arrays of a partial result. */
typedef struct partial {
    float *acc, *max, *sum;
} partial;

static partial partial_new(size_t rows, size_t dim) {
    return (partial){.acc = device(rows * dim * 4), .max = device(rows * 4), .sum = device(rows * 4)};
}

/* The first SPLIT positions, all of which every query sees, and the others, in pages from there on. */
static void run_halves(const scene *s, const staged *on, const partial *halves) {
    tq_cuda_attention_config config = s->config;
    const int32_t first[5] = {SPLIT, SPLIT, SPLIT, SPLIT, SPLIT};
    int32_t rest[5];
    for (size_t b = 0; b < 5; b++)
        rest[b] = (int32_t)s->lengths[b] - SPLIT;
    tq_cuda_attention_batch batch = on->batch;
    batch.lse = NULL;
    for (int i = 0; i < 2; i++) {
        config.layer.bidirectional = i == 0;
        const planned p = plan_for(&config);
        void *workspace = device(p.info.workspace_bytes);
        batch.out = halves[i].acc, batch.max = halves[i].max, batch.sum = halves[i].sum;
        batch.lengths = i == 0 ? upload(first, sizeof first) : upload(rest, sizeof rest);
        if (i == 1) batch.block_tables = on->batch.block_tables + SPLIT / 16;
        succeed(tq_cuda_attention_run(p.plan, &batch, workspace, p.info.workspace_bytes, NULL));
        need(cudaDeviceSynchronize(), "a half");
        tq_cuda_attention_free(p.plan);
    }
}

static void check_halves(tq_cuda_accuracy accuracy, bool base2) {
    const tq_cuda_attention_config config = usual(accuracy);
    const planned p = plan_for(&config);
    scene s = plain("merged halves", &config, 2);
    staged on;
    answer a;
    for (size_t b = 0; b < 5; b++)
        s.lengths[b] = SPLIT + 2 + 61 * b;
    s.logits = true, s.base2 = base2;
    s.marks[s.n_marks++] = (mark){1, 3, 1, true, NAN};
    s.marks[s.n_marks++] = (mark){2, s.lengths[2] - 1, 0, false, INFINITY};
    scene_build(&s);
    stage(&s, p.plan, &on);
    const size_t rows = scene_tokens(&s) * config.layer.n_heads;
    partial halves[2] = {partial_new(rows, s.v.dim), partial_new(rows, s.v.dim)};
    run_halves(&s, &on, halves);
    const float *const acc[] = {halves[0].acc, halves[1].acc},
                       *const max[] = {halves[0].max, halves[1].max},
                       *const sum[] = {halves[0].sum, halves[1].sum};
    poison_outputs(&on, 0xA5, NULL);
    succeed(tq_cuda_attention_merge(cuda, 2, rows, config.layer.n_heads, s.v.dim, acc, max, sum,
                                    on.batch.sinks, base2, TQ_F32, on.batch.out, on.batch.lse, NULL));
    fetch(&on, 0xA5, &a);
    compare(&s, &a, false);
    answer_free(&a);
    device_reset();
    scene_free(&s);
    tq_cuda_attention_free(p.plan);
}

/* Partials as a run could leave them, some of rows that saw nothing and one that saw a NaN. */
typedef struct partials {
    size_t n;
    float acc[MOST_PARTIALS][ROWS * WIDTH], max[MOST_PARTIALS][ROWS], sum[MOST_PARTIALS][ROWS];
    float sinks[HEADS];
} partials;

static void draw_partials(partials *p, size_t n) {
    p->n = n;
    normals(p->sinks, HEADS, 2.0f);
    for (size_t i = 0; i < n; i++) {
        normals(p->acc[i], ROWS * WIDTH, 3.0f);
        normals(p->max[i], ROWS, 5.0f);
        for (size_t r = 0; r < ROWS; r++) {
            p->sum[i][r] = 1.0f + (float)below(100) / 7.0f;
            const bool nothing = r == 0 || (r == 1 && i > 0) || chance(15);
            const bool nan = r == 2 && i == n / 2;
            if (nothing && !nan) p->max[i][r] = -INFINITY, p->sum[i][r] = 0.0f;
            if (nan) p->max[i][r] = p->sum[i][r] = NAN;
            for (size_t d = 0; d < WIDTH && (nothing || nan); d++)
                p->acc[i][r * WIDTH + d] = nan ? NAN : 0.0f;
        }
    }
}

/* One row in float64; returns its logarithm, to the base that the partials have. */
static double merge_row(const partials *p, size_t r, bool sinks, bool base2, double *out, double *terms) {
    const double unit = base2 ? 0.69314718055994530942 : 1;
    double top = sinks ? (double)p->sinks[r % HEADS] : -(double)INFINITY, sum = 0;
    for (size_t i = 0; i < p->n; i++)
        top = fmax(top, unit * (double)p->max[i][r]);
    memset(out, 0, WIDTH * sizeof *out);
    *terms = 0;
    for (size_t i = 0; i < p->n; i++)
        if (isnan(p->max[i][r])) return *terms = NAN;
    if (isinf(top)) return top;
    if (sinks) sum = exp((double)p->sinks[r % HEADS] - top);
    for (size_t i = 0; i < p->n; i++)
        sum += exp(unit * (double)p->max[i][r] - top) * (double)p->sum[i][r];
    for (size_t i = 0; i < p->n; i++) {
        const double weight = exp(unit * (double)p->max[i][r] - top) / sum;
        for (size_t d = 0; d < WIDTH; d++) {
            out[d] += weight * (double)p->acc[i][r * WIDTH + d];
            *terms += weight * fabs((double)p->acc[i][r * WIDTH + d]);
        }
    }
    return (top + log(sum)) / unit;
}

static void compare_merge(const partials *p, bool sinks, bool base2, tq_type type, const void *out,
                          const float *lse) {
    const double step = type == TQ_F32 ? ldexp(1, -18) : type == TQ_F16 ? ldexp(1, -10) : ldexp(1, -7);
    for (size_t r = 0; r < ROWS; r++) {
        double want[WIDTH], terms;
        const double log_want = merge_row(p, r, sinks, base2, want, &terms);
        const bool is_nan = isnan(terms);
        size_t wrong = 0;
        for (size_t d = 0; d < WIDTH; d++) {
            const double got = (double)get(type, out, r * WIDTH + d);
            const bool near =
                fabs(got - want[d]) <= ldexp(terms, -18) + step * fabs(want[d]) + ldexp(1, -25);
            if (is_nan ? !isnan(got) : !near) wrong++;
        }
        const double log_got = lse == NULL ? log_want : (double)lse[r];
        const bool near = fabs(log_got - log_want) <= ldexp(16 + fabs(log_want), -20);
        if (is_nan ? lse != NULL && !isnan(log_got) : !near && !(log_got == log_want)) wrong++;
        expect(wrong == 0, "a merge of %zu partials, sinks %d, base2 %d, type %d: row %zu, %zu wrong",
               p->n, sinks, base2, (int)type, r, wrong);
    }
}

static void check_partials(size_t n, bool sinks, bool base2, tq_type type, bool in_place) {
    static partials p;
    static float out[ROWS * WIDTH], lse[ROWS];
    const float *acc[MOST_PARTIALS], *max[MOST_PARTIALS], *sum[MOST_PARTIALS];
    draw_partials(&p, n);
    float *first = upload(p.acc[0], sizeof p.acc[0]);
    for (size_t i = 0; i < n; i++) {
        acc[i] = i == 0 ? first : upload(p.acc[i], sizeof p.acc[i]);
        max[i] = upload(p.max[i], sizeof p.max[i]), sum[i] = upload(p.sum[i], sizeof p.sum[i]);
    }
    void *to = in_place ? first : device(sizeof out);
    float *logs = n % 2 == 0 ? NULL : device(sizeof lse);
    const float *given = sinks ? upload(p.sinks, sizeof p.sinks) : NULL;
    succeed(tq_cuda_attention_merge(cuda, n, ROWS, HEADS, WIDTH, acc, max, sum, given, base2, type, to,
                                    logs, NULL));
    download(out, to, ROWS * WIDTH * type_size(type));
    if (logs != NULL) download(lse, logs, sizeof lse);
    compare_merge(&p, sinks, base2, type, out, logs == NULL ? NULL : lse);
    device_reset();
}

void check_merge(void) {
    static const size_t counts[] = {1, 2, 3, 5, 33, 64};
    seed(5);
    for (size_t i = 0; i < 4; i++)
        check_halves(i % 2 == 0 ? TQ_CUDA_FAST : TQ_CUDA_EXACT, i / 2 == 1);
    for (size_t i = 0; i < 36; i++)
        check_partials(counts[i % 6], i / 6 % 2 == 1, i / 12 % 2 == 1, (tq_type)(i % 3), i % 12 == 0);
}
