/* SPDX-License-Identifier: MIT
 * Rows of a path's results held against float64, stretch by stretch: a task is a block of queries of a
 * head. What comes out does not depend on threads. */
#include <float.h>
#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "ablate/ablate.h"
#include "base/message.h"
#include "base/progress.h"
#include "base/threads.h"

enum { BLOCK = MEASURE_EXACT_BLOCK };

/* The work of all tasks. */
typedef struct desk {
    const cli_references *references;
    const cli_outcome *outcome;
    measure_exact own, seen; /* what the path should read; with the keys that it does */
    bool reads_own;          /* it reads what it should */
    double *longest;         /* [H] key, and twice the vector that it lacks */
    cli_row_errors *rows;    /* [H][n] */
    cli_finding *findings;   /* [blocks] */
    atomic_bool failed;      /* memory ran out */
} desk;

/* A task's block of queries, and its room. [m][T] or [m][D]. */
typedef struct bench {
    const desk *d;
    size_t h, first, m;
    double *scores, *weights, *p_scores, *p;
    double *want, *terms, *all_want, *all_terms;
    double top[BLOCK], sum[BLOCK], lse[BLOCK];
    double bound[BLOCK];
    cli_finding *finding;
} bench;

size_t cli_n_blocks(const measure_exact *x) {
    return x->n_heads * ((x->n_queries + BLOCK - 1) / BLOCK);
}

/* Block number `index`: of a head, from a query on, so many. */
static void block_of(const measure_exact *x, size_t index, size_t *h, size_t *first, size_t *m) {
    const size_t each = (x->n_queries + BLOCK - 1) / BLOCK;
    *h = index / each;
    *first = index % each * BLOCK;
    *m = x->n_queries - *first < BLOCK ? x->n_queries - *first : BLOCK;
}

static double *new_doubles(size_t n) {
    return calloc(n ? n : 1, sizeof(double));
}

/* Keeps the worst of the earliest stage, the first head, the first positions. */
static void keep(cli_finding *f, const cli_finding *found) {
    const bool same = f->stage == found->stage && f->head == found->head && f->first == found->first;
    const bool earlier = f->stage == CLI_STAGE_NONE || found->stage < f->stage ||
                         (found->stage == f->stage &&
                          (found->head < f->head || (found->head == f->head && found->first < f->first)));
    if (earlier || (same && found->size > f->size)) *f = *found;
}

static void note(const bench *b, cli_stage stage, const cli_part *part, double size, double bound) {
    const cli_path *path = b->d->outcome->path;
    const cli_finding found = {.path = path->name,
                               .stage = stage,
                               .head = b->h,
                               .first = path->first + part->begin,
                               .last = path->first + part->end - 1,
                               .size = size,
                               .bound = bound};
    keep(b->finding, &found);
}

/* Length of the error of an output row in units of its absolute terms. */
static double row_error(const double *want, const double *terms, const float *out, size_t dim) {
    double error = 0.0;
    for (size_t j = 0; j < dim; j++)
        error += ((double)out[j] - want[j]) * ((double)out[j] - want[j]);
    error = sqrt(error);
    /* The smallest numbers have fewer digits. */
    return error <= (double)FLT_MIN ? 0.0 : error / measure_exact_length(terms, dim);
}

static double lse_error(double got, double want) {
    return got == want ? 0.0 : fabs(got - want) / fmax(1.0, fabs(want));
}

/* What the library promises of an output (tqkv/attention.h). */
static double row_bound(const desk *d, size_t h, size_t i) {
    const measure_exact *x = &d->own;
    const double query =
        measure_exact_float_length(x->q + (h * x->n_queries + i) * x->head_dim, x->head_dim);
    const double n = (double)x->n_positions, reach = fabs(x->scale) * query * d->longest[h];
    return ldexp(fmin(n, 512.0) + n / 16.0 + 16.0 + ((double)x->head_dim / 16.0 + 24.0) * reach, -23);
}

static double longest_key(const measure_exact *x, size_t h) {
    const size_t at = measure_exact_group(x, h) * x->n_positions * x->head_dim;
    double longest = 0.0;
    for (size_t t = 0; t < x->n_positions; t++) {
        longest = fmax(longest, measure_exact_float_length(x->k + at + t * x->head_dim, x->head_dim));
        if (x->k_young)
            longest =
                fmax(longest, measure_exact_float_length(x->k_young + at + t * x->head_dim, x->head_dim));
    }
    return longest;
}

/* Holds row j of a part to its bound; returns the error of the output. */
static double check_part(const bench *b, size_t j, const cli_part *part, bool all, const double *want,
                         const double *terms, double lse) {
    const measure_exact *x = &b->d->own;
    const size_t row = b->h * x->n_queries + b->first + j, dim = x->head_dim;
    const double off = lse_error((double)part->lse[row], lse), bound = b->bound[j];
    const double error = row_error(want + j * dim, terms + j * dim, part->out + row * dim, dim);
    /* Not written as off > bound, which NaN would pass. */
    if (!(off <= bound)) note(b, all ? CLI_STAGE_MERGE : CLI_STAGE_SOFTMAX, part, off, bound);
    if (!(error <= bound)) note(b, all ? CLI_STAGE_MERGE : CLI_STAGE_ACCUMULATION, part, error, bound);
    return error;
}

