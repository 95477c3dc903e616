/* SPDX-License-Identifier: MIT
 * Whether an ablation names what is broken on purpose, and nothing else, on made-up tensors. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "ablate/ablate.h"
#include "base/message.h"
#include "base/report.h"
#include "tqkv/codec.h"

/* The window is shorter than the ring, and the ring than what is written to it, twice over. */
enum { HEADS = 4, KV_HEADS = 2, QUERIES = 5, POSITIONS = 150, WINDOW = 40, VERDICT_SIZE = 512 };

typedef struct subject {
    tq_format format;
    uint32_t head_dim;
} subject;

static const subject subjects[] = {
    {TQ_TQ4, 64}, {TQ_TQ4, 96}, {TQ_TQ4, 128}, {TQ_TQ4_V1, 256}, {TQ_TQ8_V1, 512},
};

static const cli_column columns[] = {
    {"format", "format", NULL}, {"head_dim", "D", NULL},      {"fault", "fault", NULL},
    {"result", "result", NULL}, {"verdict", "verdict", NULL},
};

/* splitmix64. */
static uint64_t next(uint64_t *state) {
    uint64_t z = *state += 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

/* Twelve uniform numbers sum up to nearly a normal one. */
static float *normal(size_t n, uint64_t seed) {
    float *values = cli_new_floats(n, 1, 1);
    for (size_t i = 0; values && i < n; i++) {
        double sum = -6.0;
        for (int j = 0; j < 12; j++)
            sum += ldexp((double)(next(&seed) >> 11), -53);
        values[i] = (float)sum;
    }
    return values;
}

static bool is_named(cli_fault fault, const cli_finding *f) {
    switch (fault) {
    case CLI_FAULT_NONE:
        return f->stage == CLI_STAGE_NONE;
    case CLI_FAULT_SCALE:
        return f->cause == CLI_CAUSE_SCALE && fabs(f->factor / sqrt(512.0) - 1.0) < 1e-3;
    case CLI_FAULT_RING:
        return f->cause == CLI_CAUSE_ORDER && f->shift == 1;
    case CLI_FAULT_CENTRE:
        return f->cause == CLI_CAUSE_CENTRE;
    case CLI_FAULT_SIGNS:
        return f->cause == CLI_CAUSE_SIGNS;
    }
    return false;
}

static void add_row(cli_grid *grid, const cli_ablate_input *in, bool named, const char *verdict) {
    char dim[16], shown[VERDICT_SIZE];
    snprintf(dim, sizeof dim, "%u", in->params.head_dim);
    snprintf(shown, sizeof shown, "%s", verdict);
    const cli_cell cells[] = {{.text = in->way->name},
                              {.text = dim},
                              {.text = cli_fault_name(in->fault)},
                              {.text = named ? "pass" : "fail"},
                              {.text = shown}};
    cli_grid_row(grid, cells);
}

static int run_case(cli_ablate_input *in, cli_grid *grid, size_t *missed) {
    cli_ablation result;
    char verdict[VERDICT_SIZE];
    const int rc = cli_ablate(in, &result);
    if (rc == CLI_DONE) {
        const cli_finding *f = &result.finding;
        const bool named =
            is_named(in->fault, f) && (in->fault == CLI_FAULT_NONE || f->path == result.fused->path);
        cli_verdict(in, &result, verdict, sizeof verdict);
        add_row(grid, in, named, verdict);
        *missed += !named;
    }
    cli_ablation_free(&result);
    return rc;
}

static int run_subject(const subject *s, cli_device *device, bool exact, cli_grid *grid, size_t *missed) {
    const size_t dim = s->head_dim;
    cli_way way;
    float *q = normal(HEADS * QUERIES * dim, 1), *k = normal(KV_HEADS * POSITIONS * dim, 2);
    float *v = normal(KV_HEADS * POSITIONS * dim, 3);
    cli_ablate_input in = {
        .k_path = "keys",
        .v_path = "values",
        .q = q,
        .k = {KV_HEADS, POSITIONS, dim, k},
        .v = {KV_HEADS, POSITIONS, dim, v},
        .params = {.size = sizeof(tq_attention_params),
                   .n_heads = HEADS,
                   .n_kv_heads = KV_HEADS,
                   .head_dim = s->head_dim,
                   .n_queries = QUERIES,
                   .query_end = POSITIONS,
                   .scale = (float)(1.0 / sqrt((double)dim)),
                   .window = WINDOW,
                   .arithmetic = TQ_ARITHMETIC_FLOAT},
        .way = &way,
        .device = device,
        .exact = exact,
    };
    int rc = q && k && v ? CLI_DONE : cli_out_of_memory();
    if (rc == CLI_DONE) rc = cli_take_way(tq_format_name(s->format), &way);
    for (cli_fault fault = CLI_FAULT_NONE; rc == CLI_DONE && fault <= CLI_FAULT_SIGNS; fault++) {
        in.fault = fault;
        rc = run_case(&in, grid, missed);
    }
    free(q);
    free(k);
    free(v);
    return rc;
}

/* The verdicts are sentences, too long for a column; JSON has them. */
static int print_table(cli_grid *grid, cli_device *device, bool exact, size_t missed) {
    cli_ablate_tell_device(device, exact);
    TRY(cli_grid_print(grid));
    printf("\n%s\n", missed == 0 ? "Every fault was named, and nothing else."
                                 : "Some faults were not named; --json tells the verdicts.");
    return cli_flush_output();
}

static int print_json(cli_grid *grid, cli_device *device, bool exact, size_t missed) {
    cli_report report;
    cli_report_begin(&report, true);
    cli_ablate_report_device(&report, device, exact);
    cli_report_flag(&report, "passed", NULL, missed == 0);
    cli_report_json(&report, "cases", cli_grid_take_json(grid));
    return cli_report_end(&report);
}

int cli_ablate_self_test(cli_device *device, bool exact, bool as_json) {
    const size_t n_columns = sizeof columns / sizeof columns[0] - (as_json ? 0 : 1);
    cli_grid grid;
    size_t missed = 0;
    int rc = CLI_DONE;
    cli_grid_begin(&grid, columns, n_columns);
    for (size_t i = 0; rc == CLI_DONE && i < sizeof subjects / sizeof subjects[0]; i++)
        rc = run_subject(&subjects[i], device, exact, &grid, &missed);
    if (rc != CLI_DONE) {
        cli_grid_drop(&grid);
        return rc;
    }
    rc = as_json ? print_json(&grid, device, exact, missed) : print_table(&grid, device, exact, missed);
    return rc == CLI_DONE && missed > 0 ? CLI_FAILED : rc;
}
