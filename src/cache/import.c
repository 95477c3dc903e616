/* SPDX-License-Identifier: MIT
 * A block's positions into a cache: what could be wrong is found first, memory is taken, and then nothing
 * can fail. */
#include "base/bytes.h"
#include "base/check.h"
#include "cache/image.h"

static const char *store_name(tq_store store) {
    return store == TQ_STORE_CODES ? "codes" : store == TQ_STORE_F16 ? "float16" : "bfloat16";
}

/* What the block has of a side is what the cache has; a dense side is its head_dim. */
static tq_status check_side(const tq_cache *c, const tq_image *b, unsigned side) {
    const tq_codec *own = side == TQ_K ? &c->layer.k : &c->layer.v, *block = tq_image_codec(b, side);
    const tq_plan *plan = &c->plan[side];
    const char *name = side == TQ_K ? "keys" : "values";
    if (tq_image_store(b, side) != c->store[side])
        return tq_fail(TQ_E_FORMAT, 0, "store", "the block's %s are %s, the cache's %s", name,
                       store_name(tq_image_store(b, side)), store_name(c->store[side]));
    const bool dense = c->store[side] != TQ_STORE_CODES;
    if (!dense && block->format != own->format)
        return tq_fail(TQ_E_FORMAT, 0, "format", "the block's %s are %s, the cache's %s", name,
                       tq_format_name(block->format), tq_format_name(own->format));
    if (block->head_dim != own->head_dim)
        return tq_fail(TQ_E_HEAD_DIM, block->head_dim, "head_dim",
                       "the block's %s have head_dim %u, the cache's %u", name, block->head_dim,
                       own->head_dim);
    if (!dense && block->norm_rule != plan->norm_rule)
        return tq_fail(TQ_E_NORM_RULE, 0, "norm_rule", "the block's %s have %s norms, the cache's %s",
                       name, tq_norm_rule_name(block->norm_rule), tq_norm_rule_name(plan->norm_rule));
    if (plan->n_norms == 2 && (block->scale_factor_d512 < own->scale_factor_d512 ||
                               block->scale_factor_d512 > own->scale_factor_d512))
        return tq_fail(TQ_E_SCALE_FACTOR, 0, "scale_factor_d512",
                       "the block's %s have scale_factor_d512 %g, the cache's %g", name,
                       (double)block->scale_factor_d512, (double)own->scale_factor_d512);
    return TQ_OK;
}

static tq_status check_layer(const tq_cache *c, const tq_image *b) {
    if (b->info.layer.n_kv_heads != c->heads)
        return tq_fail(TQ_E_HEADS, b->info.layer.n_kv_heads, "n_kv_heads",
                       "the block has %u heads, the cache %zu", b->info.layer.n_kv_heads, c->heads);
    TRY(check_side(c, b, TQ_K));
    return check_side(c, b, TQ_V);
}

static bool has_codes(const tq_cache_block *i) {
    return i->codes_first < i->codes_end;
}

/* Positions are left out: before the block, or, where they were forgotten, behind its sinks. */
static bool skips(const tq_cache *c, const tq_cache_block *i) {
    return i->first > c->length || i->codes_first > i->sinks_end;
}

/* Where it goes on then. */
static uint64_t gap_end(const tq_cache *c, const tq_cache_block *i) {
    return i->first > c->length ? i->first : i->codes_first;
}

