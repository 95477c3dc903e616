/* SPDX-License-Identifier: MIT
 * Attention in float64 on what caches hold, a loop a sentence of its definition. */
#include "check.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "support/cm.h"

enum { H = ENGINE_HEADS, G = ENGINE_KV_HEADS, D = ENGINE_DIM, LAYER_VALUES = ENGINE_POSITIONS * G * D };
#define SCALE 0.125 /* 1 / sqrt(D) */

static void *room(void *old, size_t bytes) {
    void *at = realloc(old, bytes);
    assert_non_null(at);
    return at;
}

void checker_open(checker *c, bool compute) {
    *c = (checker){.compute = compute};
    for (size_t i = 0; i < ENGINE_SEQUENCES * ENGINE_LAYERS; i++) {
        check_given *given = &c->given[i / ENGINE_LAYERS][i % ENGINE_LAYERS];
        given->k = room(NULL, LAYER_VALUES * sizeof *given->k);
        given->v = room(NULL, LAYER_VALUES * sizeof *given->v);
    }
}

void checker_close(checker *c) {
    for (size_t i = 0; i < ENGINE_SEQUENCES * ENGINE_LAYERS; i++) {
        free(c->given[i / ENGINE_LAYERS][i % ENGINE_LAYERS].k);
        free(c->given[i / ENGINE_LAYERS][i % ENGINE_LAYERS].v);
    }
    free(c->log);
}

void checker_fork(checker *c, size_t from, size_t to) {
    for (size_t l = 0; l < ENGINE_LAYERS; l++) {
        memcpy(c->given[to][l].k, c->given[from][l].k, LAYER_VALUES * sizeof(float));
        memcpy(c->given[to][l].v, c->given[from][l].v, LAYER_VALUES * sizeof(float));
    }
}

void checker_accept(checker *c, const engine *e, size_t sequence, uint64_t begun, const size_t *path,
                    size_t n) {
    for (size_t l = 0; l < ENGINE_LAYERS; l++) {
        const size_t k_row = G * D, v_row = G * engine_kind_of(e, l)->v_dim;
        float *k = c->given[sequence][l].k + begun * k_row, *v = c->given[sequence][l].v + begun * v_row;
        for (size_t i = 0; i < n; i++) { /* paths ascend: nothing is overwritten that is still wanted */
            memmove(k + i * k_row, k + path[i] * k_row, k_row * sizeof *k);
            memmove(v + i * v_row, v + path[i] * v_row, v_row * sizeof *v);
        }
    }
}

static void take_down(checker *c, const void *data, size_t bytes) {
    if (c->n_log + bytes > c->log_room) {
        c->log_room = 2 * (c->log_room + bytes);
        c->log = room(c->log, c->log_room);
    }
    memcpy(c->log + c->n_log, data, bytes);
    c->n_log += bytes;
}

/* What the engine appends, out of its fused array. */
static void note_given(checker *c, const engine *e, size_t layer, const engine_work *w, uint64_t begun) {
    const engine_kind *kind = engine_kind_of(e, layer);
    const size_t n_k = G * D, n_v = G * kind->v_dim;
    for (size_t t = 0; t < w->n; t++) {
        const size_t at = (w->row + t) * kind->row + H * D;
        float *k = c->given[w->sequence][layer].k + (begun + t) * n_k;
        float *v = c->given[w->sequence][layer].v + (begun + t) * n_v;
        for (size_t i = 0; i < n_k; i++)
            k[i] = toy_value(kind->type, e->qkv[layer], at + i);
        for (size_t i = 0; i < n_v; i++)
            v[i] = toy_value(kind->type, e->qkv[layer], at + n_k + i);
    }
}

/* What a cache holds, decoded, by position. */
typedef struct held {
    bool there[ENGINE_POSITIONS];
    double reach[ENGINE_POSITIONS][G]; /* |k| + 2 |c| */
    float k[ENGINE_POSITIONS][G][D], v[ENGINE_POSITIONS][G][D];
} held;

static size_t or_else(size_t stride, size_t otherwise) {
    return stride == 0 ? otherwise : stride;
}

