/* SPDX-License-Identifier: MIT
 * Rows of a benchmark as they are printed: a JSON object a line, or a table and its reading. */
#include <stdio.h>

#include "base/message.h"
#include "bench/bench.h"
#include "tqkv/version.h"

static const cli_column columns[] = {
    {"op", "operation", NULL},    {"format", "format", NULL},   {"dim", "D", "%zu"},
    {"domain", NULL, NULL},       {"set", "set", NULL},         {"set_bytes", NULL, "%zu"},
    {"isa", NULL, NULL},          {"threads", NULL, "%zu"},     {"ns_per_row", "ns/row", "%.4g"},
    {"gb_per_s", "GB/s", "%.3g"}, {"limit", "limit", NULL},     {"limit_gb_per_s", "GB/s", "%.3g"},
    {"share", "share", "%.3f"},   {"spread", "spread", "%.3f"}, {"samples", NULL, "%zu"},
    {"version", NULL, NULL},
};

void cli_bench_report_begin(cli_bench_report *report, bool as_json, tq_isa isa, size_t samples) {
    *report = (cli_bench_report){.as_json = as_json, .isa = isa, .samples = samples};
    cli_grid_begin(&report->grid, CLI_COLUMNS(columns));
}

static const char *domain_name(const cli_bench_case *c) {
    if (c->op != CLI_BENCH_DECODE) return NULL;
    return c->domain == TQ_ROTATED ? "rotated" : "original";
}

static void note_share(cli_bench_report *report, const cli_bench_case *c, double share) {
    double *least = &report->shares[c->op][c->set].least;
    double *greatest = &report->shares[c->op][c->set].greatest;
    const bool first = report->shares[c->op][c->set].n++ == 0;
    *least = first || share < *least ? share : *least;
    *greatest = first || share > *greatest ? share : *greatest;
}

int cli_bench_report_row(cli_bench_report *report, const cli_bench_case *c, const cli_bench_result *r) {
    const cli_cell cells[] = {{.text = cli_bench_op_names[c->op]},
                              {.text = tq_format_name(c->codec.format)},
                              {.number = c->codec.head_dim},
                              {.text = domain_name(c)},
                              {.text = measure_set_name(c->set)},
                              {.number = (double)measure_set_bytes(c->set, c->threads)},
                              {.text = tq_isa_name(report->isa)},
                              {.number = (double)c->threads},
                              {.number = r->ns_per_row},
                              {.number = r->gb_per_s},
                              {.text = measure_limit_name(r->limit)},
                              {.number = r->limit_gb_per_s},
                              {.number = r->share},
                              {.number = r->spread},
                              {.number = (double)report->samples},
                              {.text = tq_version()}};
    cli_grid_row(&report->grid, cells);
    note_share(report, c, r->share);
    return report->as_json ? cli_grid_print_lines(&report->grid) : CLI_DONE;
}

/* One line: how much of the machine each operation reaches. */
static void print_reading(const cli_bench_report *report) {
    const char *before = "\n# Of the machine's limit: ";
    for (cli_bench_op op = CLI_BENCH_ENCODE; op < CLI_N_BENCH_OPS; op++) {
        for (measure_set set = MEASURE_SET_L2; set <= MEASURE_SET_RAM; set++) {
            if (report->shares[op][set].n > 0) {
                printf("%s%s in %s %.0f-%.0f %%", before, cli_bench_op_names[op], measure_set_name(set),
                       100.0 * report->shares[op][set].least, 100.0 * report->shares[op][set].greatest);
                before = ", ";
            }
        }
    }
    printf("\n");
}

int cli_bench_report_end(cli_bench_report *report, size_t threads) {
    if (report->as_json) {
        cli_grid_drop(&report->grid);
        return CLI_DONE;
    }
    printf("# tqkv %s, %s, %zu thread%s, %zu sample%s; GB/s of float32; share: the limit's time over "
           "ours\n",
           tq_version(), tq_isa_name(report->isa), threads, threads == 1 ? "" : "s", report->samples,
           report->samples == 1 ? "" : "s");
    TRY(cli_grid_print(&report->grid));
    print_reading(report);
    return cli_flush_output();
}

void cli_bench_report_drop(cli_bench_report *report) {
    cli_grid_drop(&report->grid);
}
