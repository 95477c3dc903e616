/* SPDX-License-Identifier: MIT
 * Appending: look at the values, take room, encode what ages out, keep the rest in float16, learn the
 * centre when its keys are there. */
#include "base/bytes.h"
#include "cache/cache.h"

/* Up to so many values are looked at beforehand whatever the cache; a pass over more costs as much as
 * encoding them, and is spared where encoding finds the same out. */
enum { SCAN_VALUES = 65536 };

static bool has_halves(const tq_cache *c) {
    return c->half_rows > 0 || c->sinks > 0;
}

/* What is encoded later must not fail then: float16 must be sure to hold its norm. */
tq_vector_limit tq_cache_limit(const tq_cache *c, unsigned side) {
    const bool codes = c->store[side] == TQ_STORE_CODES;
    const bool halves = c->store[side] == TQ_STORE_F16 || has_halves(c);
    return (tq_vector_limit){
        halves && tq_half_type(c, side) == TQ_F16 ? TQ_MAX_HALF : TQ_MAX_ABS,
        codes && !c->plan[side].v1
            ? tq_longest_vector(&c->plan[side], side == TQ_K && tq_cache_has_centre(c))
            : 0.0f};
}

/* What writes to places that nobody sees until it has succeeded may fail half way. */
static bool may_fail_late(const tq_cache *c, size_t n) {
    return !tq_cache_forgets(c) && !has_halves(c) && n * c->heads * c->plan[TQ_K].dim > SCAN_VALUES;
}

static bool find_bad(const tq_cache *c, size_t n, const tq_source src[TQ_SIDES], unsigned *side,
                     tq_bad_value *bad) {
    for (*side = TQ_K; *side < TQ_SIDES; (*side)++)
        if (tq_source_find_bad(&src[*side], c->kernels, n, c->heads, tq_cache_limit(c, *side), bad))
            return true;
    return false;
}

/* All that may be encoded at that length. */
static uint64_t aged_at(const tq_cache *c, uint64_t length) {
    const uint64_t aged = tq_less(length, c->recent);
    return tq_most(c->encoded_end, tq_most(tq_least(length, c->sinks), aged));
}

/* What has aged is encoded, up to a stretch whose first keys are not all there. */
uint64_t tq_cache_end_with(const tq_cache *c, uint64_t length, uint64_t there) {
    const uint64_t first = tq_most(c->encoded_end, c->sinks), end = aged_at(c, length);
    uint64_t begin;
    if (c->learn == 0 || end <= first) return end;
    const bool known = tq_stretch_of(end - 1, c->stretch) == tq_stretch_of(first, c->stretch) &&
                       tq_centre_is_known(c, first);
    const uint64_t keys = tq_centre_keys(c, first, end - 1, &begin);
    return known || there - begin >= keys ? end : begin;
}

uint64_t tq_cache_end_at(const tq_cache *c, uint64_t length) {
    return tq_cache_end_with(c, length, length);
}

uint16_t *tq_cache_half_row(const tq_cache *c, unsigned side, uint64_t position, size_t head) {
    const size_t dim = c->plan[side].dim;
    if (position < c->sinks) return c->sink_halves[side] + (head * c->sinks + (size_t)position) * dim;
    return c->halves[side] + (head * c->half_rows + (size_t)(position % c->half_rows)) * dim;
}

/* Positions [first, end) of those that src begins with at `start`. */
static void store_halves(const tq_cache *c, const tq_source src[TQ_SIDES], uint64_t start, uint64_t first,
                         uint64_t end) {
    float buffer[TQ_MAX_DIM];
    for (uint64_t p = first; p < end; p++)
        for (unsigned side = TQ_K; side < TQ_SIDES; side++)
            for (size_t h = 0; h < c->heads; h++) {
                const float *x = tq_source_floats(&src[side], c->kernels, (size_t)(p - start), h, buffer);
                tq_narrow(c->kernels, tq_half_type(c, side), src[side].dim, x,
                          tq_cache_half_row(c, side, p, h));
            }
}

/* What a later position lies over, and what is older than the last `capacity` while some of those wait
 * for their centre. */
static void forget(tq_cache *c) {
    c->oldest =
        tq_most(c->oldest, tq_most(tq_less(c->encoded_end, c->slots), tq_less(c->length, c->capacity)));
}

/* n positions; encoding is to stand at `end` after them. What ages out leaves the float16 ring before
 * what comes in takes its place. */
static bool step(tq_cache *c, size_t n, const tq_source src[TQ_SIDES], uint64_t end, bool check) {
    const uint64_t start = c->length, stop = start + n;
    if (!tq_cache_encode(c, src, start, tq_most(c->encoded_end, c->sinks), end, check)) return false;
    store_halves(c, src, start, start, tq_least(stop, c->sinks));
    store_halves(c, src, start, tq_most(start, tq_most(end, c->sinks)), stop);
    c->length = stop;
    c->encoded_end = end;
    forget(c);
    return true;
}

tq_status tq_cache_extend(tq_cache *c, size_t n, const tq_source src[TQ_SIDES], unsigned *side,
                          tq_bad_value *bad) {
    tq_room room;
    const bool late = may_fail_late(c, n);
    if (!late && find_bad(c, n, src, side, bad)) return TQ_E_RANGE;
    const uint64_t first = tq_most(c->encoded_end, c->sinks);
    const uint64_t end = tq_cache_end_at(c, c->length + n);
    TRY(tq_room_reserve(&room, c, first, end));
    if (step(c, n, src, end, late)) {
        tq_room_commit(&room, c);
        return TQ_OK;
    }
    tq_room_rollback(&room, c);
    (void)find_bad(c, n, src, side, bad);
    return TQ_E_RANGE;
}

/* A stretch that waits for its keys now may have its centre when a rewind has led back there. */
tq_status tq_cache_provide(tq_cache *c, uint64_t length) {
    return tq_room_hold(c, tq_most(c->encoded_end, c->sinks), aged_at(c, length));
}

/* What has aged goes from the float16 ring to codes. */
static void encode_aged(tq_cache *c, uint64_t end) {
    static const tq_source none[TQ_SIDES];
    (void)tq_cache_encode(c, none, c->length, tq_most(c->encoded_end, c->sinks), end, false);
    c->encoded_end = end;
    forget(c);
}

/* How many positions more find a row of float16 before something must age. */
static size_t free_rows(const tq_cache *c) {
    const uint64_t held = tq_less(c->length, tq_most(c->encoded_end, c->sinks));
    return (size_t)(c->length < c->sinks ? c->sinks - c->length : c->half_rows - held);
}

static void take_halves(tq_cache *c, const tq_half_rows *src, size_t from, size_t n) {
    for (unsigned side = TQ_K; side < TQ_SIDES; side++)
        for (size_t h = 0; h < c->heads; h++)
            for (size_t i = 0; i < n; i++)
                tq_get_halves(tq_cache_half_row(c, side, c->length + i, h),
                              src->data[side] + (h * src->rows + from + i) * tq_half_bytes(c, side),
                              c->plan[side].dim);
}

void tq_cache_extend_halves(tq_cache *c, const tq_half_rows *src, size_t count) {
    for (size_t done = 0, n; done < count; done += n) {
        const size_t left = count - done;
        n = (size_t)tq_least(left, free_rows(c));
        if (n == 0)
            encode_aged(c, tq_cache_end_with(c, c->length + tq_least(left, c->recent), c->length));
        take_halves(c, src, done, n);
        c->length += n;
        encode_aged(c, tq_cache_end_at(c, c->length));
    }
}