/* Where the block's positions stand to those that are there. */
static tq_status check_range(const tq_cache *c, const tq_cache_block *i) {
    const bool forgets = tq_cache_forgets(c);
    if (i->first < c->length || (!forgets && i->first > c->length))
        return tq_fail(TQ_E_POSITION, i->first, "first",
                       "the block begins with position %llu, the next one of the cache is %llu",
                       (unsigned long long)i->first, (unsigned long long)c->length);
    if (!forgets && i->codes_first > i->sinks_end)
        return tq_fail(TQ_E_POSITION, i->sinks_end, "codes",
                       "the block lacks positions %llu to %llu, which its cache had forgotten: only a "
                       "ring or a cache with a window takes it",
                       (unsigned long long)i->sinks_end, (unsigned long long)i->codes_first - 1);
    if (!forgets && i->end > c->capacity)
        return tq_fail(TQ_E_POSITION, i->end, "end",
                       "the block ends with position %llu of a capacity of %zu",
                       (unsigned long long)i->end, c->capacity);
    if (!forgets && has_codes(i) && i->codes_end > c->slots + c->sinks)
        return tq_fail(
            TQ_E_POSITION, i->codes_end, "end",
            "the block has codes up to position %llu, the cache encodes those up to %zu: the last "
            "%zu of its capacity are in float16",
            (unsigned long long)i->codes_end, c->slots + c->sinks, c->recent);
    return TQ_OK;
}

/* What is in float16 in the one is, or may be, in the other. */
static tq_status check_parts(const tq_cache *c, const tq_cache_block *i) {
    const bool skip = skips(c, i), sinks_given = i->first < i->sinks_end;
    const uint64_t before = sinks_given && i->first == c->length ? i->sinks_end : c->length;
    if ((skip && before < c->sinks) || (has_codes(i) && i->codes_first < c->sinks))
        return tq_fail(
            TQ_E_POSITION, before, "sinks",
            "the cache keeps its first %zu positions in float16, the block has not all of them so",
            c->sinks);
    const bool waiting = i->first == c->length && c->length > tq_most(c->encoded_end, c->sinks);
    if (has_codes(i) && (waiting || (sinks_given && i->sinks_end > c->sinks)))
        return tq_fail(
            TQ_E_POSITION, i->codes_first, "codes",
            "codes of position %llu follow positions in float16 that are no sinks of the cache: "
            "truncate to tq_cache_encoded_end(), or import what is encoded first",
            (unsigned long long)i->codes_first);
    const uint64_t dense_end = i->codes_end < i->end ? i->end : sinks_given ? i->sinks_end : 0;
    if (c->half_rows == 0 && dense_end > c->sinks)
        return tq_fail(
            TQ_E_POSITION, dense_end, "recent",
            "the block has position %llu in float16, and the cache keeps none so: set `recent`, or "
            "export up to tq_cache_encoded_end()",
            (unsigned long long)dense_end - 1);
    return TQ_OK;
}

/* The block's centre of the first of its codes is the cache's own. */
static bool same_centre(const tq_cache *c, const tq_image *b, const uint8_t *bytes) {
    const uint8_t *at = bytes + b->at[TQ_PART_CENTRE][TQ_K];
    const uint16_t *own = tq_centre_at(c, b->info.codes_first, 0);
    for (size_t i = 0; i < c->heads * c->plan[TQ_K].dim; i++)
        if (own[i] != tq_get_u16(at + i * sizeof *own)) return false;
    return true;
}

static tq_status check_centre(const tq_cache *c, const tq_image *b, const uint8_t *bytes) {
    const tq_cache_block *i = &b->info;
    const char *why = NULL;
    if (!has_codes(i)) return TQ_OK;
    if (!i->has_k_centre) {
        if (tq_cache_has_centre(c)) why = "the block's keys have no centre, and the cache's have one";
    } else if (!tq_cache_has_centre(c)) {
        why = "the block's keys have a centre, and the cache's have none";
    } else if (i->centre_stretch != c->stretch) {
        why = "the block's keys have centres of other stretches than the cache's";
    } else if ((c->centre_given || (!skips(c, i) && tq_centre_is_known(c, i->codes_first))) &&
               !same_centre(c, b, bytes)) {
        why = "the block's keys have another centre than the cache's";
    }
    return why == NULL ? TQ_OK
                       : tq_fail(TQ_E_FILE_FIELD, b->at[TQ_PART_CENTRE][TQ_K], "k_centre", "%s", why);
}

