/* SPDX-License-Identifier: MIT
 * Whole tensors through the codec, piece by piece: sizes, centres, progress. */
#include "base/encoding.h"

#include <math.h>
#include <stdlib.h>

#include "base/message.h"
#include "base/progress.h"

/* Values of one call to the codec: a few milliseconds of work, and a buffer that stays in cache. */
enum { PIECE_VALUES = 1 << 18 };

/* The positions of the piece that begins `left` before the end. */
static size_t piece(size_t n_heads, size_t head_dim, size_t left) {
    const size_t most = PIECE_VALUES / head_dim / n_heads;
    return most == 0 ? 1 : most < left ? most : left;
}

size_t cli_first_kept(size_t n_positions, size_t capacity) {
    return n_positions > capacity ? n_positions - capacity : 0;
}

tq_status cli_encode_heads(const cli_heads *heads, tq_encoded *out) {
    const size_t dim = heads->head_dim, all = heads->n_positions;
    const size_t n_values = heads->n_heads * all * dim;
    size_t t = cli_first_kept(all, out->capacity);
    out->ring_start = t % out->capacity;
    for (size_t rows; t < all; t += rows) {
        rows = piece(heads->n_heads, dim, all - t);
        TRY_STATUS(tq_encoded_put(out, rows, heads->data + t * dim, n_values - t * dim, all * dim));
        cli_progress_add(rows);
    }
    return TQ_OK;
}

tq_status cli_decode_all(const tq_encoded *encoded, tq_domain domain, float *dst) {
    const size_t dim = encoded->codec.head_dim, all = encoded->n_positions;
    const size_t n_values = encoded->n_kv_heads * all * dim;
    for (size_t p = 0, rows; encoded->n_kv_heads > 0 && p < all; p += rows) {
        rows = piece(encoded->n_kv_heads, dim, all - p);
        TRY_STATUS(
            tq_encoded_get(encoded, p, rows, domain, dst + p * dim, n_values - p * dim, all * dim));
        cli_progress_add(rows);
    }
    return TQ_OK;
}

tq_status cli_measure(const tq_encoded *encoded, const cli_heads *original, measure_distance *distance) {
    const size_t dim = original->head_dim, heads = original->n_heads, all = encoded->n_positions;
    const size_t first = original->n_positions - all, most = piece(heads, dim, all);
    float *decoded = cli_new_floats(heads, most, dim);
    tq_status status = decoded ? TQ_OK : TQ_E_NO_MEMORY;
    for (size_t p = 0, rows; status == TQ_OK && p < all; p += rows) {
        rows = piece(heads, dim, all - p);
        status = tq_encoded_get(encoded, p, rows, TQ_ORIGINAL, decoded, heads * most * dim, most * dim);
        for (size_t g = 0; status == TQ_OK && g < heads; g++) {
            const float *there = original->data + (g * original->n_positions + first + p) * dim;
            measure_distance_add(distance, there, decoded + g * most * dim, rows, dim);
        }
        cli_progress_add(rows);
    }
    free(decoded);
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
