/* SPDX-License-Identifier: MIT
 * Whole tensors through the codec: rings, pieces of rows, sizes. */
#include "base/encoding.h"

#include <math.h>
#include <stdlib.h>

#include "base/progress.h"

/* Values of one call to the codec: a few milliseconds of work, and a buffer that stays in cache. */
enum { PIECE_VALUES = 1 << 18 };

static size_t smaller(size_t a, size_t b) {
    return a < b ? a : b;
}

static size_t piece_rows(size_t n_heads, size_t head_dim) {
    const size_t rows = PIECE_VALUES / head_dim / n_heads;
    return rows ? rows : 1;
}

size_t cli_first_kept(size_t n_positions, size_t capacity) {
    return n_positions > capacity ? n_positions - capacity : 0;
}

/* The rows of one call: `rows` slots of every head of a cache of that capacity, against dense vectors
 * whose heads lie dense_rows apart. */
static tq_batch cache_batch(const tq_encoded *cache, size_t rows, size_t dense_rows) {
    const size_t slots = cache->n_kv_heads * cache->capacity;
    return (tq_batch){.heads = cache->n_kv_heads,
                      .rows = rows,
                      .dense_head_stride = dense_rows * cache->codec.head_dim,
                      .code_head_stride = cache->n_codes / slots * cache->capacity,
                      .norm_head_stride = cache->n_norms / slots * cache->capacity};
}

tq_status cli_encode_heads(const cli_heads *heads, tq_encoded *out) {
    const size_t slots = out->n_kv_heads * out->capacity;
    const size_t code_bytes = out->n_codes / slots, norms = out->n_norms / slots;
    const size_t n_values = heads->n_heads * heads->n_positions * heads->head_dim;
    const size_t most = piece_rows(heads->n_heads, heads->head_dim);
    size_t rows;

    for (size_t t = cli_first_kept(heads->n_positions, out->capacity); t < heads->n_positions;
         t += rows) {
        const size_t slot = t % out->capacity, from = t * heads->head_dim;
        rows = smaller(smaller(most, heads->n_positions - t), out->capacity - slot);

        const tq_batch batch = cache_batch(out, rows, heads->n_positions);
        const tq_status status =
            tq_encode(&out->codec, &batch, heads->data + from, n_values - from, out->centre,
                      out->codes + slot * code_bytes, out->n_codes - slot * code_bytes,
                      out->norms + slot * norms, out->n_norms - slot * norms);
        if (status != TQ_OK) return status;
        cli_progress_add(rows);
    }
    out->n_positions = smaller(heads->n_positions, out->capacity);
    out->ring_start = heads->n_positions > out->capacity ? heads->n_positions % out->capacity : 0;
    return TQ_OK;
}

/* Decodes up to `most` positions from p on (oldest: 0), as far as they lie in a row; *rows: how many. */
static tq_status decode_piece(const tq_encoded *encoded, size_t p, size_t most, tq_domain domain,
                              float *dst, size_t dst_rows, size_t n_dst, size_t *rows) {
    const size_t slots = encoded->n_kv_heads * encoded->capacity;
    const size_t code_bytes = encoded->n_codes / slots, norms = encoded->n_norms / slots;
    const size_t to_end = encoded->capacity - encoded->ring_start;
    const size_t slot = p < to_end ? encoded->ring_start + p : p - to_end;

    *rows = smaller(smaller(most, encoded->n_positions - p), encoded->capacity - slot);
    const tq_batch batch = cache_batch(encoded, *rows, dst_rows);
    return tq_decode(&encoded->codec, &batch, domain, encoded->codes + slot * code_bytes,
                     encoded->n_codes - slot * code_bytes, encoded->norms + slot * norms,
                     encoded->n_norms - slot * norms, encoded->centre, dst, n_dst);
}

tq_status cli_decode_all(const tq_encoded *encoded, tq_domain domain, float *dst) {
    if (encoded->n_kv_heads == 0 || encoded->n_positions == 0) return TQ_OK;
    const size_t head_dim = encoded->codec.head_dim;
    const size_t n_values = encoded->n_kv_heads * encoded->n_positions * head_dim;
    const size_t most = piece_rows(encoded->n_kv_heads, head_dim);
    size_t rows;

    for (size_t p = 0; p < encoded->n_positions; p += rows) {
        const tq_status status = decode_piece(encoded, p, most, domain, dst + p * head_dim,
                                              encoded->n_positions, n_values - p * head_dim, &rows);
        if (status != TQ_OK) return status;
        cli_progress_add(rows);
    }
    return TQ_OK;
}

tq_status cli_measure(const tq_encoded *encoded, const cli_heads *original, measure_distance *distance) {
    const size_t first = original->n_positions - encoded->n_positions;
    const size_t most = smaller(piece_rows(original->n_heads, original->head_dim), encoded->n_positions);
    float *piece = cli_new_floats(original->n_heads, most, original->head_dim);
    tq_status status = piece ? TQ_OK : TQ_E_NO_MEMORY;
    size_t rows;

    for (size_t p = 0; status == TQ_OK && p < encoded->n_positions; p += rows) {
        status = decode_piece(encoded, p, most, TQ_ORIGINAL, piece, most,
                              original->n_heads * most * original->head_dim, &rows);
        for (size_t g = 0; status == TQ_OK && g < original->n_heads; g++) {
            const float *there =
                original->data + (g * original->n_positions + first + p) * original->head_dim;
            measure_distance_add(distance, there, piece + g * most * original->head_dim, rows,
                                 original->head_dim);
        }
        cli_progress_add(rows);
    }
    free(piece);
    return status;
}

void cli_mean_centre(const cli_heads *heads, size_t first, float *centre) {
    const size_t n = heads->n_positions - first;
    for (size_t g = 0; g < heads->n_heads; g++) {
        for (size_t d = 0; d < heads->head_dim; d++) {
            const float *column = heads->data + (g * heads->n_positions + first) * heads->head_dim + d;
            double sum = 0.0;
            for (size_t t = 0; t < n; t++)
                sum += (double)column[t * heads->head_dim];
            centre[g * heads->head_dim + d] = (float)(sum / (double)n);
        }
    }
}

size_t cli_encoded_bytes(const tq_encoded *encoded) {
    const size_t centre = encoded->centre ? encoded->n_kv_heads * encoded->codec.head_dim : 0;
    return encoded->n_codes + (encoded->n_norms + centre) * sizeof(float);
}

double cli_bits_per_value(const tq_encoded *encoded) {
    const double values =
        (double)encoded->n_kv_heads * (double)encoded->n_positions * (double)encoded->codec.head_dim;
    return values > 0.0 ? 8.0 * (double)cli_encoded_bytes(encoded) / values : HUGE_VAL;
}