/* Sums that are left open become means. */
static void divide(double *x, size_t n, double by) {
    for (size_t i = 0; by > 0.0 && i < n; i++)
        x[i] /= by;
}

/* A stretch whose weights have vanished beside those of others has its own. */
static double reweigh(const bench *b, size_t j, const cli_part *part) {
    const measure_exact *x = &b->d->own;
    const size_t n = x->n_positions, dim = x->head_dim;
    double *weights = b->p; /* not yet in use */
    const double lse = measure_exact_softmax(b->scores + j * n + part->begin, part->end - part->begin,
                                             weights + part->begin);
    measure_exact_output(x, b->h, b->first + j, 1, weights, part->begin, part->end - part->begin,
                         b->want + j * dim, b->terms + j * dim);
    return lse;
}

static void check_stretch(bench *b, const cli_part *part) {
    const measure_exact *x = &b->d->own;
    const size_t n = x->n_positions, dim = x->head_dim;
    measure_exact_output(x, b->h, b->first, b->m, b->weights, part->begin, part->end - part->begin,
                         b->want, b->terms);
    for (size_t i = 0; i < b->m * dim; i++) {
        b->all_want[i] += b->want[i];
        b->all_terms[i] += b->terms[i];
    }
    for (size_t j = 0; j < b->m; j++) {
        double sum = 0.0;
        for (size_t t = part->begin; t < part->end; t++)
            sum += b->weights[j * n + t];
        b->sum[j] += sum;
        double lse = b->top[j] + log(sum);
        if (sum > 1e-200) {
            divide(b->want + j * dim, dim, sum);
            divide(b->terms + j * dim, dim, sum);
        } else {
            lse = reweigh(b, j, part);
        }
        check_part(b, j, part, false, b->want, b->terms, lse);
    }
}

/* Weights relative to the largest, whose sums are left open. */
static void weigh(bench *b) {
    const size_t n = b->d->own.n_positions;
    for (size_t j = 0; j < b->m; j++) {
        const double *scores = b->scores + j * n;
        double top = -(double)INFINITY;
        for (size_t t = 0; t < n; t++)
            top = scores[t] > top ? scores[t] : top;
        for (size_t t = 0; t < n; t++)
            b->weights[j * n + t] = isinf(scores[t]) ? 0.0 : exp(scores[t] - top);
        b->top[j] = top;
        b->sum[j] = 0.0;
    }
}

static void check_block(bench *b) {
    const measure_exact *x = &b->d->own;
    const cli_outcome *o = b->d->outcome;
    const size_t dim = x->head_dim;
    measure_exact_scores(x, b->h, b->first, b->m, b->scores);
    weigh(b);
    memset(b->all_want, 0, b->m * dim * sizeof *b->all_want);
    memset(b->all_terms, 0, b->m * dim * sizeof *b->all_terms);
    for (size_t p = 0; p + 1 < o->n_parts; p++)
        check_stretch(b, &o->parts[p]);
    for (size_t j = 0; j < b->m; j++) {
        cli_row_errors *row = &b->d->rows[b->h * x->n_queries + b->first + j];
        divide(b->all_want + j * dim, dim, b->sum[j]);
        divide(b->all_terms + j * dim, dim, b->sum[j]);
        b->lse[j] = b->sum[j] > 0.0 ? b->top[j] + log(b->sum[j]) : -(double)INFINITY;
        row->bound = b->bound[j];
        row->worst =
            check_part(b, j, &o->parts[o->n_parts - 1], true, b->all_want, b->all_terms, b->lse[j]);
    }
}

static void add_errors(const bench *b, size_t j) {
    const desk *d = b->d;
    const size_t dim = d->own.head_dim, at = b->h * d->own.n_queries + b->first + j;
    const float *out = d->outcome->parts[d->outcome->n_parts - 1].out + at * dim;
    const double *original = d->references->original_out + at * dim;
    const double *decoded = d->references->decoded_out + at * dim;
    cli_row_errors *row = &d->rows[at];
    double oo = 0.0, rr = 0.0, cross = 0.0;
    for (size_t i = 0; i < dim; i++) {
        const double o = (double)out[i], r = original[i], x = decoded[i];
        row->error_decoded += (o - x) * (o - x);
        row->whole_decoded += x * x;
        row->error_original += (o - r) * (o - r);
        oo += o * o;
        rr += r * r;
        cross += o * r;
    }
    row->whole_original = rr;
    row->cosine = oo == 0.0 || rr == 0.0 ? (oo == rr ? 1.0 : 0.0) : cross / sqrt(oo) / sqrt(rr);
}

static size_t heaviest(const double *scores, size_t n) {
    size_t best = 0;
    for (size_t t = 1; t < n; t++)
        best = scores[t] > scores[best] ? t : best;
    return best;
}

