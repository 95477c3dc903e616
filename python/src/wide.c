/* SPDX-License-Identifier: MIT
 * Float16 and bfloat16 where the library takes float32: encoding, by tiles that are widened, exactly,
 * into memory of the stack's, and learning centres, a head at a time. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core.h"

enum { TILE_VALUES = 8192 };

typedef struct job {
    const tq_codec *codec;
    const tq_batch *batch;
    const core_array *src, *centre, *codes, *norms;
    size_t tile_rows, tiles; /* of a head */
    pthread_mutex_t mutex;
    tq_error first; /* of the failures the one with the lowest index */
} job;

static float float_of_bits(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* Subnormal numbers are whole multiples of 2^-24, NaN and infinities keep their exponent of all ones. */
static float float_of_half(uint16_t half) {
    const uint32_t sign = (uint32_t)(half & 0x8000u) << 16, rest = half & 0x7fffu;
    if (rest >= 0x7c00u) return float_of_bits(sign | 0x7f800000u | (rest & 0x3ffu) << 13);
    if (rest < 0x400u) return float_of_bits(sign | 0x3f800000u) * ((float)rest * 0x1p-24f);
    return float_of_bits(sign | ((rest << 13) + 0x38000000u));
}

void core_widen(core_kind kind, size_t n, const void *values, float *to) {
    const uint16_t *from = values;
    if (kind == CORE_F32)
        memcpy(to, values, n * sizeof *to);
    else if (kind == CORE_BF16)
        for (size_t i = 0; i < n; i++)
            to[i] = float_of_bits((uint32_t)from[i] << 16);
    else
        for (size_t i = 0; i < n; i++)
            to[i] = float_of_half(from[i]);
}

/* The last error, whose index in rows [..][D] that were widened, from `row` of a head on, becomes that in
 * x. */
static tq_error error_of(const core_array *x, size_t head, size_t row, const char *field, size_t dim) {
    tq_error e = *tq_last_error();
    const size_t at = (size_t)e.index;
    const char *rest = strchr(e.message, ']');
    if (strcmp(e.field, field) == 0 && rest != NULL) {
        char words[sizeof e.message];
        e.index = head * x->stride[0] + (row + at / dim) * x->stride[1] + at % dim;
        snprintf(words, sizeof words, "%s[%llu%s", field, (unsigned long long)e.index, rest);
        memcpy(e.message, words, sizeof words);
    }
    return e;
}

static void note_failure(job *j, size_t head, size_t row) {
    const tq_error e = error_of(j->src, head, row, "src", j->codec->head_dim);
    pthread_mutex_lock(&j->mutex);
    if (j->first.status == TQ_OK || e.index < j->first.index) j->first = e;
    pthread_mutex_unlock(&j->mutex);
}

static void encode_tile(void *work, size_t index) {
    job *j = work;
    const size_t head = index / j->tiles, row = index % j->tiles * j->tile_rows, dim = j->codec->head_dim;
    const size_t left = j->batch->rows - row, rows = left < j->tile_rows ? left : j->tile_rows;
    const size_t stretch = j->batch->centre_stretch, position = j->batch->centre_first + row;
    float wide[TILE_VALUES];
    uint16_t centre[TILE_VALUES]; /* this head's of the stretches that the tile touches */
    const uint16_t *src =
        (const uint16_t *)j->src->data + head * j->src->stride[0] + row * j->src->stride[1];
    for (size_t i = 0; i < rows; i++)
        core_widen(j->src->kind, dim, src + i * j->src->stride[1], wide + i * dim);
    const size_t s0 = stretch != 0 ? position / stretch : 0,
                 s1 = stretch != 0 ? (position + rows - 1) / stretch : 0;
    const bool centred = j->centre->data != NULL;
    for (size_t s = s0; centred && s <= s1; s++)
        memcpy(centre + (s - s0) * dim,
               (const uint16_t *)j->centre->data + (s * j->batch->heads + head) * dim,
               dim * sizeof centre[0]);
    const tq_batch b = {.heads = 1,
                        .rows = rows,
                        .code_row_stride = j->batch->code_row_stride,
                        .norm_row_stride = j->batch->norm_row_stride,
                        .centre_stretch = stretch,
                        .centre_first = stretch != 0 ? position % stretch : 0};
    const size_t code_at = head * j->batch->code_head_stride + row * b.code_row_stride,
                 norm_at = head * j->batch->norm_head_stride + row * b.norm_row_stride;
    if (tq_encode(j->codec, &b, wide, rows * dim, centred ? centre : NULL,
                  centred ? (s1 - s0 + 1) * dim : 0, (uint8_t *)j->codes->data + code_at,
                  j->codes->n - code_at, (char *)j->norms->data + norm_at,
                  j->norms->n * j->norms->item - norm_at) != TQ_OK)
        note_failure(j, head, row);
}

/* What tq_encode() would say of the whole before it reads a value. */
static tq_status check(const job *j) {
    const size_t dim = j->codec->head_dim, stretch = j->batch->centre_stretch;
    const size_t last = j->batch->centre_first + j->batch->rows - 1;
    const size_t centres = stretch != 0 ? last / stretch + 1 : 1;
    if (j->src->stride[1] < dim && j->batch->rows > 1)
        return tq_fail(TQ_E_STRIDE, j->src->stride[1], "x", "rows of x overlap");
    if (j->centre->data != NULL && (j->centre->shape[0] != centres ||
                                    j->centre->shape[1] != j->batch->heads || j->centre->shape[2] != dim))
        return tq_fail(TQ_E_SIZE, centres, "centre", "centre must be [%zu][%zu][%zu]", centres,
                       j->batch->heads, dim);
    return TQ_OK;
}

tq_status core_encode_any(const tq_codec *codec, const tq_batch *batch, const core_array *src,
                          const core_array *centre, const core_array *codes, const core_array *norms) {
    if (batch->heads == 0 || batch->rows == 0) return TQ_OK;
    job j = {.codec = codec,
             .batch = batch,
             .src = src,
             .centre = centre,
             .codes = codes,
             .norms = norms,
             .mutex = PTHREAD_MUTEX_INITIALIZER};
    tq_status status = check(&j);
    if (status != TQ_OK) return status;
    j.tile_rows = TILE_VALUES / codec->head_dim;
    j.tiles = (batch->rows - 1) / j.tile_rows + 1;
    const tq_parallel *parallel = core_parallel();
    parallel->run(parallel->context, batch->heads * j.tiles, encode_tile, &j);
    pthread_mutex_destroy(&j.mutex);
    if (j.first.status == TQ_OK) return TQ_OK;
    return tq_fail(j.first.status, j.first.index, j.first.field, "%s", j.first.message);
}

tq_status core_learn_any(const core_array *keys, const core_array *centre) {
    const size_t heads = keys->shape[0], rows = keys->shape[1], dim = keys->shape[2];
    const tq_batch all = {.heads = heads,
                          .rows = rows,
                          .dense_head_stride = keys->stride[0],
                          .dense_row_stride = keys->stride[1]};
    if (keys->kind == CORE_F32 || keys->n == 0)
        return tq_learn_centre((uint32_t)dim, &all, keys->data, keys->n, centre->data, centre->n);
    float *wide = malloc(rows * dim * sizeof *wide); /* fits: n did, at half the size */
    tq_status status =
        wide != NULL ? TQ_OK : tq_fail(TQ_E_NO_MEMORY, 0, "x", "no memory for a head's %zu keys", rows);
    for (size_t h = 0; h < heads && status == TQ_OK; h++) {
        const uint16_t *from = (const uint16_t *)keys->data + h * keys->stride[0];
        for (size_t t = 0; t < rows; t++)
            core_widen(keys->kind, dim, from + t * keys->stride[1], wide + t * dim);
        const tq_batch one = {.heads = 1, .rows = rows};
        status = tq_learn_centre((uint32_t)dim, &one, wide, rows * dim,
                                 (uint16_t *)centre->data + h * dim, dim);
        if (status == TQ_OK) continue;
        const tq_error e = error_of(keys, h, 0, "keys", dim);
        status = tq_fail(e.status, e.index, e.field, "%s", e.message);
    }
    free(wide);
    return status;
}
