/* SPDX-License-Identifier: MIT
 * A cache by its definition: one position at a time, nothing overwritten, nothing clever. */
#include "model.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "attention/half.h"
#include "broken.h"
#include "memory.h"

pool_model *pool_model_new(tq_page_pool *pool, size_t n_pages, size_t page_rows) {
    pool_model *p = zeroed(1, sizeof *p);
    *p = (pool_model){pool, n_pages, page_rows, zeroed(n_pages, sizeof *p->pages)};
    return p;
}

void pool_model_free(pool_model *p) {
    free(p->pages);
    free(p);
}

size_t pool_model_free_pages(const pool_model *p) {
    size_t n = 0;
    for (size_t i = 0; i < p->n_pages; i++)
        n += p->pages[i].users == 0;
    return n;
}

static size_t take_page(pool_model *p) {
    size_t i = 0;
    while (p->pages[i].users != 0)
        i++;
    p->pages[i] = (page_model){.users = 1};
    return i;
}

static void lane_open(lane *l, const tq_codec *codec) {
    l->codec = *codec;
    if (tq_row_size(codec, &l->row_bytes, &l->row_norms) != TQ_OK) broken("not a codec");
}

model *model_new(const tq_cache_config *c, pool_model *pool) {
    model *m = zeroed(1, sizeof *m);
    m->policy = c->policy;
    m->heads = c->layer.n_kv_heads;
    m->dim = c->layer.k.head_dim;
    m->capacity = c->capacity;
    m->window = c->window == 0 ? c->capacity : c->window;
    m->recent = c->recent;
    m->sinks = c->sinks;
    m->learn = c->learn_centre;
    m->centre = zeroed(m->heads * m->dim, sizeof *m->centre);
    if (c->k_centre != NULL) {
        m->given_centre = m->has_centre = true;
        memcpy(m->centre, c->k_centre, m->heads * m->dim * sizeof *m->centre);
    }
    lane_open(&m->k, &c->layer.k);
    lane_open(&m->v, &c->layer.v);
    m->pool = pool;
    if (pool != NULL) m->pages = zeroed(c->capacity / pool->page_rows + 1, sizeof *m->pages);
    return m;
}

static void lane_close(lane *l) {
    free(l->x);
    free(l->halves);
    free(l->codes);
    free(l->norms);
}

static void give_pages_back(model *m, size_t keep) {
    while (m->n_pages > keep)
        m->pool->pages[m->pages[--m->n_pages]].users--;
}

void model_free(model *m) {
    if (m == NULL) return;
    give_pages_back(m, 0);
    lane_close(&m->k);
    lane_close(&m->v);
    free(m->centre);
    free(m->pages);
    free(m);
}

static void *grown(void *old, size_t n, size_t size) {
    void *at = realloc(old, n * size);
    if (at == NULL) broken("no memory for %zu times %zu bytes", n, size);
    return at;
}

static void make_room(const model *m, lane *l, size_t room) {
    l->x = grown(l->x, room * m->heads * m->dim, sizeof *l->x);
    l->halves = grown(l->halves, room * m->heads * m->dim, sizeof *l->halves);
    l->codes = grown(l->codes, room * m->heads, l->row_bytes);
    l->norms = grown(l->norms, room * m->heads * l->row_norms, sizeof *l->norms);
}

bool model_is_dense_first(const model *m, uint64_t p) {
    return m->recent > 0 || m->learn > 0 || p < m->sinks;
}

static void keep(const model *m, lane *l, uint64_t p, const float *x) {
    const size_t at = lane_row(m, p, 0) * m->dim;
    for (size_t i = 0; i < m->heads * m->dim; i++) {
        l->x[at + i] = x[i];
        if (!model_is_dense_first(m, p)) continue;
        l->halves[at + i] = half_from((double)x[i]);
        l->x[at + i] = (float)half_to(l->halves[at + i]);
    }
}

static void encode(const model *m, lane *l, uint64_t p, const float *centre) {
    const tq_batch one = {.heads = 1, .rows = 1};
    for (size_t g = 0; g < m->heads; g++) {
        const size_t row = lane_row(m, p, g);
        if (tq_encode(&l->codec, &one, l->x + row * m->dim, m->dim,
                      centre == NULL ? NULL : centre + g * m->dim, l->codes + row * l->row_bytes,
                      l->row_bytes, l->norms + row * l->row_norms, l->row_norms) != TQ_OK)
            broken("the model cannot encode position %llu: %s", (unsigned long long)p,
                   tq_last_error()->message);
    }
}

