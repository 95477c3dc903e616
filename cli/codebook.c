/* SPDX-License-Identifier: MIT
 * tqkv codebook: centroids and boundaries of a codebook, and how close to the optimum they are. */
#include <math.h>
#include <stdio.h>

#include "base/message.h"
#include "base/report.h"
#include "measure/lloyd_max.h"
#include "tqkv/codec.h"

enum { BITS, CODEBOOK, JSON, N_OPTIONS };
enum { MAX_CENTROIDS = 256 };

static json_t *json_floats(const float *values, size_t n) {
    json_t *array = json_array();
    for (size_t i = 0; i < n; i++) {
        if (json_array_append_new(array, json_real((double)values[i])) != 0) {
            json_decref(array);
            return NULL;
        }
    }
    return array;
}

static int print_rows(const float *centroids, const float *boundaries, size_t n) {
    static const cli_column columns[] = {{"index", "index", NULL},
                                         {"centroid", "centroid", "%.9g"},
                                         {"boundary", "upper boundary", "%.9g"}};
    cli_grid grid;
    char index[24];

    cli_grid_begin(&grid, columns, sizeof columns / sizeof columns[0]);
    for (size_t i = 0; i < n; i++) {
        snprintf(index, sizeof index, "%zu", i);
        const cli_cell cells[] = {{.text = index},
                                  {.number = (double)centroids[i]},
                                  {.number = i + 1 < n ? (double)boundaries[i] : HUGE_VAL}};
        cli_grid_row(&grid, cells);
    }
    return cli_grid_print(&grid);
}

static int print_codebook(tq_format format, bool as_json) {
    float centroids[MAX_CENTROIDS], boundaries[MAX_CENTROIDS - 1];
    const unsigned bits = tq_format_bits(format);
    const size_t n = (size_t)1 << bits;
    TRY(cli_check(NULL, tq_codebook(format, centroids, boundaries)));
    const double distortion = measure_gaussian_distortion(centroids, boundaries, n);
    const double optimum = measure_optimal_distortion(bits);

    cli_report report;
    cli_report_begin(&report, as_json);
    cli_report_text(&report, "codebook", "codebook", TQ_IS_V1(format) ? "v1" : "v2");
    cli_report_count(&report, "bits", "bits", bits);
    cli_report_real(&report, "distortion", "distortion on N(0, 1)", distortion);
    cli_report_real(&report, "optimal_distortion", "Lloyd-Max optimum", optimum);
    cli_report_real(&report, "excess", "excess over the optimum", distortion / optimum - 1.0);
    if (as_json) {
        cli_report_json(&report, "centroids", json_floats(centroids, n));
        cli_report_json(&report, "boundaries", json_floats(boundaries, n - 1));
        return cli_report_end(&report);
    }
    TRY(cli_report_end(&report));
    return print_rows(centroids, boundaries, n);
}

static const cli_option_spec specs[N_OPTIONS] = {
    [BITS] = {"bits", 0, "N", "size of the codebook: v2 2 to 8, v1 4, 5, 6, 8"},
    [CODEBOOK] = {"codebook", 0, "v1|v2", "which codebooks (default v2)"},
    [JSON] = {"json", 0, NULL, "print one JSON object"},
};

static int run(const cli_args *args) {
    tq_format format = TQ_TQ4;
    TRY(cli_take_codebook(&args->options[BITS], &args->options[CODEBOOK], &format));
    return print_codebook(format, args->options[JSON].given);
}

const cli_command cli_codebook_command = {
    .name = "codebook",
    .summary = "Show a codebook and its distance from the optimum",
    .synopsis = "--bits N [--codebook v1|v2] [--json]",
    .examples = "  tqkv codebook --bits 4\n"
                "  tqkv codebook --bits 8 --codebook v1 --json\n",
    .specs = specs,
    .n_specs = N_OPTIONS,
    .needed = 1u << BITS,
    .run = run,
};
