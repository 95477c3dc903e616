/* SPDX-License-Identifier: MIT
 * Scores of a chunk of positions for a block of rows, a running softmax, and sums of the values. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "attention/task.h"
#include "kernels/attend/digits.h"
#include "kernels/exponential.h"

enum { CHUNK = TQ_ATTEND_CHUNK, ROWS = TQ_ATTEND_ROWS };

static float *partial_of(const tq_attend_task *t, size_t r) {
    return tq_attend_partial(t->batch, t->s, t->row + r, t->split);
}

/* Running top and sums of a row, after its accumulators. */
static float *tail_of(const tq_attend_task *t, size_t r) {
    return partial_of(t, r) + t->s->tail_at;
}

static float *acc_of(const tq_attend_task *t, size_t r, bool encoded) {
    return partial_of(t, r) + (!encoded && t->s->encoded_v ? t->batch->kind->v_dim : 0);
}

/* Positions [first, first + n) of a segment, of which all are among the tree's, or none, and all among
 * the first that are always seen, or none. */
typedef struct chunk {
    const tq_attend_segment *segment;
    size_t first, n;
    uint64_t position;    /* of the first */
    const uint64_t *tree; /* the tree's bits of query 0; NULL: other positions */
    size_t bit;           /* the first position's */
} chunk;

/* The rows' products with a centre, in the call's domain. */
static void take_centre(tq_attend_task *t, const uint16_t *centre) {
    const tq_attend_batch *b = t->batch;
    const size_t dim = b->kind->k_dim;
    float wide[TQ_MAX_DIM];
    if (t->centre == centre) return; /* neighbours share it */
    t->centre = centre;
    tq_widen(b->kernels, TQ_F16, dim, centre, wide);
    if (b->kind->domain == TQ_ROTATED)
        b->kernels->rotate(&t->s->k_rotation, TQ_ROTATE_IN, 1, wide, dim, wide, dim);
    for (size_t r = 0; r < t->rows; r++)
        b->kernels->score(dim, 1, b->workspace + t->s->plain + (t->row + r) * dim, 1, wide, &t->bias[r],
                          1);
}

/* Adds what scores lack of keys that were encoded without their centre. */
static void add_centres(tq_attend_task *t, const chunk *c) {
    for (size_t done = 0, n; done < c->n; done += n) {
        n = c->n - done;
        const uint16_t *centre = tq_view_centre(&c->segment->k, t->head, c->first + done, &n);
        if (centre == NULL) return;
        take_centre(t, centre);
        for (size_t r = 0; r < t->rows; r++)
            for (size_t i = done; i < done + n; i++)
                t->scores[r * CHUNK + i] += t->bias[r];
    }
}

static void *digits_at(const tq_attend_task *t, size_t r) {
    return tail_of(t, r) + TQ_LANES;
}

/* The rows' queries as digits of a book's centroids. */
static void take_digits(tq_attend_task *t, const tq_codebook_tables *book) {
    const tq_attend_batch *b = t->batch;
    const size_t dim = b->kind->k_dim;
    if (t->digits_of == book) return;
    t->digits_of = book;
    for (size_t r = 0; r < t->rows; r++)
        b->kernels->query_digits(book, dim, b->workspace + t->s->rotated + (t->row + r) * dim,
                                 digits_at(t, r));
}

/* By default products with codes are sums of integers where these are faster in a decode step: of formats
 * that take one product for them, and of others as long as few heads share a KV head. It does not go by
 * how many queries there are, so that a step of one and one of several round alike. */
static bool in_integers(const tq_attend_task *t, const tq_view_reader *codes, bool as_keys) {
    enum { FEW = 8 };
    const tq_arithmetic how = t->batch->kind->arithmetic;
    if (how == TQ_ARITHMETIC_FLOAT || !tq_view_has_digits(codes)) return false;
    const tq_codebook_tables *book = codes->plan.book;
    return how == TQ_ARITHMETIC_INTEGER || book->digits->low == NULL ||
           (as_keys && tq_takes_words(book)) || t->batch->kind->group <= FEW;
}

