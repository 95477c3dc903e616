/* SPDX-License-Identifier: MIT
 * What a device wrote beside the model, row by row, and the largest errors by what scenes have. */
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "answer.h"

static const double ln2 = 0.69314718055994530942;

/* How a row came out. */
typedef struct verdict {
    const char *wrong; /* NULL: nothing */
    double got, want;
    double out_share, lse_share; /* of what is promised */
    double usual_share;          /* of what is usual of normally distributed vectors */
    double relative;             /* error over sum of weight |v| */
} verdict;

static size_t out_at(const scene *s, size_t token, size_t h) {
    const size_t E = s->v.dim, head = s->out_head == 0 ? E : s->out_head;
    const size_t across = s->out_token == 0 ? s->config.layer.n_heads * head : s->out_token;
    return s->out_lead + token * across + h * head;
}

static void blame(verdict *v, const char *what, double got, double want) {
    if (v->wrong != NULL) return;
    v->wrong = what, v->got = got, v->want = want;
}

/* Half a step of a type at x. */
static double half_step(tq_type type, double x) {
    if (type == TQ_F32) return 0;
    return type == TQ_F16 ? ldexp(fabs(x), -11) + ldexp(1, -25) : ldexp(fabs(x), -8);
}

/* What the stats say, to natural logarithms. */
typedef struct stats {
    double lse, max, sum;
} stats;

static stats stats_of(const scene *s, const answer *a, size_t index) {
    const size_t rows = scene_tokens(s) * s->config.layer.n_heads;
    const double unit = s->base2 ? ln2 : 1;
    stats x = {0, 0, 1};
    x.lse = x.max = unit * (double)a->stats[STATS_GUARD + index];
    if (!s->open) return x;
    x.sum = (double)a->stats[2 * STATS_GUARD + rows + index];
    x.lse = x.max + log(x.sum);
    return x;
}

static void judge_log(const scene *s, const row *r, double got, double want, const char *what,
                      verdict *v) {
    if (isinf(want)) {
        if (!(got == want)) blame(v, what, got, want);
        return;
    }
    const double bound = model_lse_bound(s, r) + (s->base2 ? ldexp(fabs(want), -23) : 0);
    if (!(fabs(got - want) <= bound)) blame(v, what, got, want);
    v->lse_share = fmax(v->lse_share, fabs(got - want) / bound);
}

static void judge_nan(const scene *s, const stats *x, const answer *a, size_t at, verdict *v) {
    for (size_t d = 0; d < s->v.dim; d++) {
        const double got = (double)get(s->config.layer.out_type, a->first, at + d);
        if (!isnan(got)) blame(v, "out is no NaN, of a row that sees what is not finite", got, NAN);
    }
    if (s->open && !isnan(x->max)) blame(v, "max is no NaN", x->max, NAN);
    if (s->open && !isnan(x->sum)) blame(v, "sum is no NaN", x->sum, NAN);
    if (s->lse && !s->open && !isnan(x->lse)) blame(v, "lse is no NaN", x->lse, NAN);
}

/* Zeros, and a logarithm that is the sink's or -infinity. */
static void judge_nothing(const scene *s, const row *r, const stats *x, const answer *a, size_t at,
                          verdict *v) {
    for (size_t d = 0; d < s->v.dim; d++) {
        const double got = (double)get(s->config.layer.out_type, a->first, at + d);
        if (!(got == 0)) blame(v, "out, of a row that sees nothing", got, 0);
    }
    if (s->open && !(x->sum == 0)) blame(v, "sum, of a row that sees nothing", x->sum, 0);
    if (s->open && !(x->max == -(double)INFINITY))
        blame(v, "max, of a row that sees nothing", x->max, -(double)INFINITY);
    if (s->lse && !s->open) judge_log(s, r, x->lse, r->lse, "lse, of a row that sees nothing", v);
}

/* What float16 cannot hold becomes infinite; how far it is off otherwise. */
static double error_of(const scene *s, double got, double want, double slack, verdict *v) {
    const bool f16 = s->config.layer.out_type == TQ_F16;
    if (f16 && isinf(got) && (got > 0) == (want > 0) && fabs(want) + slack >= 65519) return 0;
    if (f16 && fabs(want) - slack > 65521) blame(v, "out, which float16 cannot hold", got, want);
    if (!isfinite(got)) blame(v, "out", got, want);
    return fabs(got - want);
}

