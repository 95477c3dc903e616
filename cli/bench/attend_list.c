/* SPDX-License-Identifier: MIT
 * All rows of a benchmark of attention, run one by one and printed. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/attention.h"
#include "base/message.h"
#include "base/progress.h"
#include "base/report.h"
#include "bench/attend.h"
#include "tqkv/version.h"

/* A cache of more float16 bytes than that is a mistake. */
static const uint64_t most_f16_bytes = UINT64_C(1) << (sizeof(size_t) > 4 ? 35 : 29);

typedef struct shape {
    size_t heads, kv_heads, dim;
} shape;

static const shape shapes[] = {{16, 8, 256}, {16, 2, 512}, {32, 8, 128}};
static const size_t lengths[] = {4096, 32768};
static const tq_format pairs[][2] = {
    {TQ_TQ4, TQ_TQ4}, {TQ_TQ6, TQ_TQ4}, {TQ_TQ8, TQ_TQ4}, {TQ_TQ8, TQ_TQ8}};
enum {
    N_SHAPES = sizeof shapes / sizeof shapes[0],
    N_LENGTHS = sizeof lengths / sizeof lengths[0],
    N_PAIRS = sizeof pairs / sizeof pairs[0],
    N_ARITHMETICS = 2,
    MOST_CASES = N_SHAPES * N_LENGTHS * N_PAIRS * N_ARITHMETICS
};

/* What is given of a shape is taken into the first one of the list. */
static size_t choose_shapes(const cli_attend_filter *f, shape *chosen) {
    if (f->heads == 0 && f->kv_heads == 0 && f->dim == 0) {
        for (size_t i = 0; i < N_SHAPES; i++)
            chosen[i] = shapes[i];
        return N_SHAPES;
    }
    chosen[0] = shapes[0];
    chosen[0].heads = f->heads ? f->heads : chosen[0].heads;
    chosen[0].kv_heads = f->kv_heads ? f->kv_heads : chosen[0].kv_heads;
    chosen[0].dim = f->dim ? f->dim : chosen[0].dim;
    return 1;
}

static size_t add_arithmetics(const cli_attend_filter *f, cli_attend_case c, cli_attend_case *cases) {
    const bool floats = TQ_IS_V1(c.k) && TQ_IS_V1(c.v); /* for which alone v1 is */
    if (f->arithmetic != TQ_ARITHMETIC_DEFAULT || floats) {
        c.arithmetic = f->arithmetic == TQ_ARITHMETIC_DEFAULT ? TQ_ARITHMETIC_FLOAT : f->arithmetic;
        cases[0] = c;
        return 1;
    }
    cases[0] = cases[1] = c;
    cases[0].arithmetic = TQ_ARITHMETIC_FLOAT;
    cases[1].arithmetic = TQ_ARITHMETIC_INTEGER;
    return N_ARITHMETICS;
}

static size_t add_formats(const cli_attend_filter *f, cli_attend_case c, cli_attend_case *cases) {
    const size_t n_pairs = f->k ? 1 : N_PAIRS;
    size_t n = 0;
    for (size_t i = 0; i < n_pairs; i++) {
        c.k = f->k ? *f->k : pairs[i][0];
        c.v = f->v ? *f->v : f->k ? *f->k : pairs[i][1];
        n += add_arithmetics(f, c, cases + n);
    }
    return n;
}

static size_t list(const cli_attend_filter *f, cli_attend_case *cases) {
    shape chosen[N_SHAPES];
    const size_t n_shapes = choose_shapes(f, chosen), n_lengths = f->positions ? 1 : N_LENGTHS;
    size_t n = 0;
    for (size_t s = 0; s < n_shapes; s++) {
        for (size_t t = 0; t < n_lengths; t++) {
            const cli_attend_case c = {.heads = (uint32_t)chosen[s].heads,
                                       .kv_heads = (uint32_t)chosen[s].kv_heads,
                                       .dim = (uint32_t)chosen[s].dim,
                                       .positions = f->positions ? f->positions : lengths[t],
                                       .queries = f->queries ? f->queries : 1,
                                       .page_rows = f->page_rows,
                                       .threads = f->threads,
                                       .parallel = f->parallel};
            n += add_formats(f, c, cases + n);
        }
    }
    return n;
}

static int check_case(const cli_attend_case *c) {
    const tq_format formats[] = {c->k, c->v};
    if (c->heads % c->kv_heads != 0) {
        return cli_misuse("--heads: %u is no multiple of %u, the number of KV heads", c->heads,
                          c->kv_heads);
    }
    if (c->arithmetic == TQ_ARITHMETIC_INTEGER && TQ_IS_V1(c->k) && TQ_IS_V1(c->v))
        return cli_misuse("--arithmetic: v1 formats are attended to in float alone");
    if (c->queries > c->positions) {
        return cli_misuse("--queries: %zu are more than the %zu positions they stand at", c->queries,
                          c->positions);
    }
    if (cli_attend_f16_bytes(c) > most_f16_bytes) {
        return cli_misuse("--positions: float16 keys and values would take %" PRIu64 " bytes, %" PRIu64
                          " is the most",
                          cli_attend_f16_bytes(c), most_f16_bytes);
    }
    for (size_t i = 0; i < 2; i++) {
        const tq_codec codec = {.format = formats[i], .head_dim = c->dim, .scale_factor_d512 = 1.0f};
        if (tq_row_size(&codec, NULL, NULL) != TQ_OK)
            return cli_misuse("--dim: %s", tq_last_error()->message);
    }
    return CLI_DONE;
}