static void score_chunk(tq_attend_task *t, const chunk *c) {
    const tq_attend_batch *b = t->batch;
    const tq_view_reader *k = &c->segment->k;
    const size_t from = tq_view_is_encoded(k) ? t->s->rotated : t->s->plain;
    if (in_integers(t, k, true)) {
        take_digits(t, k->plan.book);
        tq_view_score_digits(k, b->kernels, t->head, c->first, c->n, &t->k_offsets, t->rows,
                             digits_at(t, 0), t->s->cut.splits * t->s->partial_floats * sizeof(float),
                             t->scores, CHUNK);
    } else {
        tq_view_score(k, b->kernels, t->head, c->first, c->n, &t->k_offsets, t->rows,
                      b->workspace + from + t->row * b->kind->k_dim, t->scores, CHUNK);
    }
    add_centres(t, c);
}

static size_t query_of(const tq_attend_task *t, size_t r) {
    return (t->row + r) % t->s->n_queries;
}

static bool has_bit(const uint64_t *bits, size_t i) {
    return (bits[i / 64] >> i % 64 & 1) != 0;
}

/* The tree's bits of row r. */
static const uint64_t *tree_of(const tq_attend_task *t, const chunk *c, size_t r) {
    return c->tree + query_of(t, r) * t->s->tree_words;
}

/* Which of a chunk's positions row r may see: [*from, *to). A tree's bits choose among them. */
static void visible(const tq_attend_task *t, const chunk *c, size_t r, size_t *from, size_t *to) {
    const tq_attend_kind *kind = t->batch->kind;
    const uint64_t query = t->s->first_query + query_of(t, r), position = c->position;
    *from = 0;
    *to = c->n;
    if (c->tree != NULL) {
        const uint64_t *bits = tree_of(t, c, r);
        while (*to > 0 && !has_bit(bits, c->bit + *to - 1))
            --*to;
        while (*from < *to && !has_bit(bits, c->bit + *from))
            ++*from;
        return;
    }
    if (kind->causal)
        *to = query < position ? 0 : query - position < c->n - 1 ? (size_t)(query - position) + 1 : c->n;
    if (kind->window != 0 && query >= kind->window && position >= kind->sink_positions) {
        const uint64_t hidden = query - kind->window; /* the last position that is too old */
        if (hidden >= position) *from = hidden - position < c->n ? (size_t)(hidden - position) + 1 : c->n;
    }
    if (*from > *to) *from = *to;
}

/* The scores that a tree's bits choose, side by side; and back to their places, with zeros between. */
static size_t pick(const uint64_t *bits, size_t first, size_t n, float *scores) {
    size_t picked = 0;
    for (size_t i = 0; i < n; i++)
        if (has_bit(bits, first + i)) scores[picked++] = scores[i];
    return picked;
}

static void spread(const uint64_t *bits, size_t first, size_t n, size_t picked, float *scores) {
    for (size_t i = n; i-- > 0;)
        scores[i] = has_bit(bits, first + i) ? scores[--picked] : 0.0f;
}

/* What ALiBi takes from scores of positions from `position` on. */
static void lean(const tq_attend_task *t, size_t r, uint64_t position, size_t n, float *scores) {
    const float slope = t->batch->io.slopes[(t->row + r) / t->s->n_queries];
    const uint64_t query = t->s->first_query + query_of(t, r);
    for (size_t i = 0; i < n; i++) {
        const uint64_t p = position + i;
        scores[i] -= slope * (float)(p < query ? query - p : p - query);
    }
}

/* Products to scores, and the largest of them and the row's top; NaN where one is not finite. */
static float shape(const tq_attend_task *t, const chunk *c, size_t r, size_t from, size_t n,
                   float *scores) {
    const tq_attend_batch *b = t->batch;
    float top = tail_of(t, r)[0];
    if (b->kind->softcap > 0.0f) { /* which would make infinities look like numbers */
        if (b->kernels->scan(n, scores, FLT_MAX) < n) top = NAN;
        b->kernels->softcap(n, b->kind->softcap, scores);
    }
    if (b->io.slopes != NULL) lean(t, r, c->position + from, n, scores);
    return b->kernels->reduce_max(n, scores, top);
}