static void judge_out(const scene *s, const row *r, const stats *x, const answer *a, size_t at,
                      verdict *v) {
    const double most = model_out_bound(s, r) * r->terms;
    double square = 0, rounding = 0;
    for (size_t d = 0; d < s->v.dim; d++) {
        const double got = (double)get(s->config.layer.out_type, a->first, at + d) / x->sum;
        const double error = error_of(s, got, r->out[d], most, v);
        const double half = 1.01 * half_step(s->config.layer.out_type, fabs(r->out[d]) + error);
        square += error * error, rounding += half * half;
    }
    const double error = sqrt(square), step = sqrt(rounding);
    if (!(error <= most + step + (double)FLT_MIN)) blame(v, "out, error and bound", error, most + step);
    if (!(r->terms > 1e-30)) return; /* what underflows has no share of anything */
    const double usual = ldexp(1.5 + r->reach / sqrt((double)s->k.dim), -11) * r->terms;
    v->relative = fmax(0, error - step) / r->terms;
    v->out_share = fmax(0, error - step) / most;
    v->usual_share = fmax(0, error - step) / usual;
    if (s->ordinary && s->config.accuracy == TQ_CUDA_FAST && !(error <= usual + step))
        blame(v, "out, within its bound but beyond what is usual, error and that", error, usual + step);
}

static void judge(const scene *s, const answer *a, size_t index, row *r, verdict *v) {
    const size_t H = s->config.layer.n_heads, token = index / H, h = index % H;
    const size_t at = out_at(s, token, h);
    stats x = {0, 0, 1};
    *v = (verdict){0};
    if (s->lse || s->open) x = stats_of(s, a, index);
    model_attend(s, token / s->n_queries, token % s->n_queries, h, r);
    if (r->nan)
        judge_nan(s, &x, a, at, v);
    else if (r->seen == 0)
        judge_nothing(s, r, &x, a, at, v);
    else if (!r->unsure) {
        judge_out(s, r, &x, a, at, v);
        if (s->lse || s->open) judge_log(s, r, x.lse, r->lse, s->open ? "max and sum" : "lse", v);
        if (s->open && !isfinite(x.max)) blame(v, "max, which the sum is relative to", x.max, r->max);
    }
}

/* Nothing between rows and around them was written to. */
static bool gaps_intact(const scene *s, const answer *a) {
    const size_t size = type_size(s->config.layer.out_type), H = s->config.layer.n_heads;
    const size_t rows = scene_tokens(s) * H;
    uint8_t *out = host(a->out_bytes), *numbers = host(a->stats_bytes);
    memcpy(out, a->out, a->out_bytes), memcpy(numbers, a->stats, a->stats_bytes);
    for (size_t i = 0; i < rows; i++)
        memset(out + (a->first - a->out) + out_at(s, i / H, i % H) * size, a->poison, s->v.dim * size);
    if (s->open || s->lse) memset(numbers + STATS_GUARD * 4, a->poison, rows * 4);
    if (s->open) memset(numbers + (2 * STATS_GUARD + rows) * 4, a->poison, rows * 4);
    bool intact = true;
    for (size_t i = 0; i < a->out_bytes; i++)
        intact &= out[i] == (uint8_t)a->poison;
    for (size_t i = 0; i < a->stats_bytes; i++)
        intact &= numbers[i] == (uint8_t)a->poison;
    free(out), free(numbers);
    return intact;
}

/* The same bits in what two runs wrote. */
static bool same_bits(const scene *s, const answer *a, const answer *b) {
    const size_t size = type_size(s->config.layer.out_type), H = s->config.layer.n_heads;
    const size_t rows = scene_tokens(s) * H, second = 2 * STATS_GUARD + rows;
    bool same = true;
    for (size_t i = 0; i < rows; i++) {
        const size_t at = out_at(s, i / H, i % H) * size;
        same &= memcmp(a->first + at, b->first + at, s->v.dim * size) == 0;
    }
    if (s->open || s->lse) same &= memcmp(a->stats + STATS_GUARD, b->stats + STATS_GUARD, rows * 4) == 0;
    return same && (!s->open || memcmp(a->stats + second, b->stats + second, rows * 4) == 0);
}

