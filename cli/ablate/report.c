/* SPDX-License-Identifier: MIT
 * An ablation as it is printed: tables and a verdict, or one JSON object. */
#include "ablate/ablate.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/message.h"
#include "base/report.h"
#include "tqkv/codec.h"

enum { WIDTH = 80, VERDICT_SIZE = 512 };

static const cli_column columns[] = {
    {"path", "path", NULL},
    {"worst", "worst", "%.1e"},
    {"nrmse_decoded", "decoded", "%.1e"},
    {"nrmse_original", "original", "%.1e"},
    {"cosine_mean", "cos mean", "%.5f"},
    {"cosine_p1", "cos p1", "%.5f"},
    {"top1", "top-1", "%.4f"},
    {"kl", "KL", "%.1e"},
};

/* Of each head: the mean of the fused path, and the first percentiles of those that are compressed. */
static const cli_column head_columns[] = {
    {"head", "head", NULL},           {"fused_mean", "fused mean", "%.5f"},
    {"fused_p1", "fused p1", "%.5f"}, {"decoded_p1", "decoded p1", "%.5f"},
    {"p1_5", "5 bit p1", "%.5f"},     {"p1_6", "6 bit p1", "%.5f"},
    {"p1_8", "8 bit p1", "%.5f"},
};

static void add_rows(const cli_ablation *result, cli_grid *grid) {
    cli_grid_begin(grid, columns, sizeof columns / sizeof columns[0]);
    for (size_t i = 0; i < result->n_rows; i++) {
        const cli_ablate_row *r = &result->rows[i];
        const cli_cell cells[] = {{.text = r->path},
                                  {.number = r->worst},
                                  {.number = r->nrmse_decoded},
                                  {.number = r->nrmse_original},
                                  {.number = r->cosine_mean},
                                  {.number = r->cosine_p1},
                                  {.number = r->top1},
                                  {.number = r->kl}};
        cli_grid_row(grid, cells);
    }
}

/* The columns of snapped copies are there if these are. */
static void add_heads(const cli_ablation *result, cli_grid *grid) {
    const bool snapped = result->n_rows == CLI_MAX_PATHS;
    const cli_ablate_row *r = result->rows;
    cli_grid_begin(grid, head_columns,
                   sizeof head_columns / sizeof head_columns[0] - (snapped ? 0 : CLI_N_SNAPS));
    for (size_t h = 0; h < result->n_heads; h++) {
        char name[32];
        snprintf(name, sizeof name, "%zu", h);
        const cli_cell cells[] = {{.text = name},
                                  {.number = result->fused->head_mean[h]},
                                  {.number = result->fused->head_p1[h]},
                                  {.number = result->decoded->head_p1[h]},
                                  {.number = snapped ? r[3].head_p1[h] : 0.0},
                                  {.number = snapped ? r[4].head_p1[h] : 0.0},
                                  {.number = snapped ? r[5].head_p1[h] : 0.0}};
        cli_grid_row(grid, cells);
    }
}

void cli_print_wrapped(const char *text) {
    size_t column = 0;
    while (*text) {
        const size_t length = strcspn(text, " ");
        if (column > 0 && column + 1 + length > WIDTH) {
            putchar('\n');
            column = 0;
        }
        column += (size_t)printf("%s%.*s", column > 0 ? " " : "", (int)length, text);
        text += length;
        text += *text == ' ';
    }
    putchar('\n');
}

static int describe_tensors(const tq_attention_params *p, size_t n_positions, char *text, size_t size) {
    return snprintf(text, size,
                    "# %u heads, %u KV heads, %zu queries, %zu positions, head dimension %u, scale %.6g;",
                    p->n_heads, p->n_kv_heads, p->n_queries, n_positions, p->head_dim, (double)p->scale);
}

/* How a cache with ageing positions is gone through. */
static const char *replay_text(const tq_attention_params *p) {
    return p->bidirectional ? " every query attends to the cache that holds all positions"
                            : " a query attends to the cache that holds the positions up to its own";
}

static void describe(const cli_ablate_input *in, const cli_ablation *result, char *text, size_t size) {
    const cli_ring *ring = &result->ring;
    const int n = describe_tensors(&in->params, ring->n_positions, text, size);
    if (cli_way_ages(&in->way->config))
        snprintf(text + n, size - (size_t)n, "%s", replay_text(&in->params));
    else if (in->params.window == 0)
        snprintf(text + n, size - (size_t)n, " caches in slots 0 to %zu", ring->capacity - 1);
    else
        snprintf(text + n, size - (size_t)n,
                 " caches in a ring of %zu slots, %zu positions written, the last %zu held from slot %zu",
                 ring->capacity, ring->written, ring->held, ring->ring_start);
}