/* A chunk's scores of a row to weights relative to the row's new top; what was accumulated is brought
 * down to it. A score that is not finite makes the top NaN, and the row with it. */
static void weigh(tq_attend_task *t, const chunk *c, size_t r, size_t from, size_t to) {
    const tq_kernels *kernels = t->batch->kernels;
    const uint64_t *bits = c->tree == NULL ? NULL : tree_of(t, c, r);
    float *all = t->scores + r * CHUNK, *scores = all + from, *tail = tail_of(t, r);
    if (from > 0) memset(all, 0, from * sizeof *all);
    if (to < c->n) memset(all + to, 0, (c->n - to) * sizeof *all);
    if (from == to) return;
    const size_t n = bits == NULL ? to - from : pick(bits, c->bit + from, to - from, scores);
    const float top = shape(t, c, r, from, n, scores);
    if (isnan(top)) {
        tail[0] = top;
        memset(all, 0, c->n * sizeof *all);
        return;
    }
    if (tail[0] == -INFINITY) { /* nothing has been summed up yet */
        tail[0] = top;
    } else if (top > tail[0]) {
        const float factor = tq_exponential(tail[0] - top);
        kernels->scale(t->s->tail_at, factor, partial_of(t, r));
        tail[0] = top;
        tail[1] *= factor;
        tail[2] *= factor;
    }
    tail[1] += kernels->exp_sum(n, top, scores);
    if (bits != NULL) spread(bits, c->bit + from, to - from, n, scores);
}

static void accumulate(tq_attend_task *t, const chunk *c, size_t first, size_t n) {
    const tq_view_reader *v = &c->segment->v;
    tq_view_accumulate(v, t->batch->kernels, t->head, c->first + first, n, &t->v_offsets, t->rows,
                       t->scores + first, CHUNK, acc_of(t, 0, tq_view_is_encoded(v)),
                       t->s->cut.splits * t->s->partial_floats);
}

static void accumulate_digits(tq_attend_task *t, const chunk *c) {
    const bool alone = c->tree != NULL && t->rows == 1;
    tq_view_accumulate_digits(&c->segment->v, t->batch->kernels, t->head, c->first, c->n, &t->v_offsets,
                              t->rows, t->scores, CHUNK, alone ? tree_of(t, c, 0) : NULL, c->bit,
                              acc_of(t, 0, true), t->s->cut.splits * t->s->partial_floats);
}

/* A row by itself leaves out what its tree hides between positions that it sees: a NaN there weighed with
 * 0 would be one in the row. */
static void accumulate_chunk(tq_attend_task *t, const chunk *c) {
    if (in_integers(t, &c->segment->v, false)) {
        accumulate_digits(t, c);
        return;
    }
    if (c->tree == NULL || t->rows > 1) {
        accumulate(t, c, 0, c->n);
        return;
    }
    const uint64_t *bits = tree_of(t, c, 0);
    for (size_t first = 0, n; first < c->n; first += n) {
        const bool seen = has_bit(bits, c->bit + first);
        for (n = 1; first + n < c->n && has_bit(bits, c->bit + first + n) == seen;)
            n++;
        if (seen) accumulate(t, c, first, n);
    }
}

/* The part of a chunk that some row sees: what nobody sees is not read. */
static void attend_chunk(tq_attend_task *t, chunk c) {
    size_t from[ROWS], to[ROWS], low = c.n, high = 0;
    for (size_t r = 0; r < t->rows; r++) {
        visible(t, &c, r, &from[r], &to[r]);
        if (from[r] == to[r]) continue;
        low = from[r] < low ? from[r] : low;
        high = to[r] > high ? to[r] : high;
    }
    if (low >= high) return;
    c.first += low;
    c.position += low;
    c.bit += low;
    c.n = high - low;
    score_chunk(t, &c);
    for (size_t r = 0; r < t->rows; r++) {
        const bool any = from[r] < to[r];
        weigh(t, &c, r, any ? from[r] - low : 0, any ? to[r] - low : 0);
    }
    accumulate_chunk(t, &c);
}

