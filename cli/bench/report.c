/* SPDX-License-Identifier: MIT
 * Rows of a benchmark as they are printed: a JSON object a line, or a table and its reading. */
#include "bench/report.h"

#include <stdio.h>

#include "base/command.h"
#include "base/message.h"
#include "tqkv/version.h"

static const cli_column columns[] = {
    {"op", "operation", NULL},    {"format", "format", NULL},         {"dim", "D", "%.0f"},
    {"set", "set", NULL},         {"ns_per_row", "ns/row", "%.4g"},   {"gb_per_s", "GB/s", "%.3g"},
    {"limit", "limit", NULL},     {"limit_gb_per_s", "GB/s", "%.3g"}, {"share", "share", "%.3f"},
    {"spread", "spread", "%.3f"},
};

void cli_bench_report_begin(cli_bench_report *report, bool as_json, tq_isa isa, size_t samples) {
    *report = (cli_bench_report){.as_json = as_json, .isa = isa, .samples = samples};
    if (!as_json) cli_grid_begin(&report->grid, columns, sizeof columns / sizeof columns[0]);
}

static const char *domain_name(const cli_bench_case *c) {
    if (c->op != CLI_BENCH_DECODE) return NULL; /* null in JSON */
    return c->domain == TQ_ROTATED ? "rotated" : "original";
}

static int print_json_line(const cli_bench_report *report, const cli_bench_case *c,
                           const cli_bench_result *r) {
    json_t *object = json_pack(
        "{s:s, s:s, s:i, s:s?, s:s, s:I, s:s, s:I, s:f, s:f, s:s, s:f, s:f, s:f, s:I, s:s}", "op",
        cli_bench_op_name(c->op), "format", tq_format_name(c->codec.format), "dim",
        (int)c->codec.head_dim, "domain", domain_name(c), "set", measure_set_name(c->set), "set_bytes",
        (json_int_t)measure_set_bytes(c->set, c->threads), "isa", tq_isa_name(report->isa), "threads",
        (json_int_t)c->threads, "ns_per_row", r->ns_per_row, "gb_per_s", r->gb_per_s, "limit",
        measure_limit_name(r->limit), "limit_gb_per_s", r->limit_gb_per_s, "share", r->share, "spread",
        r->spread, "samples", (json_int_t)report->samples, "version", tq_version());
    if (!object) return cli_out_of_memory();
    (void)json_dumpf(object, stdout, JSON_COMPACT | JSON_REAL_PRECISION(6)); /* flushing tells */
    putchar('\n');
    json_decref(object);
    return cli_flush_output();
}

int cli_bench_report_row(cli_bench_report *report, const cli_bench_case *c, const cli_bench_result *r) {
    if (report->as_json) return print_json_line(report, c, r);
    const cli_cell cells[] = {{.text = cli_bench_op_name(c->op)},
                              {.text = tq_format_name(c->codec.format)},
                              {.number = c->codec.head_dim},
                              {.text = measure_set_name(c->set)},
                              {.number = r->ns_per_row},
                              {.number = r->gb_per_s},
                              {.text = measure_limit_name(r->limit)},
                              {.number = r->limit_gb_per_s},
                              {.number = r->share},
                              {.number = r->spread}};
    double *least = &report->shares[c->op][c->set].least;
    double *greatest = &report->shares[c->op][c->set].greatest;
    const bool first = report->shares[c->op][c->set].n++ == 0;
    *least = first || r->share < *least ? r->share : *least;
    *greatest = first || r->share > *greatest ? r->share : *greatest;
    cli_grid_row(&report->grid, cells);
    return CLI_DONE;
}

/* One line: how much of the machine each operation reaches. */
static void print_reading(const cli_bench_report *report) {
    const char *before = "\n# Of the machine's limit: ";
    for (cli_bench_op op = CLI_BENCH_ENCODE; op < CLI_N_BENCH_OPS; op++) {
        for (measure_set set = MEASURE_SET_L2; set <= MEASURE_SET_RAM; set++) {
            if (report->shares[op][set].n > 0) {
                printf("%s%s in %s %.0f-%.0f %%", before, cli_bench_op_name(op), measure_set_name(set),
                       100.0 * report->shares[op][set].least, 100.0 * report->shares[op][set].greatest);
                before = ", ";
            }
        }
    }
    printf("\n");
}

int cli_bench_report_end(cli_bench_report *report, size_t threads) {
    if (report->as_json) return CLI_DONE;
    printf("# tqkv %s, %s, %zu thread%s, %zu sample%s; GB/s of float32; share: the limit's time over "
           "ours\n",
           tq_version(), tq_isa_name(report->isa), threads, threads == 1 ? "" : "s", report->samples,
           report->samples == 1 ? "" : "s");
    const int rc = cli_grid_print(&report->grid);
    if (rc != CLI_DONE) return rc;
    print_reading(report);
    return cli_flush_output();
}

void cli_bench_report_drop(cli_bench_report *report) {
    if (!report->as_json) cli_grid_drop(&report->grid);
}
