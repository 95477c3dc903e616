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
    const measure_exact *truths;
    size_t n_truths;
    const tq_parallel *threads;
    cli_check_of *paths;
    size_t n_paths;
    double *longest;       /* [truths][H] key, and twice the vector that it lacks */
    cli_finding *findings; /* [paths][blocks] */
    atomic_bool failed;    /* memory ran out */
} desk;

/* Float64 on one of the truths, for the block of a task. */
typedef struct exact {
    double *scores, *weights; /* [m][T]; weights sum to one */
    double *out, *terms;      /* [m][D] */
    double lse[BLOCK];
} exact;

/* A task's block of queries, and its room. */
typedef struct bench {
    const desk *d;
    size_t index, h, first, m;
    exact original, decoded, own; /* of decoded outputs alone are kept */
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

static void note(const bench *b, size_t p, cli_stage stage, const cli_part *part, double size,
                 double bound) {
    const cli_path *path = b->d->paths[p].outcome->path;
    const cli_finding found = {.path = path->name,
                               .stage = stage,
                               .head = b->h,
                               .first = path->first + part->begin,
                               .last = path->first + part->end - 1,
                               .size = size,
                               .bound = bound};
    keep(&b->d->findings[p * cli_n_blocks(b->d->truths) + b->index], &found);
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

/* What the library promises of an output (tqkv/attention.h, tqkv/cuda_attention.h). */
static double row_bound(const bench *b, const cli_path *path, size_t j) {
    const size_t truth = path->truth;
    const measure_exact *x = &b->d->truths[truth];
    const size_t row = b->h * x->n_queries + b->first + j;
    const double query = measure_exact_float_length(x->q + row * x->head_dim, x->head_dim);
    const double n = (double)x->n_positions;
    const double reach = fabs(x->scale) * query * b->d->longest[truth * x->n_heads + b->h];
    if (path->there) return cli_there_row_bound(path->there, x->n_positions, x->head_dim, reach);
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
static double check_part(const bench *b, size_t p, size_t j, const cli_part *part, bool all,
                         const double *out, const double *terms, double lse) {
    const measure_exact *x = b->d->truths;
    const size_t row = b->h * x->n_queries + b->first + j, dim = x->head_dim;
    const double bound = row_bound(b, b->d->paths[p].outcome->path, j);
    const double off = lse_error((double)part->lse[row], lse);
    const double error = row_error(out, terms, part->out + row * dim, dim);
    /* Not written as off > bound, which NaN would pass. */
    if (!(off <= bound)) note(b, p, all ? CLI_STAGE_MERGE : CLI_STAGE_SOFTMAX, part, off, bound);
    if (!(error <= bound)) note(b, p, all ? CLI_STAGE_MERGE : CLI_STAGE_ACCUMULATION, part, error, bound);
    return error;
}

/* Stretches, each with weights of its own; `room` [T]. They are looked at where all is not as it should
 * be: no need to be fast. */
static void check_stretches(const bench *b, size_t p, size_t j, double *room, double *out,
                            double *terms) {
    const cli_outcome *o = b->d->paths[p].outcome;
    const measure_exact *x = &b->d->truths[o->path->truth];
    for (size_t i = 0; i + 1 < o->n_parts; i++) {
        const cli_part *part = &o->parts[i];
        const size_t n = part->end - part->begin;
        const double lse = measure_exact_softmax(b->own.scores + j * x->n_positions + part->begin, n,
                                                 room + part->begin);
        measure_exact_output(x, b->h, b->first + j, 1, room, part->begin, n, out, terms);
        check_part(b, p, j, part, false, out, terms, lse);
    }
}

static void attend(const bench *b, const measure_exact *x, exact *e) {
    const size_t n = x->n_positions;
    measure_exact_scores(x, b->h, b->first, b->m, e->scores);
    for (size_t j = 0; j < b->m; j++)
        e->lse[j] = measure_exact_softmax(e->scores + j * n, n, e->weights + j * n);
    measure_exact_output(x, b->h, b->first, b->m, e->weights, 0, n, e->out, e->terms);
}

static void add_errors(const bench *b, size_t j, const float *got, cli_row_errors *row) {
    const size_t dim = b->d->truths->head_dim;
    const double *original = b->original.out + j * dim, *decoded = b->decoded.out + j * dim;
    double oo = 0.0, rr = 0.0, cross = 0.0;
    for (size_t i = 0; i < dim; i++) {
        const double o = (double)got[i], r = original[i], x = decoded[i];
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

/* The softmax over keys with those scores, against that over the originals. */
static void add_divergence(const bench *b, size_t j, const double *scores, double lse,
                           cli_row_errors *row) {
    const size_t n = b->d->truths->n_positions;
    const double *p_scores = b->original.scores + j * n;
    row->kl = measure_exact_divergence(b->original.weights + j * n, p_scores, b->original.lse[j], scores,
                                       lse, n);
    row->same_top = heaviest(p_scores, n) == heaviest(scores, n);
}

/* The same over the keys that the path reads, where they are others than it should. room: [2][T] */
static void add_read_divergence(const bench *b, size_t p, size_t j, double *room, cli_row_errors *row) {
    const cli_outcome *o = b->d->paths[p].outcome;
    measure_exact seen = b->d->truths[o->path->truth];
    seen.k = o->keys;
    measure_exact_scores(&seen, b->h, b->first + j, 1, room);
    add_divergence(b, j, room, measure_exact_softmax(room, seen.n_positions, room + seen.n_positions),
                   row);
}

static void check_path(const bench *b, size_t p, const exact *e, double *room) {
    const cli_outcome *o = b->d->paths[p].outcome;
    const cli_part *all = &o->parts[o->n_parts - 1];
    const size_t dim = b->d->truths->head_dim, n = b->d->truths->n_positions;
    for (size_t j = 0; j < b->m; j++) {
        const size_t at = b->h * b->d->truths->n_queries + b->first + j;
        cli_row_errors *row = &b->d->paths[p].rows[at];
        *row = (cli_row_errors){.bound = row_bound(b, o->path, j)};
        row->worst = check_part(b, p, j, all, true, e->out + j * dim, e->terms + j * dim, e->lse[j]);
        check_stretches(b, p, j, room, room + 2 * n, room + 2 * n + dim);
        add_errors(b, j, all->out + at * dim, row);
        if (o->misread.stage == CLI_STAGE_KEYS)
            add_read_divergence(b, p, j, room, row);
        else
            add_divergence(b, j, e->scores + j * n, e->lse[j], row);
    }
}

/* The decoded outputs first, since every path is compared with them. */
static void check_block(bench *b, double *room) {
    const desk *d = b->d;
    attend(b, &d->truths[CLI_TRUTH_ORIGINAL], &b->original);
    for (size_t t = CLI_TRUTH_DECODED; t < d->n_truths; t++) {
        attend(b, &d->truths[t], &b->own);
        if (t == CLI_TRUTH_DECODED)
            memcpy(b->decoded.out, b->own.out, b->m * d->truths->head_dim * sizeof *b->own.out);
        for (size_t p = 0; p < d->n_paths; p++)
            if (d->paths[p].outcome->path->truth == t) check_path(b, p, &b->own, room);
    }
    b->own = b->original;
    for (size_t p = 0; p < d->n_paths; p++)
        if (d->paths[p].outcome->path->truth == CLI_TRUTH_ORIGINAL) check_path(b, p, &b->own, room);
}

/* Takes n doubles from *at. */
static double *take(double **at, size_t n) {
    double *taken = *at;
    *at += n;
    return taken;
}

static double *bench_begin(bench *b) {
    const size_t n = b->d->truths->n_positions, dim = b->d->truths->head_dim;
    double *all = new_doubles(4 * BLOCK * n + 5 * BLOCK * dim + 2 * n + 2 * dim), *at = all;
    if (!all) return NULL;
    exact *whole[] = {&b->original, &b->own};
    for (size_t i = 0; i < 2; i++) {
        whole[i]->scores = take(&at, BLOCK * n);
        whole[i]->weights = take(&at, BLOCK * n);
        whole[i]->out = take(&at, BLOCK * dim);
        whole[i]->terms = take(&at, BLOCK * dim);
    }
    b->decoded.out = take(&at, BLOCK * dim);
    return all;
}

static void check_task(void *work, size_t index) {
    desk *d = work;
    bench b = {.d = d, .index = index};
    block_of(d->truths, index, &b.h, &b.first, &b.m);
    double *room = bench_begin(&b);
    if (room)
        check_block(&b, b.decoded.out + BLOCK * d->truths->head_dim);
    else
        atomic_store(&d->failed, true);
    free(room);
    cli_progress_add(1);
}

/* Of each truth and head; a centre is that of the paths on that truth. */
static void find_longest(desk *d) {
    const size_t heads = d->truths->n_heads;
    for (size_t t = 0; t < d->n_truths; t++) {
        double centre = 0.0;
        for (size_t p = 0; p < d->n_paths; p++)
            if (d->paths[p].outcome->path->truth == t)
                centre = fmax(centre, d->paths[p].outcome->path->centre_length);
        for (size_t h = 0; h < heads; h++)
            d->longest[t * heads + h] = longest_key(&d->truths[t], h) + 2.0 * centre;
    }
}

static void run(desk *d) {
    const size_t blocks = cli_n_blocks(d->truths);
    find_longest(d);
    cli_run_tasks(d->threads, blocks, check_task, d);
    for (size_t p = 0; p < d->n_paths; p++) {
        d->paths[p].finding = (cli_finding){.stage = CLI_STAGE_NONE};
        for (size_t i = 0; i < blocks; i++)
            if (d->findings[p * blocks + i].stage != CLI_STAGE_NONE)
                keep(&d->paths[p].finding, &d->findings[p * blocks + i]);
    }
}

int cli_check_rows(const measure_exact *truths, size_t n_truths, const tq_parallel *threads,
                   cli_check_of *paths, size_t n_paths) {
    desk d = {.truths = truths,
              .n_truths = n_truths,
              .threads = threads,
              .paths = paths,
              .n_paths = n_paths,
              .longest = new_doubles(n_truths * truths->n_heads),
              .findings = calloc(n_paths * cli_n_blocks(truths), sizeof *d.findings)};
    const bool there = d.longest && d.findings;
    if (there) run(&d);
    free(d.longest);
    free(d.findings);
    return there && !atomic_load(&d.failed) ? CLI_DONE : cli_out_of_memory();
}
