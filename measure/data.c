/* SPDX-License-Identifier: MIT
 * What a benchmark works on: arrays of a stated size, filled, and walked through in slices. */
#include "data.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const size_t l2_bytes = (size_t)512 << 10;
static const size_t ram_bytes = (size_t)512 << 20; /* two such arrays are more than any cache at hand */
static const size_t slice_bytes = (size_t)32 << 20;
static const size_t pattern_bytes = (size_t)1 << 20; /* what repeats in the data */
static const size_t page_bytes = 4096;

const char *measure_set_name(measure_set set) {
    return set == MEASURE_SET_RAM ? "ram" : "l2";
}

size_t measure_set_bytes(measure_set set, size_t threads) {
    return set == MEASURE_SET_RAM ? ram_bytes : l2_bytes * threads;
}

/* Arrays begin at different places within a page: processors take a load from the address of a store
 * plus a multiple of 4096 for one of the stored data, and wait. */
static void *new_array(measure_data *data, size_t index, size_t bytes) {
    const size_t gap = index * (page_bytes / 4);
    if (posix_memalign(&data->owned[index], page_bytes, bytes + gap) != 0) {
        data->owned[index] = NULL;
        return NULL;
    }
    memset(data->owned[index], 0,
           bytes + gap); /* the system gives pages on first use: not while timing */
    return (char *)data->owned[index] + gap;
}

/* Copies the first `period` bytes over all that follow. */
static void repeat(void *array, size_t period, size_t bytes) {
    for (size_t at = period; at < bytes; at += period)
        memcpy((char *)array + at, array, bytes - at < period ? bytes - at : period);
}

/* xorshift64*; uniform in (0, 1). */
static double uniform(uint64_t *state) {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return ((double)((*state * 2685821657736338717u) >> 11) + 0.5) * 0x1p-53;
}

/* Box and Muller's transform. */
void measure_fill_gaussian(float *x, size_t n) {
    static const double two_pi = 6.283185307179586;
    uint64_t state = 20250428; /* any but 0 */
    for (size_t i = 0; i + 1 < n; i += 2) {
        const double radius = sqrt(-2.0 * log(uniform(&state)));
        const double angle = two_pi * uniform(&state);
        x[i] = (float)(radius * cos(angle));
        x[i + 1] = (float)(radius * sin(angle));
    }
}

tq_status measure_data_begin(measure_data *data, measure_set set, size_t threads) {
    const size_t l2 = measure_set_bytes(MEASURE_SET_L2, threads), whole = measure_set_bytes(set, threads);
    const size_t bytes = whole > l2 ? whole : l2;
    const size_t pattern = bytes < pattern_bytes ? bytes : pattern_bytes;

    *data = (measure_data){0};
    data->dense = new_array(data, 0, bytes);
    data->other = new_array(data, 1, bytes);
    data->codes = new_array(data, 2, bytes / sizeof(float)); /* a byte a value at most */
    data->norms = new_array(data, 3, bytes / 64); /* 2 bytes at D = 32; v1 has 4 at 256 at least */
    if (!data->dense || !data->other || !data->codes || !data->norms) {
        measure_data_free(data);
        return TQ_E_NO_MEMORY;
    }
    measure_fill_gaussian(data->dense, pattern / sizeof(float));
    repeat(data->dense, pattern, bytes);
    return TQ_OK;
}

void measure_data_free(measure_data *data) {
    for (size_t i = 0; i < sizeof data->owned / sizeof data->owned[0]; i++) {
        free(data->owned[i]);
        data->owned[i] = NULL;
    }
}

tq_status measure_slice(const tq_codec *codec, measure_set set, size_t threads, measure_slices *slices) {
    const size_t whole = measure_set_bytes(set, threads);
    const size_t part = set == MEASURE_SET_RAM ? slice_bytes : whole;
    slices->dim = codec->head_dim;
    slices->rows = part / (codec->head_dim * sizeof(float));
    slices->count = whole / part;
    return tq_row_size(codec, &slices->code_bytes, &slices->norm_bytes);
}

tq_status measure_fill_codes(measure_data *data, const tq_codec *codec, const measure_slices *slices) {
    const size_t whole = slices->rows * slices->count, dim = slices->dim;
    const size_t limit = pattern_bytes / (dim * sizeof(float));
    const size_t rows = whole < limit ? whole : limit;
    const tq_batch batch = {.heads = 1, .rows = rows};
    const tq_status status = tq_encode(codec, &batch, data->dense, rows * dim, NULL, 0, data->codes,
                                       rows * slices->code_bytes, data->norms, rows * slices->norm_bytes);
    if (status == TQ_OK) {
        repeat(data->codes, rows * slices->code_bytes, whole * slices->code_bytes);
        repeat(data->norms, rows * slices->norm_bytes, whole * slices->norm_bytes);
    }
    return status;
}