/* What is to be encoded later can be, and with its centre: no centre is longer than a key. */
static tq_status check_lengths(const tq_cache *c, const tq_image *b, unsigned part, unsigned side,
                               const uint8_t *bytes) {
    static const char *const names[] = {
        [TQ_PART_CENTRE] = "k_centre", [TQ_PART_SINKS] = "sinks", [TQ_PART_RECENT] = "recent"};
    const char *what = part == TQ_PART_CENTRE ? "centre" : "vector in float16";
    const size_t dim = b->plan[side].dim;
    const tq_vector_limit limit = tq_cache_limit(c, side);
    uint16_t halves[TQ_MAX_DIM];
    float x[TQ_MAX_DIM];
    tq_bad_value bad;
    for (size_t i = 0; limit.length > 0.0f && i < c->heads * b->rows[part]; i++) {
        const size_t at = b->at[part][side] + i * sizeof *halves * dim;
        tq_get_halves(halves, bytes + at, dim);
        tq_widen(c->kernels, tq_half_type(c, side), dim, halves, x);
        if (tq_find_bad_row(c->kernels, dim, 1, x, limit, &bad))
            return tq_fail(TQ_E_RANGE, at, names[part],
                           "the block has a %s that is %g long: the limit of the cache is %g", what,
                           (double)bad.value, (double)limit.length);
    }
    return TQ_OK;
}

static tq_status check_vectors(const tq_cache *c, const tq_image *b, const uint8_t *bytes) {
    TRY(check_lengths(c, b, TQ_PART_CENTRE, TQ_K, bytes));
    for (unsigned side = TQ_K; side < TQ_SIDES; side++) {
        TRY(check_lengths(c, b, TQ_PART_SINKS, side, bytes));
        TRY(check_lengths(c, b, TQ_PART_RECENT, side, bytes));
    }
    return TQ_OK;
}

/* Where encoding will stand. */
static uint64_t encoded_after(const tq_cache *c, const tq_cache_block *i) {
    tq_cache planned = *c;
    if (skips(c, i)) planned.encoded_end = planned.oldest = gap_end(c, i);
    if (has_codes(i)) planned.encoded_end = i->codes_end;
    return tq_cache_end_at(&planned, i->end);
}

/* Memory for what will be encoded. Pages of what is left out are not among it. */
static tq_status take_room(tq_cache *c, const tq_cache_block *i, tq_room *room) {
    const uint64_t oldest = c->oldest, end = encoded_after(c, i);
    if (!skips(c, i)) return tq_room_reserve(room, c, tq_most(c->encoded_end, c->sinks), end);
    c->oldest = gap_end(c, i);
    const tq_status status = tq_room_reserve(room, c, c->oldest, end);
    if (status != TQ_OK) c->oldest = oldest;
    return status;
}

/* Goes on at a position without what lies before. */
static void skip_to(tq_cache *c, uint64_t position) {
    c->length = c->encoded_end = c->oldest = position;
}

static void append_halves(tq_cache *c, const tq_image *b, unsigned part, const uint8_t *bytes,
                          size_t count) {
    const tq_half_rows rows = {{bytes + b->at[part][TQ_K], bytes + b->at[part][TQ_V]}, b->rows[part]};
    tq_cache_extend_halves(c, &rows, count);
}

/* n vectors to where they lie side by side. */
static void read_vectors(const tq_image *b, unsigned side, const tq_place *to, size_t n,
                         const uint8_t *codes, const uint8_t *norms) {
    const tq_plan *plan = &b->plan[side];
    if (tq_image_store(b, side) == TQ_STORE_CODES)
        memcpy(to->codes, codes, n * plan->row_bytes);
    else
        tq_get_halves((uint16_t *)(void *)to->codes, codes, n * plan->dim);
    if (plan->v1)
        tq_get_floats((float *)(void *)to->norms, norms, n * plan->n_norms);
    else
        tq_get_halves((uint16_t *)(void *)to->norms, norms, n * plan->n_norms);
}