/* The share of the mean's square in the mean square of a head's keys. */
static double shared(const model *m, size_t g) {
    double of_mean = 0, all = 0;
    for (size_t i = 0; i < m->dim; i++) {
        double sum = 0;
        for (size_t p = 0; p < m->learn; p++) {
            const double x = (double)m->k.x[lane_row(m, p, g) * m->dim + i];
            sum += x;
            all += x * x / (double)m->learn;
        }
        of_mean += pow(sum / (double)m->learn, 2);
    }
    return all > 0 ? of_mean / all : 1;
}

static void learn(model *m) {
    bool worth = false; /* of the head at hand */
    for (size_t i = 0; i < m->heads * m->dim; i++) {
        double sum = 0;
        if (i % m->dim == 0) worth = shared(m, i / m->dim) >= 0.5;
        for (size_t p = 0; p < m->learn; p++)
            sum += (double)m->k.x[lane_row(m, p, 0) * m->dim + i];
        m->centre[i] = worth ? (float)(sum / (double)m->learn) : 0;
    }
    m->has_centre = true;
}

static uint64_t most(uint64_t a, uint64_t b) {
    return a > b ? a : b;
}

static uint64_t least(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

static uint64_t less(uint64_t a, uint64_t b) {
    return a > b ? a - b : 0;
}

/* Where encoding stands at that length, if it stands at encoded_end now. */
static uint64_t end_at(const model *m, uint64_t length) {
    const bool waits = m->learn > 0 && !m->has_centre && length < m->learn;
    const uint64_t aged = waits ? 0 : less(length, m->recent);
    return most(m->encoded_end, most(least(length, m->sinks), aged));
}

/* Pages that hold the rows of encoded positions, which begin after the sinks. */
static size_t pages_for(const model *m, uint64_t encoded_end) {
    return (size_t)((less(encoded_end, m->sinks) + m->pool->page_rows - 1) / m->pool->page_rows);
}

static size_t page_of(const model *m, uint64_t p) {
    return (size_t)((p - m->sinks) / m->pool->page_rows);
}

/* A page that encoding from encoded_end on begins within, and that others use too: it is copied. */
static bool copies_page(const model *m, uint64_t end) {
    if (end <= m->encoded_end || end <= m->sinks) return false;
    const size_t i = page_of(m, most(m->encoded_end, m->sinks));
    return i < m->n_pages && m->pool->pages[m->pages[i]].users > 1;
}

static tq_status take_pages(model *m, uint64_t end) {
    const size_t n = pages_for(m, end);
    const bool copy = copies_page(m, end);
    if (n - m->n_pages + copy > pool_model_free_pages(m->pool)) return TQ_E_NO_MEMORY;
    if (copy) {
        size_t *page = &m->pages[page_of(m, most(m->encoded_end, m->sinks))];
        m->pool->pages[*page].users--;
        *page = take_page(m->pool);
    }
    while (m->n_pages < n)
        m->pages[m->n_pages++] = take_page(m->pool);
    return TQ_OK;
}

static void append_one(model *m, const float *k, const float *v) {
    keep(m, &m->k, m->length, k);
    keep(m, &m->v, m->length, v);
    const uint64_t end = end_at(m, ++m->length);
    if (m->length == m->learn && !m->has_centre) learn(m);
    for (; m->encoded_end < end; m->encoded_end++) {
        if (m->encoded_end < m->sinks) continue;
        encode(m, &m->k, m->encoded_end, m->has_centre ? m->centre : NULL);
        encode(m, &m->v, m->encoded_end, NULL);
    }
    if (m->policy == TQ_CACHE_RING) m->oldest = most(m->oldest, less(end, m->capacity - m->recent));
}

tq_status model_append(model *m, size_t n, const float *k, const float *v) {
    if (n == 0) return TQ_OK;
    if (m->policy != TQ_CACHE_RING && n > m->capacity - m->length) return TQ_E_POSITION;
    if (m->pool != NULL && take_pages(m, end_at(m, m->length + n)) != TQ_OK) return TQ_E_NO_MEMORY;
    if (m->length + n > m->room) {
        m->room = 2 * ((size_t)m->length + n);
        make_room(m, &m->k, m->room);
        make_room(m, &m->v, m->room);
    }
    for (size_t i = 0; i < n; i++)
        append_one(m, k + i * m->heads * m->dim, v + i * m->heads * m->dim);
    return TQ_OK;
}

tq_status model_truncate(model *m, uint64_t length) {
    if (length > m->length) return TQ_E_POSITION;
    if (length == m->length) return TQ_OK;
    if (m->policy == TQ_CACHE_RING &&
        most(less(length + 1, m->window), m->sinks) < least(m->oldest, length))
        return TQ_E_POSITION;
    m->length = length;
    m->encoded_end = least(m->encoded_end, length);
    m->oldest = least(m->oldest, length);
    if (m->pool != NULL) give_pages_back(m, pages_for(m, m->encoded_end));
    return TQ_OK;
}

void model_clear(model *m) {
    m->length = m->encoded_end = m->oldest = 0;
    m->has_centre = m->given_centre;
    give_pages_back(m, 0);
}

static void copy_lane(const model *m, lane *to, const lane *from) {
    to->x = to->norms = NULL;
    to->halves = NULL;
    to->codes = NULL;
    make_room(m, to, m->room + 1);
    if (m->room == 0) return;
    memcpy(to->x, from->x, m->room * m->heads * m->dim * sizeof *to->x);
    memcpy(to->halves, from->halves, m->room * m->heads * m->dim * sizeof *to->halves);
    memcpy(to->codes, from->codes, m->room * m->heads * to->row_bytes);
    memcpy(to->norms, from->norms, m->room * m->heads * to->row_norms * sizeof *to->norms);
}

model *model_fork(const model *from, uint64_t length) {
    model *m = zeroed(1, sizeof *m);
    *m = *from;
    m->length = length;
    m->encoded_end = least(from->encoded_end, length);
    m->centre = zeroed(m->heads * m->dim, sizeof *m->centre);
    memcpy(m->centre, from->centre, m->heads * m->dim * sizeof *m->centre);
    copy_lane(from, &m->k, &from->k);
    copy_lane(from, &m->v, &from->v);
    m->pages = zeroed(m->capacity / m->pool->page_rows + 1, sizeof *m->pages);
    m->n_pages = pages_for(m, m->encoded_end);
    for (size_t i = 0; i < m->n_pages; i++) {
        m->pages[i] = from->pages[i];
        m->pool->pages[m->pages[i]].users++;
    }
    return m;
}

void model_adopt(model *m, const model *from, uint64_t end) {
    const uint64_t encoded_end = least(from->encoded_end, end);
    lane_close(&m->k);
    lane_close(&m->v);
    m->room = from->room;
    copy_lane(m, &m->k, &from->k);
    copy_lane(m, &m->v, &from->v);
    m->has_centre = from->has_centre;
    memcpy(m->centre, from->centre, m->heads * m->dim * sizeof *m->centre);
    if (m->pool != NULL && take_pages(m, encoded_end) != TQ_OK) broken("the model has no pages left");
    m->length = end;
    m->encoded_end = encoded_end;
    m->oldest = least(from->oldest, end);
    if (m->policy == TQ_CACHE_RING)
        m->oldest = most(m->oldest, less(encoded_end, m->capacity - m->recent));
}

static part part_of(uint64_t from, uint64_t to) {
    return (part){from, (size_t)less(to, from)};
}

/* Rings leave them behind with everything else that is older than the last `capacity`: where encoded
 * positions are missing, older ones are not given either. */
part model_sinks(const model *m) {
    if (m->oldest > m->sinks) return (part){0, 0};
    const uint64_t from = m->policy == TQ_CACHE_RING ? less(m->length, m->capacity) : 0;
    return part_of(from, least(m->length, m->sinks));
}

part model_codes(const model *m) {
    return part_of(most(m->oldest, m->sinks), m->encoded_end);
}

part model_recent(const model *m) {
    return part_of(m->encoded_end, m->length);
}

bool model_sees_all(const model *m, uint64_t position) {
    if (m->policy != TQ_CACHE_RING) return true;
    const uint64_t from = less(position + 1, m->window);
    const part sinks = model_sinks(m);
    if (from < m->sinks && (sinks.n == 0 || sinks.first > from)) return false;
    return most(from, m->sinks) >= least(m->oldest, m->encoded_end);
}