/* What scenes may have, and the worst of those that have it. */
typedef struct tally {
    char name[32];
    size_t scenes, rows;
    double out_share, lse_share, usual_share, relative, sum_relative;
} tally;

static tally tallies[128];
static size_t n_tallies;

static void count(const char *name, bool has, const scene *s, const verdict *v, size_t rows) {
    size_t i = 0;
    if (!has) return;
    while (i < n_tallies && strcmp(tallies[i].name, name) != 0)
        i++;
    if (i == n_tallies) snprintf(tallies[n_tallies++].name, sizeof tallies[i].name, "%s", name);
    tally *t = &tallies[i];
    t->scenes++, t->rows += rows;
    for (size_t r = 0; r < rows; r++) {
        t->out_share = fmax(t->out_share, v[r].out_share);
        t->lse_share = fmax(t->lse_share, v[r].lse_share);
        if (s->ordinary) t->usual_share = fmax(t->usual_share, v[r].usual_share);
        t->relative = fmax(t->relative, v[r].relative);
        t->sum_relative += v[r].relative;
    }
}

static void count_scene(const scene *s, const verdict *v, size_t rows) {
    const tq_attention_config *c = &s->config.layer;
    const bool fast = s->config.accuracy == TQ_CUDA_FAST,
               v1 = TQ_IS_V1(c->k_format) || TQ_IS_V1(c->v_format);
    count(fast ? "fast" : "exact", true, s, v, rows);
    count(fast ? "fast, ordinary" : "exact, ordinary", s->ordinary, s, v, rows);
    char d[32], group[32];
    snprintf(d, sizeof d, "D %zu E %zu", s->k.dim, s->v.dim);
    snprintf(group, sizeof group, "heads in groups of %zu", group_of(s));
    count(tq_format_name(c->k_format), true, s, v, rows);
    count(d, true, s, v, rows);
    count(group, true, s, v, rows);
    count("v1", v1, s, v, rows);
    count("any layout", s->config.any_layout != 0, s, v, rows);
    count("sinks in float16", s->n_sinks > 0, s, v, rows);
    count("recent", s->recent_capacity > 0, s, v, rows);
    count("one centre", s->centre && s->stretch == 0, s, v, rows);
    count("centres of stretches", s->centre && s->stretch > 0, s, v, rows);
    count("window", c->window > 0, s, v, rows);
    count("softcap", c->softcap > 0.0f, s, v, rows);
    count("bidirectional", c->bidirectional != 0, s, v, rows);
    count("tree", s->n_tree > 0, s, v, rows);
    count("slopes", s->slopes, s, v, rows);
    count("extra logits", s->logits, s, v, rows);
    count("open", s->open, s, v, rows);
    count("base 2", s->base2, s, v, rows);
    count("rotated", c->domain == TQ_ROTATED, s, v, rows);
    count("several queries", s->n_queries > 1, s, v, rows);
    count(s->name, true, s, v, rows);
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const tally *)a)->name, ((const tally *)b)->name);
}

void print_report(void) {
    printf("%-28s %6s %8s | largest share of the bound, of what is usual | error over sum of w|v|\n",
           "scenes with", "scenes", "rows");
    qsort(tallies, n_tallies, sizeof *tallies, by_name);
    for (size_t i = 0; i < n_tallies; i++) {
        const tally *t = &tallies[i];
        printf("%-28s %6zu %8zu | out %-8.2g lse %-8.2g usual %-8.2g | largest %.2g, mean %.2g\n",
               t->name, t->scenes, t->rows, t->out_share, t->lse_share, t->usual_share, t->relative,
               t->sum_relative / (double)t->rows);
    }
}

static void judge_all(const scene *s, const answer *a, verdict *v) {
    const size_t rows = scene_tokens(s) * s->config.layer.n_heads;
#ifdef _OPENMP
#pragma omp parallel for schedule(dynamic, 4)
#endif
    for (size_t i = 0; i < rows; i++) {
        row r = {.out = host(s->v.dim * sizeof *r.out)};
        judge(s, a, i, &r, &v[i]);
        free(r.out);
    }
}