/* Those of positions from `from` on, and the last in any case: what comes after the codes may go by it.
 */
static void read_centres(const tq_cache *c, const tq_image *b, uint64_t from, const uint8_t *bytes) {
    const size_t n = c->heads * c->plan[TQ_K].dim;
    const uint64_t first = tq_stretch_of(b->info.codes_first, c->stretch);
    const uint64_t kept = tq_stretch_of(tq_least(from, b->info.codes_end - 1), c->stretch);
    const uint8_t *at = bytes + b->at[TQ_PART_CENTRE][TQ_K];
    for (size_t i = (size_t)(kept - first); i < b->rows[TQ_PART_CENTRE]; i++)
        tq_get_halves(tq_centre_at(c, (first + i) * c->stretch, 0), at + i * n * sizeof(uint16_t), n);
}

/* Positions that will have been forgotten when encoding stands at `end` are left out. */
static void append_codes(tq_cache *c, const tq_image *b, const uint8_t *bytes, uint64_t end) {
    const uint64_t first = b->info.codes_first;
    const size_t rows = b->rows[TQ_PART_CODES];
    const size_t start = (size_t)tq_least(tq_less(tq_cache_placed_from(c, end), first), rows);
    if (tq_cache_has_centre(c) && !c->centre_given) read_centres(c, b, first + start, bytes);
    for (unsigned side = TQ_K; side < TQ_SIDES; side++) {
        const uint8_t *codes = bytes + b->at[TQ_PART_CODES][side];
        const uint8_t *norms = bytes + b->at[TQ_PART_NORMS][side];
        const size_t norm_row = b->plan[side].norm_bytes;
        for (size_t h = 0; h < c->heads; h++)
            for (size_t i = start, n; i < rows; i += n) {
                const tq_place to = tq_cache_place(c, side, first + i, h);
                const size_t at = h * rows + i;
                n = (size_t)tq_least(to.run, rows - i);
                read_vectors(b, side, &to, n, codes + at * b->plan[side].row_bytes,
                             norms + at * norm_row);
            }
    }
    c->length = c->encoded_end = b->info.codes_end;
    c->oldest = tq_most(c->oldest, tq_less(c->encoded_end, c->slots));
}

/* Of sinks before a gap the cache keeps those that are its own. */
static size_t sinks_taken(const tq_cache *c, const tq_cache_block *i) {
    const bool gap = i->codes_first > i->sinks_end;
    return (size_t)((gap ? tq_least(i->sinks_end, c->sinks) : i->sinks_end) - i->first);
}

static void append_image(tq_cache *c, const tq_image *b, const uint8_t *bytes) {
    const tq_cache_block *i = &b->info;
    const uint64_t end = encoded_after(c, i);
    if (i->first > c->length) skip_to(c, i->first);
    append_halves(c, b, TQ_PART_SINKS, bytes, sinks_taken(c, i));
    if (i->codes_first > i->sinks_end) skip_to(c, i->codes_first);
    if (has_codes(i)) append_codes(c, b, bytes, end);
    append_halves(c, b, TQ_PART_RECENT, bytes, b->rows[TQ_PART_RECENT]);
    if (c->pool != NULL) tq_pages_trim(c);
}

tq_status tq_cache_import(tq_cache *cache, const void *block, size_t bytes) {
    tq_image b;
    tq_room room;
    TRY(tq_check_not_null("cache", cache));
    TRY(tq_check_not_null("block", block));
    TRY(tq_image_read(&b, block, bytes));
    TRY(check_layer(cache, &b));
    TRY(check_range(cache, &b.info));
    TRY(check_parts(cache, &b.info));
    TRY(check_centre(cache, &b, block));
    TRY(check_vectors(cache, &b, block));
    TRY(take_room(cache, &b.info, &room));
    append_image(cache, &b, block);
    tq_room_commit(&room, cache);
    return TQ_OK;
}