/* n positions from `first` on, fewer if what is seen of them would not go by one rule. */
static chunk chunk_at(const tq_attend_task *t, const tq_attend_segment *seg, size_t first, size_t n) {
    const tq_attend_kind *kind = t->batch->kind;
    const uint64_t borders[] = {kind->sink_positions, t->s->tree_words > 0 ? t->s->tree_start : 0};
    chunk c = {.segment = seg, .first = first, .n = n, .position = seg->first_position + first};
    for (size_t i = 0; i < 2; i++)
        if (c.position < borders[i] && borders[i] - c.position < c.n)
            c.n = (size_t)(borders[i] - c.position);
    const uint64_t end = t->s->first_query + t->s->n_queries;
    if (t->s->tree_words > 0 && c.position >= t->s->tree_start && c.position < end) {
        if (end - c.position < c.n) c.n = (size_t)(end - c.position);
        c.tree = t->s->tree;
        c.bit = (size_t)(c.position - t->s->tree_start);
    }
    return c;
}

/* Adds what was summed up lately to what was folded before, and begins anew. */
static void fold(tq_attend_task *t) {
    const size_t n = t->s->acc_floats;
    for (size_t r = 0; r < t->rows; r++) {
        float *near = partial_of(t, r), *far = near + n, *tail = tail_of(t, r);
        for (size_t i = 0; i < n; i++)
            far[i] += near[i];
        memset(near, 0, n * sizeof *near);
        tail[2] += tail[1];
        tail[1] = 0.0f;
    }
}

/* Everything together, where the rest of the run looks for it. */
static void gather(tq_attend_task *t) {
    const size_t n = t->s->acc_floats;
    for (size_t r = 0; r < t->rows && t->s->folds; r++) {
        float *near = partial_of(t, r);
        for (size_t i = 0; i < n; i++)
            near[i] += near[n + i];
        tail_of(t, r)[1] += tail_of(t, r)[2];
    }
}

static void attend_rows(tq_attend_task *t) {
    size_t lately = 0;
    t->digits_of = NULL;                      /* those of other rows, and what follows clears them */
    const bool alone = t->s->cut.splits == 1; /* then rows lie side by side */
    const size_t bytes = t->s->partial_floats * sizeof(float);
    for (size_t r = 0; r < t->rows; r += alone ? t->rows : 1)
        memset(partial_of(t, r), 0, alone ? t->rows * bytes : bytes);
    for (size_t r = 0; r < t->rows; r++)
        tail_of(t, r)[0] = -INFINITY;
    for (size_t i = 0; i < t->s->n_segments; i++) {
        const tq_attend_segment *seg = &t->s->segments[i];
        const size_t end = seg->start + seg->length, stop = end < t->last ? end : t->last;
        for (size_t at = seg->start > t->first ? seg->start : t->first; at < stop;) {
            const chunk c = chunk_at(t, seg, at - seg->start, stop - at < CHUNK ? stop - at : CHUNK);
            if (t->s->folds && (lately += c.n) > TQ_ATTEND_FOLD) {
                fold(t);
                lately = c.n;
            }
            attend_chunk(t, c);
            at += c.n;
        }
    }
    gather(t);
}

static bool is_finite(const tq_attend_task *t, size_t r) {
    const size_t n = t->s->acc_floats;
    return t->batch->kernels->scan(n, partial_of(t, r), FLT_MAX) == n && !isnan(tail_of(t, r)[0]);
}

/* A NaN weighed with 0 is NaN: where a block of rows comes out not finite, each row is worked on again by
 * itself, so that none suffers for what another one sees. What is not finite then makes the row NaN. */
void tq_attend_work(tq_attend_task *t) {
    const size_t first = t->row, rows = t->rows;
    bool finite = true;
    attend_rows(t);
    for (size_t r = 0; r < rows; r++)
        finite = finite && is_finite(t, r);
    if (finite) return;
    for (t->rows = 1; t->row < first + rows; t->row++) {
        t->centre = NULL; /* its products are those of other rows */
        if (rows > 1) attend_rows(t);
        if (!is_finite(t, 0)) tail_of(t, 0)[0] = NAN;
    }
    t->row = first;
    t->rows = rows;
}
