/* SPDX-License-Identifier: MIT
 * Which rows a device's benchmark has, run one by one and printed. */
#include "bench/device.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/message.h"
#include "base/progress.h"
#include "base/report.h"
#include "tqkv/version.h"

/* More float32 values of keys than that are a mistake; a codec's row has 2^26 unless it is told. */
static const size_t most_values = (size_t)1 << (sizeof(size_t) > 4 ? 33 : 26);

static const struct {
    uint32_t heads, kv_heads, dim;
} shapes[] = {{16, 8, 256}, {16, 2, 512}, {32, 8, 128}};
static const size_t lengths[] = {4096, 32768};
static const char *const ways[] = {"default", "tq4", "tq8/tq4", "tq8"};
static const char *const codecs[] = {"tq4", "tq6", "tq8"};
static const uint32_t dims[] = {128, 256};
enum {
    USUAL_KV_HEADS = 8,
    USUAL_VALUES = 1 << 26,
    N_SHAPES = 3,
    N_LENGTHS = 2,
    N_WAYS = 4,
    N_CODECS = 3,
    N_DIMS = 2,
    MOST_CASES = N_SHAPES * N_LENGTHS * N_WAYS + 2 * N_CODECS * N_DIMS
};

static int take_name(const cli_device_filter *f, bool attend, const char *usual, cli_way *way) {
    char name[CLI_KV_NAME_SIZE];
    if (!f->k) return cli_take_way(usual, way);
    const tq_format v = attend && f->v ? *f->v : *f->k;
    snprintf(name, sizeof name, "%s/%s", tq_format_name(*f->k), tq_format_name(v));
    return cli_take_way(v == *f->k ? tq_format_name(v) : name, way);
}

static int check_case(const cli_device_case *c) {
    const tq_cache_layer *layer = &c->way.config.layer;
    const tq_codec *const sides[] = {&layer->k, &layer->v};
    if (c->heads % c->kv_heads != 0)
        return cli_misuse("--heads: %u is no multiple of %u, the number of KV heads", c->heads,
                          c->kv_heads);
    if (c->queries > c->positions)
        return cli_misuse("--queries: %zu are more than the %zu positions they stand at", c->queries,
                          c->positions);
    if (c->positions > most_values / c->kv_heads / c->dim)
        return cli_misuse("--positions: %zu of %u heads are more than %zu values", c->positions,
                          c->kv_heads, most_values);
    for (size_t i = 0; i < 2; i++) {
        tq_codec codec = *sides[i];
        codec.head_dim = c->dim;
        if (tq_row_size(&codec, NULL, NULL) != TQ_OK)
            return cli_misuse("--dim: %s", tq_last_error()->message);
    }
    return CLI_DONE;
}

static int list_codec(const cli_device_filter *f, cli_bench_op op, cli_device_case *cases, size_t *n) {
    for (size_t i = 0; i < (f->k ? 1 : N_CODECS); i++)
        for (size_t d = 0; d < (f->dim ? 1 : N_DIMS); d++) {
            cli_device_case *c = &cases[(*n)++];
            *c = (cli_device_case){.op = op,
                                   .kv_heads = f->kv_heads ? (uint32_t)f->kv_heads : USUAL_KV_HEADS,
                                   .dim = f->dim ? (uint32_t)f->dim : dims[d],
                                   .queries = 1,
                                   .domain = f->domain};
            c->heads = c->kv_heads;
            c->positions = f->positions ? f->positions : USUAL_VALUES / c->kv_heads / c->dim;
            TRY(take_name(f, false, codecs[i], &c->way));
            TRY(check_case(c));
        }
    return CLI_DONE;
}

/* What is given of a shape is taken into the first one of the list. */
static int list_attend(const cli_device_filter *f, cli_device_case *cases, size_t *n) {
    const bool given = f->heads || f->kv_heads || f->dim;
    for (size_t s = 0; s < (given ? 1 : N_SHAPES); s++)
        for (size_t t = 0; t < (f->positions ? 1 : N_LENGTHS); t++)
            for (size_t w = 0; w < (f->k ? 1 : N_WAYS); w++) {
                cli_device_case *c = &cases[(*n)++];
                *c = (cli_device_case){.op = CLI_BENCH_ATTEND,
                                       .heads = f->heads ? (uint32_t)f->heads : shapes[s].heads,
                                       .kv_heads =
                                           f->kv_heads ? (uint32_t)f->kv_heads : shapes[s].kv_heads,
                                       .dim = f->dim ? (uint32_t)f->dim : shapes[s].dim,
                                       .positions = f->positions ? f->positions : lengths[t],
                                       .queries = f->queries ? f->queries : 1,
                                       .exact = f->exact};
                TRY(take_name(f, true, ways[w], &c->way));
                TRY(check_case(c));
            }
    return CLI_DONE;
}

