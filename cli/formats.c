/* SPDX-License-Identifier: MIT
 * tqkv formats: what there is to choose from, and what each costs. */
#include <math.h>

#include "base/message.h"
#include "base/report.h"
#include "measure/lloyd_max.h"
#include "tqkv/codec.h"

enum { JSON, N_OPTIONS };

/* Bits of one encoded vector over D; infinite where the format does not serve that D. */
static double bits_per_value(tq_format format, uint32_t head_dim) {
    const tq_codec codec = {.format = format, .head_dim = head_dim, .scale_factor_d512 = 1.0f};
    size_t code_bytes, norm_bytes;
    if (tq_row_size(&codec, &code_bytes, &norm_bytes) != TQ_OK) return HUGE_VAL;
    return 8.0 * (double)(code_bytes + norm_bytes) / (double)head_dim;
}

static void add_format(cli_grid *grid, tq_format format) {
    float centroids[256], boundaries[255];
    const unsigned bits = tq_format_bits(format);
    if (tq_codebook(format, centroids, boundaries) != TQ_OK) return;
    const double distortion = measure_gaussian_distortion(centroids, boundaries, (size_t)1 << bits);
    const cli_cell cells[] = {{.text = tq_format_name(format)},
                              {.number = bits_per_value(format, 64)},
                              {.number = bits_per_value(format, 128)},
                              {.number = bits_per_value(format, 256)},
                              {.number = bits_per_value(format, 512)},
                              {.number = distortion},
                              {.number = distortion / measure_optimal_distortion(bits)}};
    cli_grid_row(grid, cells);
}

static int print_formats(bool as_json) {
    static const cli_column columns[] = {
        {"format", "format", NULL},
        {"bits_per_value_d64", "bits D=64", "%.4g"},
        {"bits_per_value_d128", "D=128", "%.4g"},
        {"bits_per_value_d256", "D=256", "%.4g"},
        {"bits_per_value_d512", "D=512", "%.4g"},
        {"theory_rel_mse", "error on N(0, 1)", "%.5e"},
        {"times_optimum", "times optimum", "%.5f"},
    };
    size_t n;
    const tq_format *formats = tq_formats(&n);
    cli_grid grid;

    cli_grid_begin(&grid, columns, sizeof columns / sizeof columns[0]);
    for (size_t i = 0; i < n; i++)
        add_format(&grid, formats[i]);
    if (!as_json) return cli_grid_print(&grid);
    cli_report report;
    cli_report_begin(&report, true);
    cli_report_json(&report, "formats", cli_grid_take_json(&grid));
    return cli_report_end(&report);
}

static const cli_option_spec specs[N_OPTIONS] = {[JSON] = {"json", 0, NULL, "print one JSON object"}};

static int run(const cli_args *args) {
    return print_formats(args->options[JSON].given);
}

const cli_command cli_formats_command = {
    .name = "formats",
    .summary = "List the formats with their size and error",
    .synopsis = "[--json]",
    .examples = "  tqkv formats\n",
    .specs = specs,
    .n_specs = N_OPTIONS,
    .run = run,
};
