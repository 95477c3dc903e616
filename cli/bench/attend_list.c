/* SPDX-License-Identifier: MIT
 * All rows of a benchmark of attention, run one by one and printed. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/command.h"
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
static const tq_format pairs[][2] = {{TQ_TQ4, TQ_TQ4}, {TQ_TQ8, TQ_TQ4}, {TQ_TQ8, TQ_TQ8}};
enum {
    N_SHAPES = sizeof shapes / sizeof shapes[0],
    N_LENGTHS = sizeof lengths / sizeof lengths[0],
    N_PAIRS = sizeof pairs / sizeof pairs[0],
    MOST_CASES = N_SHAPES * N_LENGTHS * N_PAIRS
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

static size_t add_formats(const cli_attend_filter *f, cli_attend_case c, cli_attend_case *cases) {
    const size_t n = f->k ? 1 : N_PAIRS;
    for (size_t i = 0; i < n; i++) {
        cases[i] = c;
        cases[i].k = f->k ? *f->k : pairs[i][0];
        cases[i].v = f->v ? *f->v : f->k ? *f->k : pairs[i][1];
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
    {"format", "K", NULL},
    {"v_format", "V", NULL},
    {"heads", "heads", NULL},
    {"dim", "D", "%.0f"},
    {"positions", "T", "%.0f"},
    {"queries", "n", "%.0f"},
    {"us", "us", "%.4g"},
    {"read_gb_per_s", "read GB/s", "%.3g"},
    {"f16_floor_us", "f16 floor us", "%.4g"},
    {"share_f16_floor", "share", "%.3f"},
    {"spread", "spread", "%.3f"},
    {"share_fma", "of FMA", "%.3f"},
};

/* The medians in the units that are shown. */
typedef struct figures {
    double us, read_gb_per_s, f16_floor_us, gflops, share_fma;
} figures;

static figures figures_of(const cli_attend_result *r) {
    return (figures){.us = 1e6 * r->seconds,
                     .read_gb_per_s = 1e-9 * (double)r->f16_bytes / r->read_s,
                     .f16_floor_us = 1e6 * r->read_s,
                     .gflops = 1e-9 * r->fma_rate,
                     .share_fma = r->flops / r->seconds / r->fma_rate};
}

static int print_json_line(const cli_attend_case *c, const cli_attend_result *r, tq_isa isa) {
    const figures f = figures_of(r);
    json_t *object = json_pack(
        "{s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:s, s:I, s:f, s:I, s:I, s:f, s:f, s:f, s:f, s:I, s:f, "
        "s:f, s:f, s:I, s:s}",
        "op", "attend", "format", tq_format_name(c->k), "v_format", tq_format_name(c->v), "heads",
        (json_int_t)c->heads, "kv_heads", (json_int_t)c->kv_heads, "dim", (json_int_t)c->dim, "positions",
        (json_int_t)c->positions, "queries", (json_int_t)c->queries, "isa", tq_isa_name(isa), "threads",
        (json_int_t)c->threads, "us", f.us, "kv_bytes", (json_int_t)r->kv_bytes, "f16_bytes",
        (json_int_t)r->f16_bytes, "read_gb_per_s", f.read_gb_per_s, "f16_floor_us", f.f16_floor_us,
        "share_f16_floor", r->share, "spread", r->spread, "flops", (json_int_t)r->flops,
        "fma_peak_gflops", f.gflops, "share_fma", f.share_fma, "error", r->error, "samples",
        (json_int_t)r->samples, "version", tq_version());
    if (!object) return cli_out_of_memory();
    (void)json_dumpf(object, stdout, JSON_COMPACT | JSON_REAL_PRECISION(6)); /* flushing tells */
    putchar('\n');
    json_decref(object);
    return cli_flush_output();
}

static void add_row(cli_grid *grid, const cli_attend_case *c, const cli_attend_result *r) {
    const figures f = figures_of(r);
    char heads[32];
    snprintf(heads, sizeof heads, "%u/%u", c->heads, c->kv_heads);
    const cli_cell cells[] = {{.text = tq_format_name(c->k)},
                              {.text = tq_format_name(c->v)},
                              {.text = heads},
                              {.number = c->dim},
                              {.number = (double)c->positions},
                              {.number = (double)c->queries},
                              {.number = f.us},
                              {.number = f.read_gb_per_s},
                              {.number = f.f16_floor_us},
                              {.number = r->share},
                              {.number = r->spread},
                              {.number = f.share_fma}};
    cli_grid_row(grid, cells);
}

static int run_all(const cli_attend_filter *f, const cli_attend_case *cases, size_t n, cli_grid *grid) {
    int rc = CLI_DONE;
    cli_progress_begin("measuring", n);
    for (size_t i = 0; rc == CLI_DONE && i < n; i++) {
        cli_attend_result result;
        rc = cli_attend_run(&cases[i], f->samples, &result);
        if (rc == CLI_DONE && grid)
            add_row(grid, &cases[i], &result);
        else if (rc == CLI_DONE)
            rc = print_json_line(&cases[i], &result, f->isa);
        cli_progress_add(1);
    }
    cli_progress_end();
    return rc;
}

static int print_table(const cli_attend_filter *f, const cli_attend_case *cases, size_t n) {
    cli_grid grid;
    cli_grid_begin(&grid, columns, sizeof columns / sizeof columns[0]);
    const int rc = run_all(f, cases, n, &grid);
    if (rc != CLI_DONE) {
        cli_grid_drop(&grid);
        return rc;
    }
    printf("# tqkv %s, %s, %zu thread%s; f16 floor: reading float16 keys and values once; share: that "
           "over us\n",
           tq_version(), tq_isa_name(f->isa), f->threads, f->threads == 1 ? "" : "s");
    return cli_grid_print(&grid);
}

int cli_bench_attend(const cli_attend_filter *filter, bool as_json) {
    cli_attend_case cases[MOST_CASES];
    const size_t n = list(filter, cases);
    for (size_t i = 0; i < n; i++) {
        const int rc = check_case(&cases[i]);
        if (rc != CLI_DONE) return rc;
    }
    return as_json ? run_all(filter, cases, n, NULL) : print_table(filter, cases, n);
}