void cli_ablate_tell_device(const cli_device *device, bool exact) {
    char name[320], text[512];
    if (!device) return;
    cli_device_text(device, name, sizeof name);
    snprintf(text, sizeof text, "# %s: decodes, and attends to codes, accuracy %s; the rest is the CPU's",
             name, cli_accuracy_name(exact));
    cli_print_wrapped(text);
}

void cli_ablate_report_device(cli_report *report, const cli_device *device, bool exact) {
    char text[320] = "cpu";
    if (device) cli_device_text(device, text, sizeof text);
    cli_report_text(report, "device", NULL, text);
    cli_report_json(report, "accuracy", device ? json_string(cli_accuracy_name(exact)) : json_null());
}

static int print_text(const cli_ablate_input *in, const cli_ablation *result, const char *verdict) {
    cli_grid grid;
    char text[512];
    describe(in, result, text, sizeof text);
    cli_print_wrapped(text);
    cli_ablate_tell_device(in->device, in->exact);
    cli_print_line("# %s: %.4f bits a value", in->way->name, result->bits);
    add_rows(result, &grid);
    TRY(cli_grid_print(&grid));
    putchar('\n');
    add_heads(result, &grid);
    TRY(cli_grid_print(&grid));
    putchar('\n');
    cli_print_wrapped(verdict);
    return cli_flush_output();
}

static json_t *heads_json(const cli_ablation *result) {
    json_t *paths = json_object();
    for (size_t i = 0; paths && i < result->n_rows; i++) {
        json_t *list = json_array();
        for (size_t h = 0; list && h < result->n_heads; h++) {
            json_array_append_new(list, json_pack("{s:o, s:o}", "cosine_mean",
                                                  cli_json_number(NULL, result->rows[i].head_mean[h]),
                                                  "cosine_p1",
                                                  cli_json_number(NULL, result->rows[i].head_p1[h])));
        }
        json_object_set_new(paths, result->rows[i].path, list);
    }
    return paths;
}

static json_t *ring_json(const cli_ring *ring) {
    return json_pack("{s:I, s:I, s:I, s:I}", "capacity", (json_int_t)ring->capacity, "held",
                     (json_int_t)ring->held, "written", (json_int_t)ring->written, "ring_start",
                     (json_int_t)ring->ring_start);
}

static const char *cause_name(const cli_finding *f) {
    static const char *const names[] = {"unknown", "scale",    "order",   "signs",
                                        "centre",  "rotation", "rounding"};
    return names[f->cause];
}

static json_t *finding_json(const cli_finding *f) {
    if (f->stage == CLI_STAGE_NONE) return json_null();
    return json_pack("{s:s, s:s, s:I, s:I, s:I, s:o, s:o, s:s}", "path", f->path, "stage",
                     cli_stage_name(f->stage), "head", (json_int_t)f->head, "first", (json_int_t)f->first,
                     "last", (json_int_t)f->last, "size", cli_json_number(NULL, f->size), "bound",
                     cli_json_number(NULL, f->bound), "cause", cause_name(f));
}

/* Of the tensors. */
static void add_shapes(const cli_ablate_input *in, size_t n_positions, cli_report *report) {
    const tq_attention_params *p = &in->params;
    cli_report_count(report, "n_heads", NULL, p->n_heads);
    cli_report_count(report, "n_kv_heads", NULL, p->n_kv_heads);
    cli_report_count(report, "n_queries", NULL, p->n_queries);
    cli_report_count(report, "n_positions", NULL, n_positions);
    cli_report_count(report, "head_dim", NULL, p->head_dim);
    cli_report_real(report, "scale", NULL, (double)p->scale);
}

static void add_way(const cli_way *way, const cli_ablation *result, cli_report *report) {
    cli_report_text(report, "name", NULL, way->name);
    cli_report_text(report, "format", NULL, tq_format_name(way->config.layer.k.format));
    cli_report_text(report, "v_format", NULL, tq_format_name(way->config.layer.v.format));
    cli_report_real(report, "bits_per_value", NULL, result->bits);
}

static void add_results(const cli_ablation *result, const char *verdict, cli_report *report) {
    cli_grid grid;
    add_rows(result, &grid);
    cli_report_json(report, "rows", cli_grid_take_json(&grid));
    cli_report_json(report, "heads", heads_json(result));
    cli_report_real(report, "bound", NULL, result->bound);
    cli_report_json(report, "error", finding_json(&result->finding));
    cli_report_text(report, "verdict", NULL, verdict);
}

