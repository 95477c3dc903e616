/* SPDX-License-Identifier: MIT
 * What a benchmark works on: arrays of a stated size, filled, and walked through in slices. */
#include "bench_data.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "message.h"

static const size_t l2_bytes = (size_t)512 << 10;
static const size_t ram_bytes = (size_t)512 << 20; /* two such arrays are more than any cache at hand */
static const size_t slice_bytes = (size_t)32 << 20;
static const size_t pattern_bytes = (size_t)1 << 20; /* what repeats in the data */
static const size_t page_bytes = 4096;

const char *cli_set_name(cli_set set) {
    return set == CLI_SET_RAM ? "ram" : "l2";
}

size_t cli_set_bytes(cli_set set, size_t threads) {
    return set == CLI_SET_RAM ? ram_bytes : l2_bytes * threads;
}

/* Arrays begin at different places within a page: processors take a load from the address of a store
 * plus a multiple of 4096 for one of the stored data, and wait. */
static void *new_array(cli_bench_data *data, size_t index, size_t bytes) {
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
    for (size_t at = period; at < bytes; at += period) {
        memcpy((char *)array + at, array, bytes - at < period ? bytes - at : period);
    }
}

/* xorshift64*; uniform in (0, 1). */
static double uniform(uint64_t *state) {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return ((double)((*state * 2685821657736338717u) >> 11) + 0.5) * 0x1p-53;
}

/* Box and Muller's transform. */
void cli_fill_gaussian(float *x, size_t n) {
    static const double two_pi = 6.283185307179586;
    uint64_t state = 20250428; /* any but 0 */
    for (size_t i = 0; i + 1 < n; i += 2) {
        const double radius = sqrt(-2.0 * log(uniform(&state)));
        const double angle = two_pi * uniform(&state);
        x[i] = (float)(radius * cos(angle));
        x[i + 1] = (float)(radius * sin(angle));
    }
}

int cli_bench_data_begin(cli_bench_data *data, cli_set set, size_t threads) {
    const size_t l2 = cli_set_bytes(CLI_SET_L2, threads), whole = cli_set_bytes(set, threads);
    const size_t bytes = whole > l2 ? whole : l2;
    const size_t pattern = bytes < pattern_bytes ? bytes : pattern_bytes;

    *data = (cli_bench_data){0};
    data->dense = new_array(data, 0, bytes);
    data->other = new_array(data, 1, bytes);
    data->codes = new_array(data, 2, bytes / sizeof(float)); /* a byte a value at most */
    data->norms = new_array(data, 3, bytes / 32);            /* D is 32 at least, or 256 with two norms */
    if (!data->dense || !data->other || !data->codes || !data->norms) {
        cli_bench_data_free(data);
        return cli_out_of_memory();
    }
    cli_fill_gaussian(data->dense, pattern / sizeof(float));
    repeat(data->dense, pattern, bytes);
    return CLI_DONE;
}

void cli_bench_data_free(cli_bench_data *data) {
    for (size_t i = 0; i < sizeof data->owned / sizeof data->owned[0]; i++) {
        free(data->owned[i]);
        data->owned[i] = NULL;
    }
}

tq_status cli_slice(const tq_codec *codec, cli_set set, size_t threads, cli_slices *slices) {
    const size_t whole = cli_set_bytes(set, threads);
    const size_t part = set == CLI_SET_RAM ? slice_bytes : whole;
    slices->dim = codec->head_dim;
    slices->rows = part / (codec->head_dim * sizeof(float));
    slices->count = whole / part;
    return tq_row_size(codec, &slices->code_bytes, &slices->norms);
}

tq_status cli_fill_codes(cli_bench_data *data, const tq_codec *codec, const cli_slices *slices) {
    const size_t whole = slices->rows * slices->count, dim = slices->dim;
    const size_t limit = pattern_bytes / (dim * sizeof(float));
    const size_t rows = whole < limit ? whole : limit;
    const tq_batch batch = {.heads = 1, .rows = rows};
    const tq_status status = tq_encode(codec, &batch, data->dense, rows * dim, NULL, data->codes,
                                       rows * slices->code_bytes, data->norms, rows * slices->norms);
    if (status == TQ_OK) {
        repeat(data->codes, rows * slices->code_bytes, whole * slices->code_bytes);
        repeat(data->norms, rows * slices->norms * sizeof(float), whole * slices->norms * sizeof(float));
    }
    return status;
}