/* What all that is wrong has in common: the whole scene, a head, a block of queries, a sequence; and the
 * first wrong row's coordinate that is farthest off. */
static void tell_wrong(const scene *s, const answer *a, const verdict *v, size_t rows, size_t first) {
    const size_t H = s->config.layer.n_heads;
    size_t heads[64] = {0}, last = first, sequences = 0, farthest = 0;
    double most = -1;
    for (size_t i = first; i < rows; i++) {
        if (v[i].wrong == NULL) continue;
        heads[i % H % 64]++;
        if (i == first || i / H / s->n_queries != last / H / s->n_queries) sequences++;
        last = i;
    }
    printf("    wrong rows by head:");
    for (size_t h = 0; h < H && h < 64; h++)
        printf(" %zu", heads[h]);
    printf("; in %zu sequences; last: sequence %zu query %zu\n", sequences, last / H / s->n_queries,
           last / H % s->n_queries);
    row r = {.out = host(s->v.dim * sizeof *r.out)};
    model_attend(s, first / H / s->n_queries, first / H % s->n_queries, first % H, &r);
    const stats x = s->open ? stats_of(s, a, first) : (stats){0, 0, 1};
    size_t far = 0;
    for (size_t d = 0; d < s->v.dim; d++) {
        const double got =
            (double)get(s->config.layer.out_type, a->first, out_at(s, first / H, first % H) + d);
        const double error = fabs(got / x.sum - r.out[d]);
        if (!(error <= model_out_bound(s, &r) * r.terms)) far++;
        if (!(error <= most)) most = error, farthest = d;
        if (d < 4) printf("    coordinate %zu: %.6g, wanted %.6g\n", d, got / x.sum, r.out[d]);
    }
    printf("    the first row: %zu coordinates of %zu far off, farthest %zu by %.3g; it sees %zu "
           "positions\n",
           far, s->v.dim, farthest, most, r.seen);
    free(r.out);
}

size_t compare(const scene *s, const answer *a, bool quiet) {
    const size_t H = s->config.layer.n_heads, rows = scene_tokens(s) * H;
    verdict *v = host(rows * sizeof *v);
    size_t wrong = 0, first = rows;
    char line[1200];
    judge_all(s, a, v);
    for (size_t i = rows; i-- > 0;)
        if (v[i].wrong != NULL) wrong++, first = i;
    if (!quiet) {
        scene_tell(s, line, sizeof line);
        if (wrong > 0) {
            expect(false,
                   "%zu of %zu rows, first sequence %zu query %zu head %zu: %s: %.9g, %.9g\n    %s",
                   wrong, rows, first / H / s->n_queries, first / H % s->n_queries, first % H,
                   v[first].wrong, v[first].got, v[first].want, line);
            tell_wrong(s, a, v, rows, first);
        } else {
            expect(true, "rows");
        }
        expect(gaps_intact(s, a), "something beside the outputs was written to\n    %s", line);
        count_scene(s, v, rows);
    }
    free(v);
    return wrong;
}

tq_cuda_attention *plan_of(const tq_cuda_attention_config *config, tq_cuda_attention_info *info) {
    tq_cuda_attention *plan = NULL;
    succeed(tq_cuda_attention_plan(cuda, config, &plan, info));
    return plan;
}

void check_scene(scene *s, const tq_cuda_attention *plan, const tq_cuda_attention_info *info) {
    staged on;
    answer a, again;
    char line[1200];
    scene_build(s);
    scene_tell(s, line, sizeof line);
    stage(s, plan, &on);
    expect(on.workspace_bytes <= info->workspace_bytes, "workspace: %zu bytes, the plan says %zu\n    %s",
           on.workspace_bytes, info->workspace_bytes, line);
    run(&on, plan, 0xA5, NULL, &a);
    compare(s, &a, false);
    run(&on, plan, 0x5A, NULL, &again);
    expect(same_bits(s, &a, &again), "a second run gives other bits\n    %s", line);
    answer_free(&a), answer_free(&again);
    device_reset();
    scene_free(s);
}
