/* SPDX-License-Identifier: MIT
 * Which rows a benchmark has. */
#include "bench/bench.h"

static const tq_format codec_formats[] = {TQ_TQ2, TQ_TQ3, TQ_TQ4,    TQ_TQ5,
                                          TQ_TQ6, TQ_TQ8, TQ_TQ4_V1, TQ_TQ8_V1};
/* The formats of a version share the rotation. */
static const tq_format rotate_formats[] = {TQ_TQ4, TQ_TQ4_V1};
static const tq_format requantize_formats[] = {TQ_TQ4, TQ_TQ8, TQ_TQ8_V1};
static const uint32_t codec_dims[] = {64, 128, 256, 512};
/* Takes values one by one: D only tells how many are called a row. */
static const uint32_t requantize_dims[] = {256};
static const measure_set sets[] = {MEASURE_SET_L2, MEASURE_SET_RAM};

typedef struct choices {
    const tq_format *formats;
    const uint32_t *dims;
    const measure_set *sets;
    size_t n_formats, n_dims, n_sets;
} choices;

#define LIST(name, list) .name = (list), .n_##name = sizeof(list) / sizeof(list)[0]

static choices choices_of(cli_bench_op op, const cli_bench_filter *filter) {
    choices c = {LIST(formats, codec_formats), LIST(dims, codec_dims), LIST(sets, sets)};
    if (op == CLI_BENCH_ROTATE)
        c = (choices){LIST(formats, rotate_formats), LIST(dims, codec_dims), LIST(sets, sets)};
    else if (op == CLI_BENCH_REQUANTIZE)
        c = (choices){LIST(formats, requantize_formats), LIST(dims, requantize_dims), LIST(sets, sets)};
    if (filter->format) {
        c.formats = filter->format;
        c.n_formats = 1;
    }
    if (filter->dim) {
        c.dims = &filter->dim;
        c.n_dims = 1;
    }
    if (filter->set) {
        c.sets = filter->set;
        c.n_sets = 1;
    }
    return c;
}

static size_t list_format(const cli_bench_filter *filter, cli_bench_op op, tq_format format,
                          const choices *choose, cli_bench_case *cases) {
    size_t n = 0;
    for (size_t d = 0; d < choose->n_dims; d++) {
        const tq_codec codec = {.format = format, .head_dim = choose->dims[d], .scale_factor_d512 = 1.0f};
        const size_t n_sets = tq_row_size(&codec, NULL, NULL) == TQ_OK ? choose->n_sets : 0;
        for (size_t s = 0; s < n_sets; s++, n++) {
            if (cases) {
                cases[n] = (cli_bench_case){
                    op, codec, choose->sets[s], filter->domain, filter->parallel, filter->threads};
            }
        }
    }
    return n;
}

size_t cli_bench_list(const cli_bench_filter *filter, cli_bench_case *cases) {
    const cli_bench_op last = filter->parallel ? CLI_BENCH_DECODE : CLI_BENCH_REQUANTIZE;
    size_t n = 0;
    for (cli_bench_op op = CLI_BENCH_ENCODE; op <= last; op++) {
        if (filter->op && *filter->op != op) continue;
        const choices choose = choices_of(op, filter);
        for (size_t f = 0; f < choose.n_formats; f++)
            n += list_format(filter, op, choose.formats[f], &choose, cases ? cases + n : NULL);
    }
    return n;
}
