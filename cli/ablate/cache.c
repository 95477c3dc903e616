/* SPDX-License-Identifier: MIT
 * The caches that an ablation compares: originals, codes, decoded and requantised copies, each in the
 * same ring, and beside it what it holds, made without a ring. */
#include "ablate/ablate.h"

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/encoding.h"
#include "base/message.h"

const unsigned cli_snap_bits[CLI_N_SNAPS] = {5, 6, 8};

/* Slots beyond those that queries look back on: a read beside the window then finds another vector. */
enum { SPARE_SLOTS = 3 };

cli_ring cli_ring_plan(size_t n_positions, size_t n_queries, size_t window) {
    cli_ring ring = {n_positions, n_positions, n_positions, n_positions, 0};
    if (window == 0) return ring;
    ring.capacity = (window < n_positions ? window : n_positions) + n_queries + SPARE_SLOTS;
    ring.held = ring.capacity < n_positions ? ring.capacity : n_positions;
    if (ring.written <= 2 * ring.capacity) ring.written = 2 * ring.capacity + 1;
    /* A ring that starts at slot 0 would hide a start that is ignored. */
    ring.written += (ring.written - ring.held) % ring.capacity == 0;
    ring.ring_start = (ring.written - ring.held) % ring.capacity;
    return ring;
}

static size_t smaller(size_t a, size_t b) {
    return a < b ? a : b;
}

/* Writes all positions in order, whatever they overwrite. */
static void fill_ring(const cli_heads *heads, const cli_ring *ring, float *slots) {
    const size_t dim = heads->head_dim, total = heads->n_positions;
    const size_t before = ring->written - total;
    size_t n;
    for (size_t p = 0; p < ring->written; p += n) {
        /* The last T are those of the tensor, so that counting back from the end finds the others. */
        const size_t t = (p + total - before % total) % total, slot = p % ring->capacity;
        n = smaller(smaller(total - t, ring->capacity - slot), ring->written - p);
        for (size_t g = 0; g < heads->n_heads; g++) {
            memcpy(slots + (g * ring->capacity + slot) * dim, heads->data + (g * total + t) * dim,
                   n * dim * sizeof *slots);
        }
    }
}

static void copy_held(const cli_heads *heads, const cli_ring *ring, float *flat) {
    const size_t dim = heads->head_dim, first = heads->n_positions - ring->held;
    for (size_t g = 0; g < heads->n_heads; g++) {
        memcpy(flat + g * ring->held * dim, heads->data + (g * heads->n_positions + first) * dim,
               ring->held * dim * sizeof *flat);
    }
}

/* The format of the same family with so many bits. */
static tq_format family(tq_format format, unsigned bits) {
    return (tq_format)(((unsigned)format & 0x100u) | bits);
}

/* A norm of v2 is a float16. */
static tq_status store_norm(float *norm) {
    uint16_t half = 0;
    const tq_status status = tq_round_centre(norm, &half, 1);
    *norm = cli_half(half);
    return status;
}

/* A stretch of a rotated vector to unit variance, to the nearest centroids, and back, by the format's
 * norm rule. */
static tq_status snap_block(tq_format format, size_t n, float *block) {
    const bool matched = tq_norm_rule_of(format, TQ_NORM_DEFAULT) == TQ_NORM_MATCHED;
    double squares = 0.0, snapped = 0.0;
    for (size_t d = 0; d < n; d++)
        squares += (double)block[d] * (double)block[d];
    const double rms = sqrt(squares / (double)n);
    if (rms == 0.0) return TQ_OK;
    for (size_t d = 0; d < n; d++)
        block[d] = (float)((double)block[d] / rms);
    tq_status status = tq_requantize(format, block, block, n);
    for (size_t d = 0; d < n; d++)
        snapped += (double)block[d] * (double)block[d];
    const double factor = matched ? sqrt(squares / snapped) : rms;
    float norm = (float)(factor * sqrt((double)n));
    if (status == TQ_OK && !TQ_IS_V1(format)) status = store_norm(&norm);
    for (size_t d = 0; d < n; d++)
        block[d] = (float)((double)block[d] * (double)norm / sqrt((double)n));
    return status;
}

