/* SPDX-License-Identifier: MIT
 * tqkv sweep: every format side by side on given tensors. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/encoding.h"
#include "base/heads.h"
#include "base/message.h"
#include "base/progress.h"
#include "base/report.h"
#include "measure/distance.h"
#include "measure/lloyd_max.h"
#include "tqkv/codec.h"
#include "tqkv/io.h"

enum { CENTER, STRETCH, JSON, N_OPTIONS };
enum { MAX_FILES = 64 };

static const cli_column columns[] = {
    {"format", "format", NULL},
    {"bits_per_value", "bits/value", "%.4f"},
    {"rel_mse", "rel. error", "%.4e"},
    {"times_theory", "x theory", "%.4f"},
    {"cosine_mean", "cosine mean", "%.6f"},
    {"cosine_p1", "cosine p1", "%.6f"},
};

static void add_row(cli_grid *grid, const tq_encoded *encoded, measure_distance *distance) {
    const double error = measure_relative_error(distance);
    const double optimum = measure_optimal_distortion(tq_format_bits(encoded->codec.format));
    const cli_cell cells[] = {{.text = tq_format_name(encoded->codec.format)},
                              {.number = cli_bits_per_value(encoded)},
                              {.number = error},
                              {.number = error / optimum},
                              {.number = measure_mean_cosine(distance)},
                              {.number = measure_first_percentile(distance)}};
    cli_grid_row(grid, cells);
}

static int measure_heads(const char *path, const cli_heads *heads, tq_encoded *encoded, cli_grid *grid) {
    measure_distance distance;
    TRY(cli_check(path, measure_distance_begin(&distance, heads->n_heads * heads->n_positions)));
    tq_status status = cli_encode_heads(NULL, heads, encoded);
    if (status == TQ_OK) status = cli_measure(encoded, heads, &distance);
    if (status == TQ_OK) add_row(grid, encoded, &distance);
    measure_distance_free(&distance);
    return cli_check(path, status);
}

static int measure_format(const char *path, const cli_heads *heads, const cli_centre *centre,
                          const uint16_t *centres, tq_format format, cli_grid *grid) {
    const tq_codec codec = {
        .format = format, .head_dim = (uint32_t)heads->head_dim, .scale_factor_d512 = 1.0f};
    const size_t n = cli_count_centres(centre, heads, 0);
    tq_encoded encoded;
    TRY(cli_check(path, tq_encoded_alloc(&encoded, &codec, heads->n_heads, heads->n_positions, n,
                                         n == 0 ? 0 : centre->stretch)));
    if (n != 0) memcpy(encoded.centre, centres, n * heads->n_heads * heads->head_dim * sizeof *centres);
    const int rc = measure_heads(path, heads, &encoded, grid);
    tq_encoded_free(&encoded);
    return rc;
}

static bool serves(tq_format format, size_t head_dim) {
    const tq_codec codec = {.format = format, .head_dim = (uint32_t)head_dim, .scale_factor_d512 = 1.0f};
    return tq_row_size(&codec, NULL, NULL) == TQ_OK;
}

/* The formats that can encode these heads; the others are named in a note. Returns how many. */
static size_t choose_formats(const char *path, const cli_heads *heads, bool centred, tq_format *chosen) {
    size_t n_all, n = 0;
    const tq_format *all = tq_formats(&n_all);
    bool v1_by_dim = false;

    for (size_t i = 0; i < n_all; i++)
        if (!serves(all[i], heads->head_dim))
            v1_by_dim = true;
        else if (!centred || all[i] <= TQ_TQ8)
            chosen[n++] = all[i];
    if (n == 0) {
        cli_fail("%s: no format serves head dimension %zu", path, heads->head_dim);
    } else if (centred) {
        cli_note("%s: v1 formats are left out: they have no centre", path);
    } else if (v1_by_dim) {
        cli_note("%s: v1 formats are left out: they serve head dimensions 256 and 512, not %zu", path,
                 heads->head_dim);
    }
    return n;
}

static int sweep_heads(const char *path, const cli_heads *heads, const cli_centre *centre,
                       cli_grid *grid) {
    tq_format formats[16];
    const size_t n = choose_formats(path, heads, centre->kind != CLI_CENTRE_NONE, formats);
    const size_t n_centres = cli_count_centres(centre, heads, 0);
    if (n == 0) return CLI_FAILED;
    uint16_t *centres = calloc(n_centres + 1, heads->n_heads * heads->head_dim * sizeof *centres);
    if (!centres) return cli_out_of_memory();
    int rc = n_centres == 0 ? CLI_DONE : cli_check(path, cli_make_centres(centre, heads, 0, centres));
    cli_progress_begin("sweeping", 2 * n * heads->n_positions);
    for (size_t i = 0; rc == CLI_DONE && i < n; i++)
        rc = measure_format(path, heads, centre, centres, formats[i], grid);
    cli_progress_end();
    free(centres);
    return rc;
}