static int list(const cli_device_filter *f, cli_device_case *cases, size_t *n) {
    *n = 0;
    if (!f->op || *f->op == CLI_BENCH_ENCODE) TRY(list_codec(f, CLI_BENCH_ENCODE, cases, n));
    if (!f->op || *f->op == CLI_BENCH_DECODE) TRY(list_codec(f, CLI_BENCH_DECODE, cases, n));
    return !f->op || *f->op == CLI_BENCH_ATTEND ? list_attend(f, cases, n) : CLI_DONE;
}

static const cli_column columns[] = {
    {"op", "op", NULL},           {"name", "format", NULL},
    {NULL, "heads", NULL},        {"heads", NULL, "%zu"},
    {"kv_heads", NULL, "%zu"},    {"dim", "D", "%zu"},
    {"positions", "T", "%zu"},    {"queries", NULL, "%zu"},
    {"domain", NULL, NULL},       {"accuracy", NULL, NULL},
    {"us", "us", "%.4g"},         {"bytes", NULL, "%zu"},
    {"gb_per_s", "GB/s", "%.4g"}, {"copy_gb_per_s", "copy", "%.4g"},
    {"share", "share", "%.3f"},   {"spread", "spread", "%.3f"},
    {"f16_bytes", NULL, "%zu"},   {"over_f16", "f16", "%.3f"},
    {"error", NULL, "%g"},        {"samples", NULL, "%zu"},
    {"launches", NULL, "%zu"},    {"sets", NULL, "%zu"},
    {"device", NULL, NULL},       {"version", NULL, NULL},
};

static void add_row(const cli_device_filter *f, cli_grid *grid, const cli_device_case *c,
                    const cli_device_result *r) {
    const cli_device_timing *t = &r->timing;
    const bool attend = c->op == CLI_BENCH_ATTEND;
    char heads[32], device[320];
    cli_device_text(f->device, device, sizeof device);
    snprintf(heads, sizeof heads, "%u/%u", c->heads, c->kv_heads);
    const cli_cell cells[] = {
        {.text = cli_bench_op_names[c->op]},
        {.text = c->way.name},
        {.text = heads},
        {.number = c->heads},
        {.number = c->kv_heads},
        {.number = c->dim},
        {.number = (double)c->positions},
        {.number = (double)c->queries},
        {.text = c->op != CLI_BENCH_DECODE ? NULL
                 : c->domain == TQ_ROTATED ? "rotated"
                                           : "original"},
        {.text = attend ? cli_accuracy_name(c->exact) : NULL},
        {.number = 1e6 * t->seconds},
        {.number = r->bytes},
        {.number = 1e-9 * r->bytes / t->seconds},
        {.number = 1e-9 * t->bytes_per_s},
        {.number = r->bytes / t->seconds / t->bytes_per_s},
        {.number = t->spread},
        {.number = attend ? r->f16_bytes : (double)NAN},
        {.number = attend ? r->f16_bytes / t->seconds / t->bytes_per_s : (double)NAN},
        {.number = attend ? r->error : (double)NAN},
        {.number = (double)t->samples},
        {.number = (double)t->launches},
        {.number = (double)t->sets},
        {.text = device},
        {.text = tq_version()}};
    cli_grid_row(grid, cells);
}

static int run_all(const cli_device_filter *f, const cli_device_case *cases, size_t n, cli_grid *grid) {
    int rc = CLI_DONE;
    cli_progress_begin("measuring", n);
    for (size_t i = 0; rc == CLI_DONE && i < n; i++) {
        cli_device_result result = {.timing.samples = f->samples ? f->samples : CLI_DEVICE_SAMPLES};
        rc = cases[i].op == CLI_BENCH_ATTEND ? cli_device_attend_run(f->device, &cases[i], &result)
                                             : cli_device_codec_run(f->device, &cases[i], &result);
        if (rc == CLI_DONE) add_row(f, grid, &cases[i], &result);
        if (rc == CLI_DONE && f->as_json) rc = cli_grid_print_lines(grid);
        cli_progress_add(1);
    }
    cli_progress_end();
    return rc;
}

int cli_bench_device(const cli_device_filter *f) {
    static cli_device_case cases[MOST_CASES];
    char device[320];
    size_t n;
    cli_grid grid;
    TRY(list(f, cases, &n));
    cli_grid_begin(&grid, CLI_COLUMNS(columns));
    const int rc = run_all(f, cases, n, &grid);
    if (rc != CLI_DONE || f->as_json) {
        cli_grid_drop(&grid);
        return rc;
    }
    cli_device_text(f->device, device, sizeof device);
    cli_print_line("# tqkv %s on %s", tq_version(), device);
    printf("# attention is %s; share: of what a copy within its memory reads and stores\n",
           cli_accuracy_name(f->exact));
    TRY(cli_grid_print(&grid));
    return cli_flush_output();
}