/* The softmax over the keys that the path reads, against that over the originals. */
static void add_divergences(bench *b) {
    const desk *d = b->d;
    const size_t n = d->own.n_positions;
    if (!d->reads_own) measure_exact_scores(&d->seen, b->h, b->first, b->m, b->scores);
    measure_exact_scores(&d->references->original, b->h, b->first, b->m, b->p_scores);
    for (size_t j = 0; j < b->m; j++) {
        const double *scores = b->scores + j * n, *p_scores = b->p_scores + j * n;
        cli_row_errors *row = &d->rows[b->h * d->own.n_queries + b->first + j];
        const double p_lse = measure_exact_softmax(p_scores, n, b->p);
        if (!d->reads_own) b->lse[j] = measure_exact_softmax(scores, n, b->weights);
        row->kl = measure_exact_divergence(b->p, p_scores, p_lse, scores, b->lse[j], n);
        row->same_top = heaviest(p_scores, n) == heaviest(scores, n);
        add_errors(b, j);
    }
}

static bool bench_begin(bench *b, double **room) {
    const size_t scores = BLOCK * b->d->own.n_positions, outputs = BLOCK * b->d->own.head_dim;
    double *at = *room = new_doubles(3 * scores + b->d->own.n_positions + 4 * outputs);
    if (!at) return false;
    b->scores = at;
    b->weights = at + scores;
    b->p_scores = at + 2 * scores;
    b->p = at + 3 * scores;
    b->want = b->p + b->d->own.n_positions;
    b->terms = b->want + outputs;
    b->all_want = b->terms + outputs;
    b->all_terms = b->all_want + outputs;
    return true;
}

static void check_task(void *work, size_t index) {
    desk *d = work;
    double *room;
    bench b = {.d = d, .finding = &d->findings[index]};
    block_of(&d->own, index, &b.h, &b.first, &b.m);
    if (bench_begin(&b, &room)) {
        for (size_t j = 0; j < b.m; j++)
            b.bound[j] = row_bound(d, b.h, b.first + j);
        check_block(&b);
        add_divergences(&b);
    } else {
        atomic_store(&d->failed, true);
    }
    free(room);
    cli_progress_add(1);
}

int cli_check_rows(const cli_references *references, const tq_parallel *threads,
                   const cli_outcome *outcome, const measure_exact *own, cli_row_errors *rows,
                   cli_finding *finding) {
    const size_t n = cli_n_blocks(own);
    desk d = {.references = references, .outcome = outcome, .own = *own, .seen = *own, .rows = rows};
    d.reads_own = outcome->misread.stage != CLI_STAGE_KEYS;
    d.seen.k = outcome->keys;
    d.longest = new_doubles(own->n_heads);
    d.findings = calloc(n, sizeof *d.findings);
    *finding = (cli_finding){.stage = CLI_STAGE_NONE};
    memset(rows, 0, own->n_heads * own->n_queries * sizeof *rows);
    if (d.longest && d.findings) {
        for (size_t h = 0; h < own->n_heads; h++)
            d.longest[h] = longest_key(own, h) + 2.0 * outcome->path->centre_length;
        cli_run_tasks(threads, n, check_task, &d);
        for (size_t i = 0; i < n; i++)
            if (d.findings[i].stage != CLI_STAGE_NONE) keep(finding, &d.findings[i]);
    }
    const bool there = d.longest && d.findings && !atomic_load(&d.failed);
    free(d.longest);
    free(d.findings);
    return there ? CLI_DONE : cli_out_of_memory();
}

/* The outputs of the references. */
typedef struct reference_work {
    cli_references *references;
    atomic_bool failed;
} reference_work;

static void attend_block(const measure_exact *x, size_t index, double *scores, double *out) {
    const size_t n = x->n_positions;
    size_t h, first, m;
    block_of(x, index, &h, &first, &m);
    measure_exact_scores(x, h, first, m, scores);
    for (size_t j = 0; j < m; j++)
        measure_exact_softmax(scores + j * n, n, scores + j * n);
    measure_exact_output(x, h, first, m, scores, 0, n, out + (h * x->n_queries + first) * x->head_dim,
                         NULL);
}

static void reference_task(void *work, size_t index) {
    reference_work *w = work;
    cli_references *r = w->references;
    double *scores = new_doubles(BLOCK * r->original.n_positions);
    if (scores) {
        attend_block(&r->original, index, scores, r->original_out);
        attend_block(&r->decoded, index, scores, r->decoded_out);
    } else {
        atomic_store(&w->failed, true);
    }
    free(scores);
    cli_progress_add(1);
}

int cli_references_begin(cli_references *r, const tq_parallel *threads, const measure_exact *original,
                         const measure_exact *decoded) {
    const size_t values = original->n_heads * original->n_queries * original->head_dim;
    reference_work work = {.references = r};
    *r = (cli_references){.original = *original, .decoded = *decoded};
    r->original_out = new_doubles(values);
    r->decoded_out = new_doubles(values);
    if (!r->original_out || !r->decoded_out) return cli_out_of_memory();
    cli_run_tasks(threads, cli_n_blocks(original), reference_task, &work);
    return atomic_load(&work.failed) ? cli_out_of_memory() : CLI_DONE;
}

void cli_references_end(cli_references *references) {
    free(references->original_out);
    free(references->decoded_out);
}