/* Where logical position i of a head lies: byte `at` of what `base` points to. */
typedef struct spot {
    size_t block, at; /* block: of view.blocks; at: row_strides and so on added up */
} spot;

static spot find(const tq_view *v, size_t i, size_t head, size_t row, size_t row_stride,
                 size_t head_stride, size_t page_stride) {
    const size_t slot = (v->ring_start + i) % v->capacity;
    const size_t rows = v->pages == NULL && v->blocks == NULL ? v->capacity : v->page_rows;
    const size_t page = slot / rows;
    row_stride = or_else(row_stride, row);
    head_stride = or_else(head_stride, rows * row_stride);
    page_stride = or_else(page_stride, G * head_stride);
    return (spot){page, head * head_stride + slot % rows * row_stride +
                            (v->pages == NULL ? 0 : (size_t)v->pages[page] * page_stride)};
}

static const uint8_t *data_of(const tq_view *v, size_t i, size_t head, size_t row_bytes) {
    const spot s = find(v, i, head, row_bytes, v->row_stride, v->head_stride, v->page_stride);
    return (const uint8_t *)(v->blocks == NULL ? v->data : v->blocks[s.block]) + s.at;
}

static const uint8_t *norms_of(const tq_view *v, size_t i, size_t head, size_t norms) {
    const spot s = find(v, i, head, norms, v->norm_row_stride, v->norm_head_stride, v->norm_page_stride);
    return (const uint8_t *)(v->blocks == NULL ? v->norms : v->norm_blocks[s.block]) + s.at;
}

/* What the key of a position lacks in a head, by the rule of tqkv/view.h; no view here has a table. */
static const uint16_t *centre_of(const tq_view *v, uint64_t position, size_t head) {
    if (v->centre == NULL) return NULL;
    const uint64_t stretch = v->centre_stretch == 0 ? 0 : position / v->centre_stretch;
    return v->centre + (stretch % v->n_centres * G + head) * v->codec.head_dim;
}

static void decode(const tq_view *v, size_t i, uint64_t position, size_t head, float *to) {
    const size_t dim = v->codec.head_dim;
    const tq_batch one = {.heads = 1, .rows = 1};
    size_t row, norms;
    if (v->store == TQ_STORE_CODES) {
        assert_int_equal(tq_row_size(&v->codec, &row, &norms), TQ_OK);
        assert_int_equal(tq_decode(&v->codec, &one, TQ_ORIGINAL, data_of(v, i, head, row), row,
                                   norms_of(v, i, head, norms), norms, centre_of(v, position, head), dim,
                                   to, dim),
                         TQ_OK);
        return;
    }
    const tq_type type = v->store == TQ_STORE_F32 ? TQ_F32 : v->store == TQ_STORE_F16 ? TQ_F16 : TQ_BF16;
    const uint8_t *data = data_of(v, i, head, dim * toy_size(type));
    for (size_t d = 0; d < dim; d++)
        to[d] = toy_value(type, data, d);
}

static double length_of(const float *x, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)x[i] * (double)x[i];
    return sqrt(sum);
}

/* What is kept of a vector in a view: by the codec's own calls, of which other tests say that they are
 * right. */
static void keep(const tq_cache_config *config, const tq_view *view, size_t head, uint64_t position,
                 const float *given, float *kept) {
    const size_t dim = view->codec.head_dim;
    const tq_batch one = {.heads = 1, .rows = 1};
    const uint16_t *centre = centre_of(view, position, head);
    const bool codes_of_halves = config->recent > 0 || config->learn_centre > 0;
    uint8_t codes[D];
    uint16_t norm;
    for (size_t d = 0; d < dim; d++)
        kept[d] = view->store == TQ_STORE_BF16                     ? toy_rounded(TQ_BF16, given[d])
                  : view->store == TQ_STORE_F16 || codes_of_halves ? toy_rounded(TQ_F16, given[d])
                                                                   : given[d];
    if (view->store != TQ_STORE_CODES) return;
    assert_int_equal(
        tq_encode(&view->codec, &one, kept, dim, centre, dim, codes, sizeof codes, &norm, sizeof norm),
        TQ_OK);
    assert_int_equal(tq_decode(&view->codec, &one, TQ_ORIGINAL, codes, sizeof codes, &norm, sizeof norm,
                               centre, dim, kept, dim),
                     TQ_OK);
}