static int print_json(const cli_ablate_input *in, const cli_ablation *result, const char *verdict) {
    cli_report report;
    cli_report_begin(&report, true);
    add_way(in->way, result, &report);
    cli_ablate_report_device(&report, in->device, in->exact);
    cli_report_text(&report, "fault", NULL, cli_fault_name(in->fault));
    add_shapes(in, result->ring.n_positions, &report);
    cli_report_json(&report, "ring",
                    cli_way_ages(&in->way->config) ? json_null() : ring_json(&result->ring));
    add_results(result, verdict, &report);
    return cli_report_end(&report);
}

int cli_ablate_report(const cli_ablate_input *in, const cli_ablation *result, bool as_json) {
    char verdict[VERDICT_SIZE];
    cli_verdict(in, result, verdict, sizeof verdict);
    return as_json ? print_json(in, result, verdict) : print_text(in, result, verdict);
}

static const cli_column way_columns[] = {
    {"name", "format", NULL},
    {"bits_per_value", "bits", "%.3f"},
    {"worst", "worst", "%.1e"},
    {"nrmse_original", "original", "%.1e"},
    {"cosine_p1", "cos p1", "%.4f"},
    {"top1", "top-1", "%.3f"},
    {"kl", "KL", "%.1e"},
};

static int print_ways(const cli_way *ways, const cli_ablation *results, size_t n) {
    cli_grid grid;
    cli_grid_begin(&grid, way_columns, sizeof way_columns / sizeof way_columns[0]);
    for (size_t i = 0; i < n; i++) {
        const cli_ablate_row *r = results[i].fused;
        const cli_cell cells[] = {{.text = ways[i].name},   {.number = results[i].bits},
                                  {.number = r->worst},     {.number = r->nrmse_original},
                                  {.number = r->cosine_p1}, {.number = r->top1},
                                  {.number = r->kl}};
        cli_grid_row(&grid, cells);
    }
    return cli_grid_print(&grid);
}

/* One sentence for all that are right, and one for each that is not. */
static void print_verdicts(const cli_ablate_input *in, const cli_way *ways, const cli_ablation *results,
                           size_t n) {
    char text[VERDICT_SIZE + CLI_KV_NAME_SIZE + 2];
    double worst = 0.0, bound = 0.0;
    size_t wrong = 0;
    for (size_t i = 0; i < n; i++) {
        if (results[i].finding.stage == CLI_STAGE_NONE) {
            worst = fmax(worst, fmax(results[i].fused->worst, results[i].decoded->worst));
            bound = fmax(bound, results[i].bound);
            continue;
        }
        char verdict[VERDICT_SIZE];
        cli_ablate_input one = *in;
        one.way = &ways[i];
        cli_verdict(&one, &results[i], verdict, sizeof verdict);
        snprintf(text, sizeof text, "%s: %s", ways[i].name, verdict);
        cli_print_wrapped(text);
        wrong++;
    }
    if (wrong == n) return;
    snprintf(text, sizeof text,
             "representation floor%s: attention on codes and on the decoded cache agree with float64 on "
             "what the cache holds, to %.2g (bound %.2g); \"original\" is what the format costs",
             wrong ? " of the others" : "", worst, bound);
    cli_print_wrapped(text);
}

static json_t *way_json(const cli_ablate_input *in, const cli_way *way, const cli_ablation *result) {
    char verdict[VERDICT_SIZE];
    cli_ablate_input one = *in;
    cli_report report;
    one.way = way;
    cli_verdict(&one, result, verdict, sizeof verdict);
    cli_report_begin(&report, true);
    add_way(way, result, &report);
    add_results(result, verdict, &report);
    json_t *object = report.failed ? NULL : json_incref(report.object);
    cli_report_drop(&report);
    return object;
}

static int print_all_json(const cli_ablate_input *in, const cli_way *ways, const cli_ablation *results,
                          size_t n) {
    cli_report report;
    json_t *list = json_array();
    cli_report_begin(&report, true);
    cli_ablate_report_device(&report, in->device, in->exact);
    add_shapes(in, in->k.n_positions, &report);
    for (size_t i = 0; list && i < n; i++)
        report.failed =
            json_array_append_new(list, way_json(in, &ways[i], &results[i])) != 0 || report.failed;
    cli_report_json(&report, "formats", list);
    return cli_report_end(&report);
}

int cli_ablate_report_all(const cli_ablate_input *in, const cli_way *ways, const cli_ablation *results,
                          size_t n, bool as_json) {
    char text[512];
    if (as_json) return print_all_json(in, ways, results, n);
    const int used = describe_tensors(&in->params, in->k.n_positions, text, sizeof text);
    snprintf(text + used, sizeof text - (size_t)used, "%s", replay_text(&in->params));
    cli_print_wrapped(text);
    cli_ablate_tell_device(in->device, in->exact);
    TRY(print_ways(ways, results, n));
    putchar('\n');
    print_verdicts(in, ways, results, n);
    return cli_flush_output();
}
