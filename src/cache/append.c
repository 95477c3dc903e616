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

float tq_cache_limit(const tq_cache *c) {
    return has_halves(c) ? largest_half : TQ_MAX_ABS;
}

/* What writes to places that nobody sees until it has succeeded may fail half way. The codec's own check
 * is as strict as this one only where there is no centre. */
static bool may_fail_late(const tq_cache *c, size_t n_values) {
    return c->policy != TQ_CACHE_RING && !has_halves(c) && c->centre == NULL && n_values > SCAN_VALUES;
}

static bool find_bad(const tq_cache *c, size_t n_values, const float *const src[TQ_SIDES], unsigned *side,
                     size_t *index) {
    for (*side = TQ_K; *side < TQ_SIDES; (*side)++) {
        *index = c->kernels->scan(n_values, src[*side], tq_cache_limit(c));
        if (*index < n_values) return true;
    }
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
    if (position < c->sinks) return c->sink_halves[side] + (head * c->sinks + (size_t)position) * c->dim;
    return c->halves[side] + (head * c->half_rows + (size_t)(position % c->half_rows)) * c->dim;
}

/* Positions [first, end) of those that src begins with at `start`. */
static void store_halves(const tq_cache *c, const float *const src[TQ_SIDES], uint64_t start,
                         uint64_t first, uint64_t end) {
    for (uint64_t p = first; p < end; p++)
        for (unsigned side = TQ_K; side < TQ_SIDES; side++)
            for (size_t h = 0; h < c->heads; h++)
                c->kernels->f32_to_f16(c->dim, src[side] + ((size_t)(p - start) * c->heads + h) * c->dim,
                                       tq_cache_half_row(c, side, p, h));
}

/* The mean of a head's keys in float16, in double precision, in order: the same however they were
 * appended. Or zeros, where it has less than half of their mean square: keys that follow each other are
 * alike, and a mean of few says more of those few than of all. In models without a common part the share
 * was up to 0.45 and what the mean left of later keys up to 1.4 times the whole; with one, 0.98. */
static void learn_head(tq_cache *c, size_t head) {
    const double n = (double)c->learn;
    double sum[TQ_MAX_DIM] = {0}, all = 0.0, shared = 0.0;
    float x[TQ_MAX_DIM];
    for (uint64_t p = 0; p < c->learn; p++) {
        c->kernels->f16_to_f32(c->dim, tq_cache_half_row(c, TQ_K, p, head), x);
        for (size_t i = 0; i < c->dim; i++) {
            sum[i] += (double)x[i];
            all += (double)x[i] * (double)x[i];
        }
    }
    for (size_t i = 0; i < c->dim; i++)
        shared += sum[i] * sum[i];
    const bool worth = shared / n >= 0.5 * all;
    for (size_t i = 0; i < c->dim; i++)
        c->centre[head * c->dim + i] = worth ? (float)(sum[i] / n) : 0.0f;
}

static void learn(tq_cache *c) {
    for (size_t h = 0; h < c->heads; h++)
        learn_head(c, h);
    c->centre_known = true;
}

/* n positions; encoding is to stand at `end` after them. What ages out leaves the float16 ring before
 * what comes in takes its place. */
static bool step(tq_cache *c, size_t n, const float *const src[TQ_SIDES], uint64_t end) {
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
static bool advance(tq_cache *c, size_t n, const float *const src[TQ_SIDES]) {
    if (!is_waiting(c, c->length)) return step(c, n, src, tq_cache_end_at(c, c->length + n));
    const size_t missing = c->learn - (size_t)c->length, now = n < missing ? n : missing;
    if (!step(c, now, src, tq_least(c->length + now, c->sinks))) return false;
    if (now < missing) return true;
    const float *const rest[] = {src[TQ_K] + now * c->heads * c->dim,
                                 src[TQ_V] + now * c->heads * c->dim};
    learn(c);
    return step(c, n - now, rest, tq_cache_end_at(c, c->length + (n - now)));
}

tq_status tq_cache_extend(tq_cache *c, size_t n, const float *const src[TQ_SIDES], unsigned *side,
                          size_t *index) {
    const size_t n_values = n * c->heads * c->dim;
    tq_room room;
    if (!may_fail_late(c, n_values) && find_bad(c, n_values, src, side, index)) return TQ_E_RANGE;
    const uint64_t first = tq_most(c->encoded_end, c->sinks);
    const tq_status status = tq_room_take(&room, c, first, tq_cache_end_at(c, c->length + n));
    if (status != TQ_OK) return status;
    if (advance(c, n, src)) {
        tq_room_keep(&room, c);
        return TQ_OK;
    }
    tq_room_undo(&room, c);
    (void)find_bad(c, n_values, src, side, index);
    return TQ_E_RANGE;
}

/* What has aged goes from the float16 ring to codes. */
static void encode_aged(tq_cache *c, uint64_t end) {
    static const float *const none[TQ_SIDES] = {NULL, NULL};
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
                              src->data[side] + (h * src->rows + from + i) * c->dim * sizeof(uint16_t),
                              c->dim);
}

void tq_cache_extend_halves(tq_cache *c, const tq_half_rows *src) {
    for (size_t done = 0, n; done < src->rows; done += n) {
        const bool waiting = is_waiting(c, c->length);
        const size_t left = src->rows - done;
        n = (size_t)tq_least(left, free_rows(c));
        if (n == 0) encode_aged(c, tq_cache_end_at(c, c->length + tq_least(left, c->recent)));
        take_halves(c, src, done, n);
        c->length += n;
        if (waiting && c->length == c->learn) learn(c);
        encode_aged(c, tq_cache_end_at(c, c->length));
    }
}