static void assert_kept(const tq_cache_config *config, const tq_view *view, size_t head,
                        uint64_t position, const char *name, const float *got, const float *given) {
    float want[D];
    keep(config, view, head, position, given, want);
    for (size_t d = 0; d < view->codec.head_dim; d++)
        if (memcmp(&got[d], &want[d], sizeof *got) != 0)
            fail_msg("%s of head %zu at position %llu: [%zu] is %g, %g was given", name, head,
                     (unsigned long long)position, d, (double)got[d], (double)want[d]);
}

static void read_segment(const check_given *given, const tq_cache_config *config, const tq_segment *s,
                         held *h) {
    const size_t v_dim = s->v.codec.head_dim;
    float wide[D];
    for (size_t i = 0; i < s->length; i++) {
        const uint64_t p = s->first_position + i;
        assert_true(p < ENGINE_POSITIONS && !h->there[p]);
        h->there[p] = true;
        for (size_t g = 0; g < G; g++) {
            decode(&s->k, i, p, g, h->k[p][g]);
            decode(&s->v, i, p, g, h->v[p][g]);
            assert_kept(config, &s->k, g, p, "k", h->k[p][g], given->k + (p * G + g) * D);
            assert_kept(config, &s->v, g, p, "v", h->v[p][g], given->v + (p * G + g) * v_dim);
            h->reach[p][g] = length_of(h->k[p][g], D);
            const uint16_t *centre = centre_of(&s->k, p, g);
            for (size_t d = 0; d < D && centre != NULL; d++)
                wide[d] = toy_value(TQ_F16, (const uint8_t *)(const void *)centre, d);
            if (centre != NULL) h->reach[p][g] += 2 * length_of(wide, D);
        }
    }
}

/* Whether token i of the work, which begins at position `begun`, sees a position. */
static bool sees(const engine_kind *kind, const engine_work *w, uint64_t begun, size_t i,
                 uint64_t position) {
    const tq_cache_config *c = &kind->cache;
    const uint64_t query = begun + i;
    if (position > query) return false;
    if (w->parents != NULL && position >= begun) {
        int token = (int)i;
        while (token >= 0 && (uint64_t)token != position - begun)
            token = w->parents[token];
        return token >= 0;
    }
    return c->window == 0 || position < c->sinks || query - position < c->window;
}

/* A row of attention: a query of a head. */
typedef struct row {
    const engine_kind *kind;
    size_t head, seen;
    float q[D];
    double scores[ENGINE_POSITIONS]; /* -INFINITY: not seen */
    double reach, lse, terms, out[D];
} row;

static void score(row *r, const held *h, const engine_work *w, uint64_t begun, size_t i) {
    const size_t g = r->head / (H / G);
    double top = -(double)INFINITY, sum = 0;
    for (uint64_t p = 0; p < begun + w->n; p++) {
        r->scores[p] = -(double)INFINITY;
        if (!sees(r->kind, w, begun, i, p)) continue;
        if (!h->there[p]) fail_msg("position %llu is not there any more", (unsigned long long)p);
        double product = 0;
        for (size_t d = 0; d < D; d++)
            product += (double)r->q[d] * (double)h->k[p][g][d];
        r->scores[p] = product * SCALE;
        r->reach = fmax(r->reach, h->reach[p][g]);
        r->seen++;
        top = fmax(top, r->scores[p]);
    }
    for (uint64_t p = 0; p < begun + w->n; p++)
        sum += exp(r->scores[p] - top);
    r->lse = top + log(sum);
}