/* Vectors of the original domain to rotated, snapped ones. */
static tq_status snap(const tq_codec *codec, unsigned bits, size_t rows, const float *src, float *dst) {
    /* v1 has a norm for each half at 512. */
    const size_t dim = codec->head_dim, block = TQ_IS_V1(codec->format) ? 256 : dim;
    tq_status status = tq_rotate(codec, TQ_ROTATED, rows, src, dst);
    for (size_t at = 0; status == TQ_OK && at < rows * dim; at += block)
        status = snap_block(family(codec->format, bits), block, dst + at);
    return status;
}

/* Codes of the ring, decoded once as they lie; and of what is held, encoded apart from it. */
static tq_status fill_codes(cli_ablate_side *s, size_t heads, const cli_ring *ring, cli_device *device) {
    const size_t held = heads * ring->held * s->codec.head_dim;
    const size_t slots = heads * ring->capacity * s->codec.head_dim;
    tq_encoded *e = &s->encoded;
    TRY_STATUS(tq_encoded_alloc(e, &s->codec, heads, ring->capacity, 0, 0));
    TRY_STATUS(tq_encoded_put(e, ring->held, s->flat_original, held, 0));
    TRY_STATUS(tq_encoded_get(e, 0, ring->held, TQ_ORIGINAL, s->flat_decoded, held, 0));
    e->n_positions = 0;
    TRY_STATUS(tq_encoded_put(e, ring->capacity, s->ring_original, slots, 0));
    if (device) return cli_device_decode(device, e, TQ_ROTATED, s->ring_decoded);
    return tq_encoded_get(e, 0, ring->capacity, TQ_ROTATED, s->ring_decoded, slots, 0);
}

static tq_status fill_snapped(cli_ablate_side *s, size_t heads, const cli_ring *ring) {
    const size_t held = heads * ring->held, slots = heads * ring->capacity;
    for (size_t b = 0; b < CLI_N_SNAPS; b++) {
        const unsigned bits = cli_snap_bits[b];
        TRY_STATUS(snap(&s->codec, bits, held, s->flat_original, s->flat_snapped[b]));
        TRY_STATUS(tq_rotate(&s->codec, TQ_ORIGINAL, held, s->flat_snapped[b], s->flat_snapped[b]));
        TRY_STATUS(snap(&s->codec, bits, slots, s->ring_original, s->ring_snapped[b]));
    }
    return TQ_OK;
}

static bool allocate(cli_ablate_side *s, size_t heads, const cli_ring *ring) {
    const size_t dim = s->codec.head_dim;
    float **flat[] = {&s->flat_original, &s->flat_decoded, &s->flat_snapped[0], &s->flat_snapped[1],
                      &s->flat_snapped[2]};
    float **slots[] = {&s->ring_original, &s->ring_decoded, &s->ring_snapped[0], &s->ring_snapped[1],
                       &s->ring_snapped[2]};
    bool fits = true;
    for (size_t i = 0; i < sizeof flat / sizeof flat[0]; i++) {
        *flat[i] = cli_new_floats(heads, ring->held, dim);
        *slots[i] = cli_new_floats(heads, ring->capacity, dim);
        fits = fits && *flat[i] && *slots[i];
    }
    return fits;
}

int cli_ablate_side_build(const char *path, const cli_heads *heads, const cli_ring *ring,
                          const tq_codec *codec, cli_device *device, cli_ablate_side *side) {
    *side = (cli_ablate_side){.codec = *codec};
    TRY(cli_check(path, tq_row_size(codec, NULL, NULL)));
    if (!allocate(side, heads->n_heads, ring)) return cli_out_of_memory();
    copy_held(heads, ring, side->flat_original);
    fill_ring(heads, ring, side->ring_original);
    TRY(cli_check(path, fill_codes(side, heads->n_heads, ring, device)));
    return cli_check(path, fill_snapped(side, heads->n_heads, ring));
}

void cli_ablate_side_free(cli_ablate_side *side) {
    for (size_t b = 0; b < CLI_N_SNAPS; b++) {
        free(side->flat_snapped[b]);
        free(side->ring_snapped[b]);
    }
    free(side->flat_young);
    free(side->ring_young);
    free(side->flat_end);
    free(side->flat_original);
    free(side->flat_decoded);
    free(side->ring_original);
    free(side->ring_decoded);
    tq_encoded_free(&side->encoded);
    *side = (cli_ablate_side){0};
}
