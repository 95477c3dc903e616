/* SPDX-License-Identifier: MIT
 * An ablation as it is printed: tables and a verdict, or one JSON object. */
#include "ablate/ablate.h"

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
    for (size_t i = 0; i < CLI_N_PATHS; i++) {
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

static void add_heads(const cli_ablation *result, cli_grid *grid) {
    const cli_ablate_row *r = result->rows;
    cli_grid_begin(grid, head_columns, sizeof head_columns / sizeof head_columns[0]);
    for (size_t h = 0; h < result->n_heads; h++) {
        char name[32];
        snprintf(name, sizeof name, "%zu", h);
        const cli_cell cells[] = {{.text = name},
                                  {.number = r[2].head_mean[h]},
                                  {.number = r[2].head_p1[h]},
                                  {.number = r[1].head_p1[h]},
                                  {.number = r[3].head_p1[h]},
                                  {.number = r[4].head_p1[h]},
                                  {.number = r[5].head_p1[h]}};
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

static void describe(const cli_ablate_input *in, const cli_ablation *result, char *text, size_t size) {
    const tq_attention_params *p = &in->params;
    const cli_ring *ring = &result->ring;
    const int n = snprintf(text, size,
                           "# %u heads, %u KV heads, %zu queries, %zu positions, head "
                           "dimension %u, scale %.6g;",
                           p->n_heads, p->n_kv_heads, p->n_queries, ring->n_positions, p->head_dim,
                           (double)p->scale);
    if (p->window == 0) {
        snprintf(text + n, size - (size_t)n, " caches in slots 0 to %zu", ring->capacity - 1);
    } else {
        snprintf(text + n, size - (size_t)n,
                 " caches in a ring of %zu slots, %zu positions written, the last %zu held from slot %zu",
                 ring->capacity, ring->written, ring->held, ring->ring_start);
    }
}

static int print_text(const cli_ablate_input *in, const cli_ablation *result, const char *verdict) {
    cli_grid grid;
    char text[512];
    describe(in, result, text, sizeof text);
    cli_print_wrapped(text);
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
    for (size_t i = 0; paths && i < CLI_N_PATHS; i++) {
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
    static const char *const names[] = {"unknown", "scale", "order", "signs", "rotation", "rounding"};
    return names[f->cause];
}

static json_t *finding_json(const cli_finding *f) {
    if (f->stage == CLI_STAGE_NONE) return json_null();
    return json_pack("{s:s, s:s, s:I, s:I, s:I, s:o, s:o, s:s}", "path", f->path, "stage",
                     cli_stage_name(f->stage), "head", (json_int_t)f->head, "first", (json_int_t)f->first,
                     "last", (json_int_t)f->last, "size", cli_json_number(NULL, f->size), "bound",
                     cli_json_number(NULL, f->bound), "cause", cause_name(f));
}

static int print_json(const cli_ablate_input *in, const cli_ablation *result, const char *verdict) {
    const tq_attention_params *p = &in->params;
    cli_report report;
    cli_grid grid;
    cli_report_begin(&report, true);
    cli_report_text(&report, "format", NULL, tq_format_name(in->k_format));
    cli_report_text(&report, "v_format", NULL, tq_format_name(in->v_format));
    cli_report_text(&report, "fault", NULL, cli_fault_name(in->fault));
    cli_report_count(&report, "n_heads", NULL, p->n_heads);
    cli_report_count(&report, "n_kv_heads", NULL, p->n_kv_heads);
    cli_report_count(&report, "n_queries", NULL, p->n_queries);
    cli_report_count(&report, "n_positions", NULL, result->ring.n_positions);
    cli_report_count(&report, "head_dim", NULL, p->head_dim);
    cli_report_real(&report, "scale", NULL, (double)p->scale);
    cli_report_json(&report, "ring", ring_json(&result->ring));
    add_rows(result, &grid);
    cli_report_json(&report, "rows", cli_grid_take_json(&grid));
    cli_report_json(&report, "heads", heads_json(result));
    cli_report_real(&report, "bound", NULL, result->bound);
    cli_report_json(&report, "error", finding_json(&result->finding));
    cli_report_text(&report, "verdict", NULL, verdict);
    return cli_report_end(&report);
}

int cli_ablate_report(const cli_ablate_input *in, const cli_ablation *result, bool as_json) {
    char verdict[VERDICT_SIZE];
    cli_verdict(in, result, verdict, sizeof verdict);
    return as_json ? print_json(in, result, verdict) : print_text(in, result, verdict);
}