static const cli_column columns[] = {
    {"op", NULL, NULL},
    {"format", "K", NULL},
    {"v_format", "V", NULL},
    {NULL, "heads", NULL},
    {"heads", NULL, "%zu"},
    {"kv_heads", NULL, "%zu"},
    {"dim", "D", "%zu"},
    {"positions", "T", "%zu"},
    {"queries", "n", "%zu"},
    {"page_rows", NULL, "%zu"},
    {"arithmetic", "in", NULL},
    {"isa", NULL, NULL},
    {"threads", NULL, "%zu"},
    {"us", "us", "%.4g"},
    {"kv_bytes", NULL, "%zu"},
    {"f16_bytes", NULL, "%zu"},
    {"read_gb_per_s", "read GB/s", "%.3g"},
    {"f16_floor_us", "f16 floor us", "%.4g"},
    {"share_f16_floor", "share", "%.3f"},
    {"spread", "spread", "%.3f"},
    {"flops", NULL, "%zu"},
    {"fma_peak_gflops", NULL, "%g"},
    {"share_fma", "of FMA", "%.3f"},
    {"error", NULL, "%g"},
    {"samples", NULL, "%zu"},
    {"version", NULL, NULL},
};

static void add_row(cli_grid *grid, const cli_attend_case *c, const cli_attend_result *r, tq_isa isa) {
    char heads[32];
    snprintf(heads, sizeof heads, "%u/%u", c->heads, c->kv_heads);
    const cli_cell cells[] = {{.text = "attend"},
                              {.text = tq_format_name(c->k)},
                              {.text = tq_format_name(c->v)},
                              {.text = heads},
                              {.number = c->heads},
                              {.number = c->kv_heads},
                              {.number = c->dim},
                              {.number = (double)c->positions},
                              {.number = (double)c->queries},
                              {.number = (double)c->page_rows},
                              {.text = cli_arithmetic_name(c->arithmetic)},
                              {.text = tq_isa_name(isa)},
                              {.number = (double)c->threads},
                              {.number = 1e6 * r->seconds},
                              {.number = (double)r->kv_bytes},
                              {.number = (double)r->f16_bytes},
                              {.number = 1e-9 * (double)r->f16_bytes / r->read_s},
                              {.number = 1e6 * r->read_s},
                              {.number = r->share},
                              {.number = r->spread},
                              {.number = r->flops},
                              {.number = 1e-9 * r->fma_rate},
                              {.number = r->flops / r->seconds / r->fma_rate},
                              {.number = r->error},
                              {.number = (double)r->samples},
                              {.text = tq_version()}};
    cli_grid_row(grid, cells);
}

static int run_all(const cli_attend_filter *f, const cli_attend_case *cases, size_t n, bool as_json,
                   cli_grid *grid) {
    int rc = CLI_DONE;
    cli_progress_begin("measuring", n);
    for (size_t i = 0; rc == CLI_DONE && i < n; i++) {
        cli_attend_result result;
        rc = cli_attend_run(&cases[i], f->samples, &result);
        if (rc == CLI_DONE) add_row(grid, &cases[i], &result, f->isa);
        if (rc == CLI_DONE && as_json) rc = cli_grid_print_lines(grid);
        cli_progress_add(1);
    }
    cli_progress_end();
    return rc;
}

int cli_bench_attend(const cli_attend_filter *f, bool as_json) {
    cli_attend_case cases[MOST_CASES];
    const size_t n = list(f, cases);
    cli_grid grid;
    for (size_t i = 0; i < n; i++)
        TRY(check_case(&cases[i]));
    cli_grid_begin(&grid, CLI_COLUMNS(columns));
    const int rc = run_all(f, cases, n, as_json, &grid);
    if (rc != CLI_DONE || as_json) {
        cli_grid_drop(&grid);
        return rc;
    }
    printf("# tqkv %s, %s, %zu thread%s; f16 floor: reading float16 keys and values once; share: that "
           "over us\n",
           tq_version(), tq_isa_name(f->isa), f->threads, f->threads == 1 ? "" : "s");
    if (f->page_rows > 0)
        printf("# in pages of %zu position%s, which lie in random order\n", f->page_rows,
               f->page_rows == 1 ? "" : "s");
    return cli_grid_print(&grid);
}
