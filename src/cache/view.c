/* SPDX-License-Identifier: MIT
 * A cache as others see it: segments for attention, and bytes. */
#include "cache/cache.h"

static const tq_codec *codec_of(const tq_cache *c, unsigned side) {
    return side == TQ_K ? &c->layer.k : &c->layer.v;
}

static tq_view code_view(const tq_cache *c, unsigned side, size_t start) {
    const tq_plan *plan = &c->plan[side];
    const size_t rows = c->shape.rows;
    const bool paged = c->pool != NULL;
    tq_view v = {.store = c->store[side],
                 .codec = *codec_of(c, side),
                 .data_bytes = c->shape.vectors * plan->row_bytes,
                 .n_norms = c->shape.vectors * plan->norm_bytes,
                 .n_pages = paged ? c->n_pages : c->blocks.n,
                 .page_rows = rows,
                 .ring_start = start,
                 .row_stride = plan->row_bytes,
                 .head_stride = rows * plan->row_bytes,
                 .norm_row_stride = plan->norm_bytes,
                 .norm_head_stride = rows * plan->norm_bytes};
    v.capacity = v.n_pages * rows;
    if (!paged) {
        v.blocks = (const void *const *)c->blocks.codes[side];
        v.norm_blocks = (const void *const *)c->blocks.norms[side];
        return v;
    }
    v.data = c->pool->block.codes[side];
    v.norms = c->pool->block.norms[side];
    v.pages = c->pages;
    v.page_stride = c->heads * v.head_stride;
    v.norm_page_stride = c->heads * v.norm_head_stride;
    v.pool_pages = c->pool->n_pages;
    return v;
}

static tq_view half_view(const tq_cache *c, unsigned side, const uint16_t *halves, size_t rows,
                         size_t start) {
    const size_t row_bytes = tq_half_bytes(c, side);
    return (tq_view){.store = tq_half_type(c, side) == TQ_BF16 ? TQ_STORE_BF16 : TQ_STORE_F16,
                     .codec = *codec_of(c, side),
                     .data = halves,
                     .data_bytes = c->heads * rows * row_bytes,
                     .capacity = rows,
                     .ring_start = start,
                     .row_stride = row_bytes,
                     .head_stride = rows * row_bytes};
}

/* Positions [first, end) of each part; empty where end is not above first. */
typedef struct part {
    uint64_t first, end;
} part;

typedef struct parts {
    part sinks, codes, recent;
} parts;

static parts parts_of(const tq_cache *c) {
    return (parts){{0, tq_least(c->length, c->sinks)},
                   {c->oldest, c->encoded_end},
                   {tq_most(c->encoded_end, c->sinks), c->length}};
}

static size_t length_of(part p) {
    return (size_t)tq_less(p.end, p.first);
}

size_t tq_cache_view(const tq_cache *c, tq_segment segments[TQ_CACHE_SEGMENTS]) {
    const parts p = parts_of(c);
    size_t n = 0;
    if (length_of(p.sinks) > 0) {
        segments[n++] = (tq_segment){half_view(c, TQ_K, c->sink_halves[TQ_K], c->sinks, 0),
                                     half_view(c, TQ_V, c->sink_halves[TQ_V], c->sinks, 0),
                                     length_of(p.sinks), p.sinks.first};
    }
    if (length_of(p.codes) > 0) {
        const size_t start = tq_cache_slot(c, p.codes.first);
        segments[n] = (tq_segment){code_view(c, TQ_K, start), code_view(c, TQ_V, start),
                                   length_of(p.codes), p.codes.first};
        if (tq_cache_has_centre(c)) { /* known, or nothing would be encoded */
            segments[n].k.centre = c->centres.values;
            segments[n].k.n_centres = c->centres.rows;
            segments[n].k.centre_stretch = c->stretch;
        }
        n++;
    }
    if (length_of(p.recent) > 0) {
        const size_t start = (size_t)(p.recent.first % c->half_rows);
        segments[n++] = (tq_segment){half_view(c, TQ_K, c->halves[TQ_K], c->half_rows, start),
                                     half_view(c, TQ_V, c->halves[TQ_V], c->half_rows, start),
                                     length_of(p.recent), p.recent.first};
    }
    return n;
}

static size_t count_shared(const tq_cache *c) {
    size_t n = 0;
    for (size_t i = 0; i < c->n_pages; i++)
        n += tq_pool_is_shared(c->pool, c->pages[i]);
    return n;
}

/* Codes and norms: blocks of its own, or pages of the pool's. */
static void measure_codes(const tq_cache *c, tq_cache_bytes *b) {
    const tq_block_shape *s = &c->shape;
    const size_t n = c->blocks.n, vectors = c->n_pages * s->rows * c->heads;
    if (c->pool == NULL) {
        b->k_codes = n * s->code_bytes[TQ_K];
        b->k_norms = n * s->norm_bytes[TQ_K];
        b->v_codes = n * s->code_bytes[TQ_V];
        b->v_norms = n * s->norm_bytes[TQ_V];
        return;
    }
    b->k_codes = vectors * c->plan[TQ_K].row_bytes;
    b->k_norms = vectors * c->plan[TQ_K].norm_bytes;
    b->v_codes = vectors * c->plan[TQ_V].row_bytes;
    b->v_norms = vectors * c->plan[TQ_V].norm_bytes;
}

static size_t code_row_bytes(const tq_cache *c) {
    return c->plan[TQ_K].row_bytes + c->plan[TQ_V].row_bytes + c->plan[TQ_K].norm_bytes +
           c->plan[TQ_V].norm_bytes;
}

void tq_cache_measure(const tq_cache *c, tq_cache_bytes *b) {
    const parts p = parts_of(c);
    const size_t halves = length_of(p.sinks) + length_of(p.recent);
    const size_t k_half = c->heads * tq_half_bytes(c, TQ_K), v_half = c->heads * tq_half_bytes(c, TQ_V);
    *b = (tq_cache_bytes){
        .size = sizeof(tq_cache_bytes),
        .k_dense = (c->sinks + c->half_rows) * k_half,
        .v_dense = (c->sinks + c->half_rows) * v_half,
        .centre = tq_centres_bytes(c),
        .table = c->page_entries * sizeof *c->pages + tq_block_table_bytes(&c->blocks),
        .object = sizeof *c,
        .used = length_of(p.codes) * c->heads * code_row_bytes(c) + halves * (k_half + v_half),
    };
    measure_codes(c, b);
    b->held = b->k_codes + b->k_norms + b->v_codes + b->v_norms + b->k_dense + b->v_dense + b->centre +
              b->table + b->object;
    if (c->pool != NULL) b->shared = count_shared(c) * c->shape.rows * c->heads * code_row_bytes(c);
}