static int print_sweep(const char *path, const cli_heads *heads, const cli_centre *centre, cli_grid *grid,
                       json_t *list) {
    if (!list) return cli_grid_print(grid);
    cli_report report;
    cli_report_begin(&report, true);
    cli_report_text(&report, "file", NULL, path);
    cli_report_count(&report, "n_kv_heads", NULL, heads->n_heads);
    cli_report_count(&report, "n_positions", NULL, heads->n_positions);
    cli_report_count(&report, "head_dim", NULL, heads->head_dim);
    cli_report_flag(&report, "centre", NULL, centre->kind != CLI_CENTRE_NONE);
    cli_report_count(&report, "n_centres", NULL, cli_count_centres(centre, heads, 0));
    cli_report_count(&report, "centre_stretch", NULL, centre->stretch);
    cli_report_json(&report, "formats", cli_grid_take_json(grid));
    const bool failed = report.failed || json_array_append(list, report.object) != 0;
    cli_report_drop(&report);
    return failed ? cli_out_of_memory() : CLI_DONE;
}

static void tell_heads(const char *path, const cli_heads *heads, const cli_centre *centre) {
    char text[80] = "", more[96] = "";
    if (centre->kind != CLI_CENTRE_NONE) {
        cli_centre_text(centre, text, sizeof text);
        snprintf(more, sizeof more, ", without %s", text);
    }
    cli_tell_heads(path, heads, more); /* with a #, so that plotting programs skip it */
}

static int sweep_tensor(const char *path, const tq_tensor *tensor, const cli_heads *heads,
                        const cli_centre *centre, json_t *list) {
    cli_grid grid;
    if (centre->kind != CLI_CENTRE_NONE) TRY(cli_check_values(path, tensor, TQ_MAX_NORM));
    if (!list) tell_heads(path, heads, centre);
    cli_grid_begin(&grid, columns, sizeof columns / sizeof columns[0]);
    const int rc = sweep_heads(path, heads, centre, &grid);
    if (rc == CLI_DONE) return print_sweep(path, heads, centre, &grid, list);
    cli_grid_drop(&grid);
    return rc;
}

static int sweep_file(const char *path, const cli_centre *centre, json_t *list) {
    tq_tensor tensor;
    cli_heads heads;
    TRY(cli_read_heads(path, &tensor, &heads));
    const int rc = sweep_tensor(path, &tensor, &heads, centre, list);
    tq_tensor_free(&tensor);
    return rc;
}

static int sweep_files(const char *const *paths, size_t n, const cli_centre *centre, bool as_json) {
    cli_report report;
    json_t *list = as_json ? json_array() : NULL;
    int rc = as_json && !list ? cli_out_of_memory() : CLI_DONE;

    for (size_t i = 0; rc == CLI_DONE && i < n; i++) {
        if (i > 0 && !as_json) putchar('\n');
        rc = sweep_file(paths[i], centre, list);
    }
    if (rc == CLI_DONE && as_json) {
        cli_report_begin(&report, true);
        cli_report_json(&report, "tensors", json_incref(list));
        rc = cli_report_end(&report);
    }
    json_decref(list);
    return rc;
}

static const cli_option_spec specs[N_OPTIONS] = {
    [CENTER] = {"center", 0, "mean|learn", "subtract centres first, as encode does (v2 formats only)"},
    [STRETCH] = {"center-stretch", 0, "L|all", "positions that share a centre (default 256)"},
    [JSON] = {"json", 0, NULL, "print one JSON object"},
};

static int run(const cli_args *args) {
    const cli_option *options = args->options;
    cli_centre centre;
    TRY(cli_take_centre(&centre, &options[CENTER], &options[STRETCH], false));
    return sweep_files(args->operands, args->n_operands, &centre, options[JSON].given);
}

const cli_command cli_sweep_command = {
    .name = "sweep",
    .summary = "Measure every format on the same tensors",
    .synopsis = "FILE.npy... [--center mean|learn] [--json]",
    .examples = "  tqkv sweep k.npy v.npy\n"
                "  tqkv sweep k.npy --center learn\n",
    .min_operands = 1,
    .max_operands = MAX_FILES,
    .specs = specs,
    .n_specs = N_OPTIONS,
    .run = run,
};
