/* SPDX-License-Identifier: MIT
 * Prints what ggml's cache formats and ours cost and lose, measured in one run.
 *
 * Usage: peers [--markdown] [--samples N] */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/command.h"
#include "errors.h"
#include "ggml.h"
#include "speeds.h"
#include "tqkv/cpu.h"
#include "tqkv/version.h"

enum { DEFAULT_SAMPLES = 31, MAX_SAMPLES = 100000 };

typedef struct table_style {
    const char *before, *between, *after;
} table_style;

static const table_style plain = {"", "  ", "\n"};
static const table_style markdown = {"| ", " | ", " |\n"};

static void print_heading(const table_style *style, const peer_speeds *speeds, measure_set set,
                          size_t dim) {
    const char *sep = style->between;
    printf("%sD = %zu, %s; limits: %s %.1f, %s %.1f GB/s%s\n", style == &markdown ? "**" : "", dim,
           measure_set_name(set), measure_limit_name(speeds[PEER_TO_CODES].limit),
           speeds[PEER_TO_CODES].limit_gb_per_s, measure_limit_name(speeds[PEER_FROM_CODES].limit),
           speeds[PEER_FROM_CODES].limit_gb_per_s, style == &markdown ? "**\n" : "");
    printf("%s%-6s%s%6s%s%9s%s%9s%s%8s%s%5s%s%6s%s%10s%s%5s%s%6s%s", style->before, "format", sep, "bits",
           sep, "error", sep, "outliers", sep, "to codes", sep, "share", sep, "spread", sep, "from codes",
           sep, "share", sep, "spread", style->after);
    if (style == &markdown) puts("|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|");
}

static void print_format(const table_style *style, const peer_speeds *speeds, size_t k, size_t dim,
                         const peer_errors *errors) {
    const peer_speed *to = &speeds[PEER_TO_CODES].formats[k];
    const peer_speed *from = &speeds[PEER_FROM_CODES].formats[k];
    const char *sep = style->between;
    const double bits = 8.0 * (double)peer_row_bytes(&peer_formats[k], dim) / (double)dim;
    printf("%s%-6s%s%6.3f%s%9.2e%s%9.2e%s%8.2f%s%5.3f%s%6.3f%s%10.2f%s%5.3f%s%6.3f%s", style->before,
           peer_formats[k].name, sep, bits, sep, errors->plain, sep, errors->outliers, sep, to->gb_per_s,
           sep, to->share, sep, to->spread, sep, from->gb_per_s, sep, from->share, sep, from->spread,
           style->after);
}

static int print_table(const table_style *style, measure_data *data, measure_set set, size_t dim,
                       size_t samples) {
    peer_speeds speeds[N_PEER_WAYS];
    if (peer_measure(data, set, dim, samples, speeds) != 0) return -1;
    print_heading(style, speeds, set, dim);
    for (size_t k = 0; k < N_PEER_FORMATS; k++) {
        peer_errors errors;
        if (peer_row_bytes(&peer_formats[k], dim) == 0) continue;
        if (peer_measure_errors(&peer_formats[k], data->dense, dim, &errors) != 0) return -1;
        print_format(style, speeds, k, dim, &errors);
    }
    putchar('\n');
    fflush(stdout);
    return 0;
}

static bool take_options(int argc, char **argv, const table_style **style, size_t *samples) {
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], "--markdown") == 0)
            *style = &markdown;
        else if (strcmp(argv[i], "--samples") == 0 && i + 1 < argc)
            *samples = (size_t)strtoul(argv[++i], NULL, 10);
        else
            return false;
    return *samples >= 1 && *samples <= MAX_SAMPLES;
}

int main(int argc, char **argv) {
    static const size_t dims[] = {256, 128};
    const table_style *style = &plain;
    size_t samples = DEFAULT_SAMPLES;
    measure_data data;
    tq_isa isa;
    if (!take_options(argc, argv, &style, &samples)) {
        fprintf(stderr, "Usage: peers [--markdown] [--samples N]     N from 1 to %d\n", MAX_SAMPLES);
        return CLI_MISUSE;
    }
    if (tq_isa_active(&isa) != TQ_OK) {
        fprintf(stderr, "peers: %s\n", tq_last_error()->message);
        return CLI_MISUSE;
    }
    if (measure_data_begin(&data, MEASURE_SET_RAM, 1) != TQ_OK) {
        fputs("peers: out of memory\n", stderr);
        return CLI_FAILED;
    }
    peer_begin();
    printf("tqkv %s (%s) and ggml %s; one thread, %zu samples; GB/s of float32, shares of the limit\n\n",
           tq_version(), tq_isa_name(isa), ggml_version(), samples);
    int rc = 0;
    for (measure_set set = MEASURE_SET_L2; rc == 0 && set <= MEASURE_SET_RAM; set++)
        for (size_t d = 0; rc == 0 && d < sizeof dims / sizeof dims[0]; d++)
            rc = print_table(style, &data, set, dims[d], samples);
    measure_data_free(&data);
    if (rc != 0) fputs("peers: a format failed, or memory ran out (about 3 GiB are needed)\n", stderr);
    return rc == 0 ? CLI_DONE : CLI_FAILED;
}
