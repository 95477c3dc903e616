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

static uint64_t most(uint64_t a, uint64_t b) {
    return a > b ? a : b;
}

static uint64_t least(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

static uint64_t less(uint64_t a, uint64_t b) {
    return a > b ? a - b : 0;
}

static void lane_open(lane *l, const tq_codec *codec, tq_store store) {
    l->codec = *codec;
    l->store = store;
    l->dim = codec->head_dim;
    l->row_bytes = codec->head_dim * sizeof *l->halves;
    if (store == TQ_STORE_CODES && tq_row_size(codec, &l->row_bytes, &l->norm_bytes) != TQ_OK)
        broken("not a codec");
}

uint16_t lane_half(const lane *l, float x) {
    return l->store == TQ_STORE_BF16 ? bf16_from(x) : half_from((double)x);
}

double lane_value(const lane *l, uint16_t half) {
    return l->store == TQ_STORE_BF16 ? bf16_to(half) : half_to(half);
}

model *model_new(const tq_cache_config *c, pool_model *pool) {
    model *m = zeroed(1, sizeof *m);
    m->policy = c->policy;
    m->heads = c->layer.n_kv_heads;
    m->capacity = c->capacity;
    m->forgets = c->policy == TQ_CACHE_RING || c->window > 0;
    m->window = c->window == 0 ? c->capacity : c->window;
    m->recent = c->recent;
    m->sinks = c->sinks;
    m->learn = c->learn_centre;
    m->stretch = c->centre_stretch;
    lane_open(&m->k, &c->layer.k, c->layer.k_store);
    lane_open(&m->v, &c->layer.v, c->layer.v_store);
    if (c->k_centre != NULL) {
        m->given = zeroed(m->heads * m->k.dim, sizeof *m->given);
        for (size_t i = 0; i < m->heads * m->k.dim; i++)
            m->given[i] = half_from((double)c->k_centre[i]);
    }
    m->pool = pool;
    if (pool != NULL) m->pages = zeroed(pool->n_pages, sizeof *m->pages);
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
    free(m->given);
    free(m->centres);
    free(m->pages);
    free(m);
}

static void *grown(void *old, size_t n, size_t size) {
    void *at = realloc(old, n * size);
    if (at == NULL) broken("no memory for %zu times %zu bytes", n, size);
    return at;
}

static void make_room(const model *m, lane *l, size_t room) {
    l->x = grown(l->x, room * m->heads * l->dim, sizeof *l->x);
    l->halves = grown(l->halves, room * m->heads * l->dim, sizeof *l->halves);
    l->codes = grown(l->codes, room * m->heads, l->row_bytes);
    if (l->norm_bytes > 0) l->norms = grown(l->norms, room * m->heads, l->norm_bytes);
}

static void make_all_room(model *m, size_t room) {
    make_room(m, &m->k, room);
    make_room(m, &m->v, room);
    m->centres = grown(m->centres, room * m->heads * m->k.dim, sizeof *m->centres);
}

bool model_is_dense_first(const model *m, uint64_t p) {
    return m->recent > 0 || m->learn > 0 || p < m->sinks;
}

static void keep(const model *m, lane *l, uint64_t p, const float *x) {
    const size_t at = lane_row(m, p, 0) * l->dim;
    for (size_t i = 0; i < m->heads * l->dim; i++) {
        l->x[at + i] = x[i];
        if (l->store == TQ_STORE_CODES && !model_is_dense_first(m, p)) continue;
        l->halves[at + i] = lane_half(l, x[i]);
        l->x[at + i] = (float)lane_value(l, l->halves[at + i]);
    }
}

static void encode(const model *m, lane *l, uint64_t p, const uint16_t *centre) {
    const tq_batch one = {.heads = 1, .rows = 1};
    for (size_t g = 0; l->store == TQ_STORE_CODES && g < m->heads; g++) {
        const size_t row = lane_row(m, p, g);
        if (tq_encode(&l->codec, &one, l->x + row * l->dim, l->dim,
                      centre == NULL ? NULL : centre + g * l->dim, centre == NULL ? 0 : l->dim,
                      l->codes + row * l->row_bytes, l->row_bytes, l->norms + row * l->norm_bytes,
                      l->norm_bytes) != TQ_OK)
            broken("the model cannot encode position %llu: %s", (unsigned long long)p,
                   tq_last_error()->message);
    }
}

static bool learns(const model *m) {
    return m->learn > 0;
}

static bool same_stretch(const model *m, uint64_t p, uint64_t q) {
    return m->stretch == 0 || p / m->stretch == q / m->stretch;
}

/* An encoded position that is still there and has the centre of position p; UINT64_MAX: there is none. */
static uint64_t akin(const model *m, uint64_t p) {
    const uint64_t begin = m->stretch == 0 ? 0 : p / m->stretch * m->stretch;
    for (uint64_t q = most(begin, most(m->oldest, m->sinks)); q < m->encoded_end; q++)
        if (same_stretch(m, p, q)) return q;
    return UINT64_MAX;
}

const uint16_t *model_centre(const model *m, uint64_t p) {
    if (m->given != NULL || !learns(m)) return m->given;
    const uint64_t q = akin(m, p);
    return q == UINT64_MAX ? NULL : m->centres + lane_row(m, q, 0) * m->k.dim;
}

/* Keys from p on that p's centre is learned from, if it is the first of its stretch to be encoded. */
static size_t lesson(const model *m, uint64_t p) {
    size_t n = 0;
    while (n < m->learn && same_stretch(m, p, p + n))
        n++;
    return n;
}

/* A mean that has less than half of the mean square is none. */
static void learn_head(const model *m, uint64_t first, size_t n, size_t g, uint16_t *centre) {
    double of_mean = 0, all = 0;
    for (size_t i = 0; i < m->k.dim; i++) {
        double sum = 0;
        for (uint64_t p = first; p < first + n; p++) {
            const double x = (double)m->k.x[lane_row(m, p, g) * m->k.dim + i];
            sum += x;
            all += x * x / (double)n;
        }
        centre[i] = half_from((double)(float)(sum / (double)n));
        of_mean += pow(sum / (double)n, 2);
    }
    if (of_mean < all / 2) memset(centre, 0, m->k.dim * sizeof *centre);
}

/* The centre of a position that is encoded next. */
static const uint16_t *take_centre(model *m, uint64_t p) {
    uint16_t *own = m->centres + lane_row(m, p, 0) * m->k.dim;
    const uint16_t *known = model_centre(m, p);
    if (known == NULL && !learns(m)) return NULL;
    for (size_t g = 0; known == NULL && g < m->heads; g++)
        learn_head(m, p, lesson(m, p), g, own + g * m->k.dim);
    if (known != NULL) memmove(own, known, m->heads * m->k.dim * sizeof *own);
    return own;
}

static uint64_t forgotten_below(const model *m, uint64_t end) {
    return most(most(m->oldest, m->sinks), m->forgets ? less(end, m->capacity - m->recent) : 0);
}

/* The same, and what is not among the last `capacity`, however many of those are encoded. */
static uint64_t lost_below(const model *m, uint64_t end) {
    return most(forgotten_below(m, end), m->forgets ? less(m->length, m->capacity) : 0);
}

/* The next position is encoded now: it is old enough, and so are the keys that its centre takes. Only the
 * position before it can have that already. */
static bool is_due(const model *m) {
    const uint64_t p = m->encoded_end;
    if (p >= m->length) return false;
    if (p < m->sinks) return true;
    if (p + m->recent >= m->length) return false;
    const bool known = p > most(m->oldest, m->sinks) && same_stretch(m, p, p - 1);
    return !learns(m) || known || p + lesson(m, p) <= m->length;
}

static void note_encoded(model *m) {
    m->encoded_end++;
    m->oldest = forgotten_below(m, m->encoded_end);
}

/* Where encoding stands at that length. */
static uint64_t end_at(const model *m, uint64_t length) {
    model then = *m;
    while (then.length < length) {
        for (then.length++; is_due(&then);)
            note_encoded(&then);
        then.oldest = lost_below(&then, then.encoded_end);
    }
    return then.encoded_end;
}

/* The most that may be encoded then, whatever is rewound before. */
static uint64_t most_end_at(const model *m, uint64_t length) {
    return most(m->encoded_end, most(least(length, m->sinks), less(length, m->recent)));
}

static size_t page_of(const model *m, uint64_t p) {
    return (size_t)((p - m->sinks) / m->pool->page_rows);
}

/* Most pages that its encoded positions lie in at a time. */
static size_t most_pages(const model *m) {
    const size_t slots = m->capacity - m->recent - (m->forgets ? 0 : m->sinks), rows = m->pool->page_rows;
    size_t longest = 0;
    for (size_t start = 0; slots > 0 && start < (m->forgets ? rows : 1); start++)
        longest = (size_t)most(longest, (start + slots - 1) / rows + 1);
    return longest;
}

static bool is_shared(const model *m, size_t i) {
    return m->pool->pages[m->pages[i]].users > 1;
}

/* Removes the first n entries and counts how many of them nobody else uses. */
static size_t give_first_pages(model *m, size_t n) {
    size_t own = 0;
    for (size_t i = 0; i < n; i++)
        own += --m->pool->pages[m->pages[i]].users == 0;
    m->n_pages -= n;
    memmove(m->pages, m->pages + n, m->n_pages * sizeof *m->pages);
    return own;
}

/* The table is to begin with page `begin` and to have `n` of them; a page that is to be written to from
 * `first` on, and is another's too, is copied. Pages of its own that have become free count as had. */
static tq_status set_pages(model *m, size_t begin, size_t n, uint64_t first) {
    if (m->n_pages == 0) m->first_page = begin;
    const size_t gone = (size_t)least(begin - m->first_page, m->n_pages);
    const size_t i = page_of(m, first) - m->first_page;
    const bool copy = i >= gone && i < m->n_pages && is_shared(m, i);
    size_t own = 0;
    for (size_t j = 0; j < gone; j++)
        own += !is_shared(m, j);
    const size_t have = m->n_pages - gone + own;
    if (less(n, have) + copy > pool_model_free_pages(m->pool)) return TQ_E_NO_MEMORY;
    if (copy) {
        m->pool->pages[m->pages[i]].users--;
        m->pages[i] = take_page(m->pool);
    }
    give_first_pages(m, gone);
    m->first_page = begin;
    n = (size_t)most(n, least(have, m->reserved_pages));
    while (m->n_pages < n)
        m->pages[m->n_pages++] = take_page(m->pool);
    m->reserved_pages = (size_t)least(m->reserved_pages, m->n_pages);
    return TQ_OK;
}

static uint64_t first_encoded(const model *m) {
    return most(m->encoded_end, m->sinks);
}

static tq_status take_pages(model *m, uint64_t end) {
    if (end <= first_encoded(m) || most_pages(m) == 0) return TQ_OK;
    const size_t begin = page_of(m, forgotten_below(m, end));
    return set_pages(m, begin, page_of(m, end - 1) + 1 - begin, first_encoded(m));
}

static tq_status reserve_pages(model *m, uint64_t end) {
    if (end <= first_encoded(m) || most_pages(m) == 0) return TQ_OK;
    const size_t begin = page_of(m, forgotten_below(m, 0)), before = m->reserved_pages;
    const size_t n = (size_t)least(page_of(m, end - 1) + 1 - begin, most_pages(m));
    m->reserved_pages = m->n_pages;
    const tq_status status = set_pages(m, begin, n, first_encoded(m));
    m->reserved_pages = status == TQ_OK ? (size_t)most(before, n) : before;
    return status;
}

/* Pages that hold nothing go, but for those that are reserved and nobody else's. */
static void trim_pages(model *m) {
    const uint64_t begin = forgotten_below(m, 0);
    size_t keep = 0;
    if (most_pages(m) == 0) return;
    if (m->encoded_end > begin)
        keep = page_of(m, m->encoded_end - 1) + 1 - m->first_page;
    else
        m->first_page = page_of(m, begin);
    for (size_t i = keep; i < m->n_pages; i++)
        if (i < m->reserved_pages && !is_shared(m, i))
            m->pages[keep++] = m->pages[i];
        else
            m->pool->pages[m->pages[i]].users--;
    m->n_pages = (size_t)least(keep, m->n_pages);
    m->reserved_pages = (size_t)least(m->reserved_pages, m->n_pages);
}

static void append_one(model *m, const float *k, const float *v) {
    keep(m, &m->k, m->length, k);
    keep(m, &m->v, m->length, v);
    for (m->length++; is_due(m); note_encoded(m)) {
        if (m->encoded_end < m->sinks) continue;
        encode(m, &m->k, m->encoded_end, take_centre(m, m->encoded_end));
        encode(m, &m->v, m->encoded_end, NULL);
    }
    m->oldest = lost_below(m, m->encoded_end);
}

tq_status model_append(model *m, size_t n, const float *k, const float *v) {
    if (n == 0) return TQ_OK;
    if (!m->forgets && n > m->capacity - m->length) return TQ_E_POSITION;
    if (m->pool != NULL && take_pages(m, end_at(m, m->length + n)) != TQ_OK) return TQ_E_NO_MEMORY;
    if (m->length + n > m->room) {
        m->room = 2 * ((size_t)m->length + n);
        make_all_room(m, m->room);
    }
    for (size_t i = 0; i < n; i++)
        append_one(m, k + i * m->heads * m->k.dim, v + i * m->heads * m->v.dim);
    return TQ_OK;
}

bool model_can_go_back(const model *m, uint64_t length) {
    if (length >= m->length) return length == m->length;
    return !m->forgets || most(less(length + 1, m->window), m->sinks) >= least(m->oldest, length);
}

tq_status model_truncate(model *m, uint64_t length) {
    if (!model_can_go_back(m, length)) return TQ_E_POSITION;
    m->length = length;
    m->encoded_end = least(m->encoded_end, length);
    m->oldest = least(m->oldest, length);
    if (m->pool != NULL) trim_pages(m);
    return TQ_OK;
}

tq_status model_reserve(model *m, uint64_t positions) {
    if (!m->forgets && positions > m->capacity) return TQ_E_POSITION;
    const uint64_t end = most_end_at(m, positions);
    if (m->pool != NULL && reserve_pages(m, end) != TQ_OK) return TQ_E_NO_MEMORY;
    m->reserved = most(m->reserved, positions);
    return TQ_OK;
}

void model_clear(model *m) {
    m->length = m->encoded_end = m->oldest = m->reserved = m->reserved_pages = m->first_page = 0;
    give_pages_back(m, 0);
}

static void copy_lane(const model *m, lane *to, const lane *from) {
    const size_t rows = m->room * m->heads;
    memcpy(to->x, from->x, rows * to->dim * sizeof *to->x);
    memcpy(to->halves, from->halves, rows * to->dim * sizeof *to->halves);
    memcpy(to->codes, from->codes, rows * to->row_bytes);
    if (to->norm_bytes > 0) memcpy(to->norms, from->norms, rows * to->norm_bytes);
}

/* Everything that positions are, in memory of its own. */
static void copy_positions(model *m, const model *from) {
    m->k.x = m->v.x = NULL;
    m->k.halves = m->v.halves = m->centres = NULL;
    m->k.codes = m->v.codes = m->k.norms = m->v.norms = NULL;
    m->room = from->room;
    make_all_room(m, m->room + 1);
    if (m->room == 0) return;
    copy_lane(m, &m->k, &from->k);
    copy_lane(m, &m->v, &from->v);
    memcpy(m->centres, from->centres, m->room * m->heads * m->k.dim * sizeof *m->centres);
}

/* The pages that hold something are the other's too. */
static void share_pages(model *m, const model *from) {
    m->pages = zeroed(m->pool->n_pages, sizeof *m->pages);
    m->n_pages = from->n_pages;
    for (size_t i = 0; i < m->n_pages; i++) {
        m->pages[i] = from->pages[i];
        m->pool->pages[m->pages[i]].users++;
    }
    trim_pages(m);
}

model *model_fork(const model *from, uint64_t length) {
    model *m = zeroed(1, sizeof *m);
    *m = *from;
    m->length = length;
    m->encoded_end = least(from->encoded_end, length);
    m->oldest = least(from->oldest, length);
    m->reserved = m->reserved_pages = 0;
    copy_positions(m, from);
    if (from->given != NULL) {
        m->given = zeroed(m->heads * m->k.dim, sizeof *m->given);
        memcpy(m->given, from->given, m->heads * m->k.dim * sizeof *m->given);
    }
    if (m->pool != NULL) share_pages(m, from);
    return m;
}

void model_adopt(model *m, const model *from, uint64_t end) {
    const uint64_t encoded_end = least(from->encoded_end, end);
    lane_close(&m->k);
    lane_close(&m->v);
    free(m->centres);
    copy_positions(m, from);
    m->oldest = most(m->oldest, from->oldest);
    if (m->pool != NULL && take_pages(m, encoded_end) != TQ_OK) broken("the model has no pages left");
    m->length = end;
    m->encoded_end = encoded_end;
    m->oldest = least(lost_below(m, encoded_end), most(end, m->sinks));
    if (m->pool != NULL) trim_pages(m);
}

static part part_of(uint64_t from, uint64_t to) {
    return (part){from, (size_t)less(to, from)};
}

part model_sinks(const model *m) {
    return part_of(0, least(m->length, m->sinks));
}

part model_codes(const model *m) {
    return part_of(most(m->oldest, m->sinks), m->encoded_end);
}

part model_recent(const model *m) {
    return part_of(m->encoded_end, m->length);
}

bool model_sees_all(const model *m, uint64_t position) {
    if (!m->forgets) return true;
    return most(less(position + 1, m->window), m->sinks) >= least(m->oldest, m->encoded_end);
}