static void add_values(row *r, const held *h, uint64_t end) {
    const size_t g = r->head / (H / G), dim = r->kind->v_dim;
    for (uint64_t p = 0; p < end; p++) {
        const double weight = exp(r->scores[p] - r->lse);
        if (!(weight > 0)) continue;
        for (size_t d = 0; d < dim; d++)
            r->out[d] += weight * (double)h->v[p][g][d];
        r->terms += weight * length_of(h->v[p][g], dim);
    }
}

/* E of tqkv/attention.h. */
static double bound_of(const row *r) {
    const double s = SCALE * length_of(r->q, D) * r->reach;
    const double t = (double)r->seen;
    return 0x1p-24 * (fmin(t, 512) + t / 16 + 16 + (D / 16.0 + 24) * s);
}

static void compare(checker *c, const row *r, const engine *e, size_t token) {
    const size_t dim = r->kind->v_dim, at = token * H + r->head;
    const tq_type type = r->kind->type;
    const double bound = bound_of(r), lse = (double)e->lse[at];
    double error = 0, size = 0;
    for (size_t d = 0; d < dim; d++) {
        const double off = (double)toy_value(type, e->out, at * dim + d) - r->out[d];
        error += off * off;
        size += r->out[d] * r->out[d];
    }
    /* Halves of the last place, and of the smallest step of float16. */
    const double rounded = type == TQ_F32    ? 0
                           : type == TQ_BF16 ? 0x1p-8 * sqrt(size)
                                             : 0x1p-11 * sqrt(size) + 0x1p-25 * sqrt((double)dim);
    const double most = 2 * bound * r->terms;
    const double most_lse = bound + 0x1p-24 * fabs(r->lse);
    if (!(sqrt(error) <= most + rounded * (1 + most)))
        fail_msg("head %zu of token %zu: off by %g, promised are %g and %g of rounding", r->head, token,
                 sqrt(error), most, rounded);
    if (!(fabs(lse - r->lse) <= most_lse))
        fail_msg("lse of head %zu of token %zu is %.9g, %.9g wanted within %g", r->head, token, lse,
                 r->lse, most_lse);
    if (type == TQ_F32) c->worst_out = fmax(c->worst_out, sqrt(error) / most);
    c->worst_lse = fmax(c->worst_lse, fabs(lse - r->lse) / most_lse);
}

static void check_work(checker *c, const engine *e, size_t layer, const engine_work *w, uint64_t begun) {
    static held h;
    tq_segment segments[TQ_CACHE_SEGMENTS];
    size_t n_segments;
    memset(h.there, 0, sizeof h.there);
    assert_int_equal(tq_cache_segments(e->caches[w->sequence][layer], segments, &n_segments), TQ_OK);
    for (size_t i = 0; i < n_segments; i++)
        read_segment(&c->given[w->sequence][layer], &engine_kind_of(e, layer)->cache, &segments[i], &h);
    for (size_t i = 0; i < w->n * H; i++) {
        const engine_kind *kind = engine_kind_of(e, layer);
        row r = {.kind = kind, .head = i % H};
        for (size_t d = 0; d < D; d++)
            r.q[d] = toy_value(kind->type, e->qkv[layer], (w->row + i / H) * kind->row + r.head * D + d);
        score(&r, &h, w, begun, i / H);
        add_values(&r, &h, begun + w->n);
        compare(c, &r, e, w->row + i / H);
    }
    c->rows += w->n * H;
    if (w->parents != NULL) c->tree_rows += w->n * H;
}

void checker_watch(void *context, const engine *e, size_t layer, const engine_work *work, size_t n_work) {
    checker *c = context;
    const engine_kind *kind = engine_kind_of(e, layer);
    size_t tokens = 0;
    for (size_t i = 0; i < n_work; i++) {
        const uint64_t begun = tq_cache_length(e->caches[work[i].sequence][layer]) - work[i].n;
        note_given(c, e, layer, &work[i], begun);
        if (c->compute) check_work(c, e, layer, &work[i], begun);
        tokens += work[i].n;
    }
    take_down(c, e->out, tokens * H * kind->v_dim * toy_size(kind->type));
    take_down(c, e->lse, tokens * H * sizeof *e->lse);
}
