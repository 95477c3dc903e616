/* SPDX-License-Identifier: MIT
 * Appending: look at the values, take room, encode what ages out, keep the rest in float16, learn the
 * centre when its keys are there. */
#include "base/bytes.h"
#include "cache/cache.h"

/* The largest finite float16. */
static const float largest_half = 65504.0f;

/* Up to so many values are looked at beforehand whatever the cache; a pass over more costs as much as
 * encoding them, and is spared where encoding finds the same out. */
enum { SCAN_VALUES = 65536 };

static bool has_halves(const tq_cache *c) {
    return c->half_rows > 0 || c->sinks > 0;
}

float tq_cache_limit(const tq_cache *c, unsigned side) {
    const bool halves = c->store[side] == TQ_STORE_F16 || has_halves(c);
    return halves && tq_half_type(c, side) == TQ_F16 ? largest_half : TQ_MAX_ABS;
}

/* What writes to places that nobody sees until it has succeeded may fail half way. The codec's own check
 * is as strict as this one only where there is no centre, and dense sides have none. */
static bool may_fail_late(const tq_cache *c, size_t n) {
    const bool codes = c->store[TQ_K] == TQ_STORE_CODES && c->store[TQ_V] == TQ_STORE_CODES;
    return codes && !tq_cache_forgets(c) && !has_halves(c) && c->centre == NULL &&
           n * c->heads * c->plan[TQ_K].dim > SCAN_VALUES;
}

static bool find_bad(const tq_cache *c, size_t n, const tq_source src[TQ_SIDES], unsigned *side,
                     tq_bad_value *bad) {
    for (*side = TQ_K; *side < TQ_SIDES; (*side)++)
        if (tq_source_find_bad(&src[*side], c->kernels, n, c->heads, tq_cache_limit(c, *side), bad))
            return true;
    return false;
}

static bool is_waiting(const tq_cache *c, uint64_t length) {
    return c->learn > 0 && !c->centre_known && length < c->learn;
}

uint64_t tq_cache_end_at(const tq_cache *c, uint64_t length) {
    const uint64_t aged = is_waiting(c, length) ? 0 : tq_less(length, c->recent);
    return tq_most(c->encoded_end, tq_most(tq_least(length, c->sinks), aged));
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

/* The mean of a head's keys in float16, in double precision, in order: the same however they were
 * appended. Or zeros, where it has less than half of their mean square: keys that follow each other are
 * alike, and a mean of few says more of those few than of all. In models without a common part the share
 * was up to 0.45 and what the mean left of later keys up to 1.4 times the whole; with one, 0.98. */
static void learn_head(tq_cache *c, size_t head) {
    const double n = (double)c->learn;
    const size_t dim = c->plan[TQ_K].dim;
    double sum[TQ_MAX_DIM] = {0}, squares[TQ_MAX_DIM] = {0}, all = 0.0, shared = 0.0;
    float x[TQ_MAX_DIM];
    for (uint64_t p = 0; p < c->learn; p++) {
        c->kernels->f16_to_f32(dim, tq_cache_half_row(c, TQ_K, p, head), x);
        for (size_t i = 0; i < dim; i++) {
            const double value = (double)x[i];
            sum[i] += value;
            squares[i] += value * value; /* one sum of all would wait for itself */
        }
    }
    for (size_t i = 0; i < dim; i++) {
        all += squares[i];
        shared += sum[i] * sum[i];
    }
    const bool worth = shared / n >= 0.5 * all;
    for (size_t i = 0; i < dim; i++)
        c->centre[head * dim + i] = worth ? (float)(sum[i] / n) : 0.0f;
}

static void learn(tq_cache *c) {
    for (size_t h = 0; h < c->heads; h++)
        learn_head(c, h);
    c->centre_known = true;
}

/* n positions; encoding is to stand at `end` after them. What ages out leaves the float16 ring before
 * what comes in takes its place. */
static bool step(tq_cache *c, size_t n, const tq_source src[TQ_SIDES], uint64_t end) {
    const uint64_t start = c->length, stop = start + n;
    if (!tq_cache_encode(c, src, start, tq_most(c->encoded_end, c->sinks), end)) return false;
    store_halves(c, src, start, start, tq_least(stop, c->sinks));
    store_halves(c, src, start, tq_most(start, tq_most(end, c->sinks)), stop);
    c->length = stop;
    c->encoded_end = end;
    c->oldest = tq_most(c->oldest, tq_less(end, c->slots));
    return true;
}

/* Up to the last key that the centre waits for, nothing ages out. */
static bool advance(tq_cache *c, size_t n, const tq_source src[TQ_SIDES]) {
    if (!is_waiting(c, c->length)) return step(c, n, src, tq_cache_end_at(c, c->length + n));
    const size_t missing = c->learn - (size_t)c->length, now = n < missing ? n : missing;
    if (!step(c, now, src, tq_least(c->length + now, c->sinks))) return false;
    if (now < missing) return true;
    tq_source rest[] = {src[TQ_K], src[TQ_V]};
    for (unsigned side = TQ_K; side < TQ_SIDES; side++)
        rest[side].data = tq_source_at(&src[side], now, 0);
    learn(c);
    return step(c, n - now, rest, tq_cache_end_at(c, c->length + (n - now)));
}

tq_status tq_cache_extend(tq_cache *c, size_t n, const tq_source src[TQ_SIDES], unsigned *side,
                          tq_bad_value *bad) {
    tq_room room;
    if (!may_fail_late(c, n) && find_bad(c, n, src, side, bad)) return TQ_E_RANGE;
    const uint64_t first = tq_most(c->encoded_end, c->sinks);
    TRY(tq_room_reserve(&room, c, first, tq_cache_end_at(c, c->length + n)));
    if (advance(c, n, src)) {
        tq_room_commit(&room, c);
        return TQ_OK;
    }
    tq_room_rollback(&room, c);
    (void)find_bad(c, n, src, side, bad);
    return TQ_E_RANGE;
}

tq_status tq_cache_provide(tq_cache *c, uint64_t length) {
    return tq_room_hold(c, tq_most(c->encoded_end, c->sinks),
                        tq_cache_end_at(c, tq_most(length, c->length)));
}

/* What has aged goes from the float16 ring to codes. */
static void encode_aged(tq_cache *c, uint64_t end) {
    static const tq_source none[TQ_SIDES];
    (void)tq_cache_encode(c, none, c->length, tq_most(c->encoded_end, c->sinks),
                          end); /* finite: it can */
    c->encoded_end = end;
    c->oldest = tq_most(c->oldest, tq_less(end, c->slots));
}

/* How many positions more find a row of float16 before something must age, or a centre be learned. */
static size_t free_rows(const tq_cache *c) {
    const uint64_t held = tq_less(c->length, tq_most(c->encoded_end, c->sinks));
    const uint64_t free = c->length < c->sinks ? c->sinks - c->length : c->half_rows - held;
    return (size_t)(is_waiting(c, c->length) ? tq_least(free, c->learn - c->length) : free);
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
        const bool waiting = is_waiting(c, c->length);
        const size_t left = count - done;
        n = (size_t)tq_least(left, free_rows(c));
        if (n == 0) encode_aged(c, tq_cache_end_at(c, c->length + tq_least(left, c->recent)));
        take_halves(c, src, done, n);
        c->length += n;
        if (waiting && c->length == c->learn) learn(c);
        encode_aged(c, tq_cache_end_at(c, c->length));
    }
}
