/* SPDX-License-Identifier: MIT
 * A cache's positions as a block. */
#include "base/bytes.h"
#include "base/check.h"
#include "cache/image.h"

static uint64_t clamp(uint64_t position, uint64_t least, uint64_t most) {
    return tq_most(least, tq_least(position, most));
}

/* From 0 on a block is what a rewind leaves; a chunk lacks nothing. */
static tq_status check_range(const tq_cache *c, uint64_t first, uint64_t end) {
    if (first == 0 || end > c->length) return tq_cache_check_length(c, end, "end");
    if (first > end)
        return tq_fail(TQ_E_POSITION, first, "first", "first %llu is beyond end %llu",
                       (unsigned long long)first, (unsigned long long)end);
    if (tq_most(first, c->sinks) < tq_least(c->oldest, end))
        return tq_fail(TQ_E_POSITION, first, "first", "first %llu: %llu is the oldest position left",
                       (unsigned long long)first, (unsigned long long)c->oldest);
    return TQ_OK;
}

/* What counts of a codec; of a dense side's that is head_dim. */
static void take_codec(tq_codec *to, const tq_codec *from, tq_store store, const tq_plan *plan) {
    *to = store == TQ_STORE_CODES ? *from : (tq_codec){.head_dim = from->head_dim};
    to->norm_rule = plan->norm_rule;
    if (plan->n_norms < 2) to->scale_factor_d512 = 0;
}

static tq_status describe(const tq_cache *c, uint64_t first, uint64_t end, tq_image *b) {
    TRY(tq_check_not_null("cache", c));
    TRY(check_range(c, first, end));
    *b = (tq_image){.info = {.layer = c->layer, .first = first, .end = end},
                    .plan = {c->plan[TQ_K], c->plan[TQ_V]}};
    tq_cache_block *i = &b->info;
    take_codec(&i->layer.k, &c->layer.k, c->store[TQ_K], &c->plan[TQ_K]);
    take_codec(&i->layer.v, &c->layer.v, c->store[TQ_V], &c->plan[TQ_V]);
    i->sinks_end = clamp(c->sinks, first, end);
    i->codes_end = clamp(c->encoded_end, i->sinks_end, end);
    i->codes_first = clamp(c->oldest, i->sinks_end, i->codes_end);
    i->has_k_centre = tq_cache_has_centre(c) && i->codes_first < i->codes_end;
    i->centre_stretch = i->has_k_centre ? c->stretch : 0;
    if (tq_image_lay_out(b)) return TQ_OK;
    return tq_fail(TQ_E_OVERFLOW, end, "end", "a block of %llu positions does not fit in memory",
                   (unsigned long long)(end - first));
}

/* Positions from `first` on that are sinks or recent. */
static void write_halves(const tq_cache *c, const tq_image *b, unsigned part, uint64_t first,
                         uint8_t *bytes) {
    for (unsigned side = TQ_K; side < TQ_SIDES; side++) {
        const size_t dim = b->plan[side].dim;
        uint8_t *at = bytes + b->at[part][side];
        for (size_t h = 0; h < c->heads; h++)
            for (size_t i = 0; i < b->rows[part]; i++, at += dim * sizeof(uint16_t))
                tq_put_halves(at, tq_cache_half_row(c, side, first + i, h), dim);
    }
}

static void write_centres(const tq_cache *c, const tq_image *b, uint8_t *at) {
    const size_t n = c->heads * b->plan[TQ_K].dim;
    for (size_t i = 0; i < b->rows[TQ_PART_CENTRE]; i++)
        tq_put_halves(at + i * n * sizeof(uint16_t),
                      tq_centre_at(c, b->info.codes_first + i * c->stretch, 0), n);
}

/* n vectors that lie side by side. */
static void write_vectors(const tq_image *b, unsigned side, const tq_place *from, size_t n,
                          uint8_t *codes, uint8_t *norms) {
    const tq_plan *plan = &b->plan[side];
    if (tq_image_store(b, side) == TQ_STORE_CODES)
        memcpy(codes, from->codes, n * plan->row_bytes);
    else
        tq_put_halves(codes, (const uint16_t *)(const void *)from->codes, n * plan->dim);
    if (plan->v1)
        tq_put_floats(norms, (const float *)(const void *)from->norms, n * plan->n_norms);
    else
        tq_put_halves(norms, (const uint16_t *)(const void *)from->norms, n * plan->n_norms);
}

static void write_codes(const tq_cache *c, const tq_image *b, uint8_t *bytes) {
    for (unsigned side = TQ_K; side < TQ_SIDES; side++) {
        const size_t code_row = b->plan[side].row_bytes, norm_row = b->plan[side].norm_bytes;
        uint8_t *codes = bytes + b->at[TQ_PART_CODES][side], *norms = bytes + b->at[TQ_PART_NORMS][side];
        for (size_t h = 0; h < c->heads; h++)
            for (size_t i = 0, n; i < b->rows[TQ_PART_CODES]; i += n) {
                const tq_place at = tq_cache_place(c, side, b->info.codes_first + i, h);
                n = (size_t)tq_least(at.run, b->rows[TQ_PART_CODES] - i);
                write_vectors(b, side, &at, n, codes, norms);
                codes += n * code_row;
                norms += n * norm_row;
            }
    }
}

tq_status tq_cache_export_size(const tq_cache *cache, uint64_t first, uint64_t end, size_t *bytes) {
    tq_image b;
    TRY(tq_check_not_null("bytes", bytes));
    TRY(describe(cache, first, end, &b));
    *bytes = b.info.bytes;
    return TQ_OK;
}

tq_status tq_cache_export(const tq_cache *cache, uint64_t first, uint64_t end, void *block,
                          size_t bytes) {
    tq_image b;
    TRY(tq_check_not_null("block", block));
    TRY(describe(cache, first, end, &b));
    if (bytes < b.info.bytes)
        return tq_fail(TQ_E_SIZE, b.info.bytes, "block", "block: %zu bytes are given, %zu wanted", bytes,
                       b.info.bytes);
    tq_image_write_header(&b, block);
    uint8_t *at = block;
    write_centres(cache, &b, at + b.at[TQ_PART_CENTRE][TQ_K]);
    write_halves(cache, &b, TQ_PART_SINKS, b.info.first, at);
    write_halves(cache, &b, TQ_PART_RECENT, b.info.codes_end, at);
    write_codes(cache, &b, at);
    tq_image_seal(&b, block);
    return TQ_OK;
}
