/* SPDX-License-Identifier: MIT
 * An evaluation on standard output: tables for people, one JSON object for programs. */
#include "eval/eval.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/attention.h"
#include "base/message.h"
#include "base/report.h"
#include "tqkv/version.h"

static const cli_column pair_columns[] = {
    {"name", "format", NULL},
    {"baseline", "baseline", NULL},
    {"kl", NULL, "%.2e"},
    {"baseline_kl", NULL, "%.2e"},
    {"baseline_kl_moved", NULL, "%.2e"},
    {"kl_less_low", NULL, "%.2e"},
    {"kl_less_high", NULL, "%.2e"},
    {"lower", "less", NULL},
    {NULL, "by", "%.3g"},
    {"kl_less_moved_low", NULL, "%.2e"},
    {"kl_less_moved_high", NULL, "%.2e"},
    {"lower_moved", "then", NULL},
    {NULL, "by", "%.3g"},
};

void cli_eval_mark(const cli_eval_row *row, cli_eval_marked name) {
    snprintf(name, sizeof(cli_eval_marked), "%s%s", row->name,
             cli_eval_is_default(row) ? " *"
             : cli_eval_ties(row)     ? " ="
                                      : "");
}

/* One of both tables. */
static int print_figures(const cli_eval *eval, bool costs) {
    cli_column columns[1 + CLI_EVAL_FIGURES] = {{NULL, "format", NULL}};
    const cli_eval_figure *figures[1 + CLI_EVAL_FIGURES];
    cli_grid grid;
    size_t n = 1;
    for (size_t k = 0; k < CLI_EVAL_FIGURES; k++) {
        const cli_eval_figure *f = &cli_eval_figures[k];
        if (f->is_cost != costs || !f->heading) continue;
        figures[n] = f;
        columns[n++] = (cli_column){NULL, f->heading, f->format};
    }
    cli_grid_begin(&grid, columns, n);
    for (size_t i = 0; i < eval->n_rows; i++) {
        cli_eval_marked name;
        cli_cell cells[1 + CLI_EVAL_FIGURES] = {{.text = name}};
        cli_eval_mark(&eval->rows[i], name);
        for (size_t k = 1; k < n; k++)
            cells[k].number = figures[k]->factor * figures[k]->of(eval, &eval->rows[i]);
        cli_grid_row(&grid, cells);
    }
    return cli_grid_print(&grid);
}

static double times_apart(double a, double b) {
    return fmax(a / b, b / a);
}

static void fill_pairs(const cli_eval *eval, cli_grid *grid) {
    cli_grid_begin(grid, CLI_COLUMNS(pair_columns));
    for (size_t i = 0; i < eval->n_pairs; i++) {
        const cli_eval_pair *pair = &eval->pairs[i];
        const double kl = pair->ours->kl_mean, its = pair->baseline->kl_mean, moved = pair->factor * its;
        const cli_cell cells[] = {{.text = pair->ours->name},
                                  {.text = pair->baseline->name},
                                  {.number = kl},
                                  {.number = its},
                                  {.number = moved},
                                  {.number = pair->beside.low},
                                  {.number = pair->beside.high},
                                  {.text = cli_eval_lower(pair, false)},
                                  {.number = times_apart(kl, its)},
                                  {.number = pair->beside_moved.low},
                                  {.number = pair->beside_moved.high},
                                  {.text = cli_eval_lower(pair, true)},
                                  {.number = times_apart(kl, moved)}};
        cli_grid_row(grid, cells);
    }
}

/* As lines of comment, none longer than a terminal is wide. */
static void print_sentence(const cli_eval *eval, cli_eval_conclude *conclude) {
    enum { WIDTH = 79 };
    char text[CLI_EVAL_SENTENCE];
    size_t column = WIDTH;
    conclude(eval, text);
    for (const char *word = text; *word;) {
        const size_t length = strcspn(word, " ");
        const bool fits = column + 1 + length <= WIDTH;
        printf("%s%.*s", fits ? " " : word == text ? "# " : "\n# ", (int)length, word);
        column = fits ? column + 1 + length : 2 + length;
        word += length + strspn(word + length, " ");
    }
    if (text[0]) putchar('\n');
}

static int print_pairs(const cli_eval *eval) {
    cli_grid grid;
    if (eval->n_pairs == 0) return CLI_DONE;
    printf("\n# tq beside blocks of 32 with a float16 scale. less: whose KL, ours or its, and\n"
           "# by how many times; then: at equal bits, the baseline's KL times 4 for every\n"
           "# bit a value that it spends more (6.02 dB a bit)\n");
    fill_pairs(eval, &grid);
    TRY(cli_grid_print(&grid));
    print_sentence(eval, cli_eval_conclude_pairs);
    return CLI_DONE;
}

static double rate(const cli_eval *eval) {
    return (double)eval->tokens * (double)(eval->n_rows + 1) / eval->seconds;
}

/* Where a layer does less than a row's name says. */
static void tell_cuts(const cli_eval *eval) {
    char text[256];
    for (size_t i = 0; i < eval->n_rows; i++)
        if (cli_kv_cut(&eval->rows[i].kv, eval->model, text, sizeof text))
            printf("# %s: %s\n", eval->rows[i].name, text);
}

static void tell_default(const cli_eval *eval) {
    char usual[CLI_KV_NAME_SIZE];
    bool ties = false;
    cli_kv_default_name(usual);
    if (!cli_eval_find(eval, CLI_EVAL_DEFAULT)) return;
    for (size_t i = 0; i < eval->n_rows; i++)
        ties = ties || cli_eval_ties(&eval->rows[i]);
    printf("# *: the default, %s, keys less a mean of %d\n"
           "# for every %d positions, the last %d and the first %d in float16\n",
           usual, TQ_DEFAULT_LEARN_CENTRE, TQ_DEFAULT_CENTRE_STRETCH, TQ_DEFAULT_RECENT,
           TQ_DEFAULT_SINKS);
    if (ties) printf("# =: its KL cannot be told from the default's on this text\n");
}

int cli_eval_print_tables(const cli_eval *eval) {
    const size_t full = eval->memory_at[eval->n_memory - 1];
    cli_print_line("# %s on %s", eval->shape.name, eval->text_path);
    printf("# %zu tokens, a new cache every %zu\n", eval->tokens, eval->context);
    printf("# bits a value and bytes: after %zu tokens, norms and centres counted\n"
           "# float32: %.4f bits a token, a perplexity of %.4f; change: from that\n"
           "# from, to: 95 %% of texts like this one, by blocks of %d tokens\n"
           "# v2 norms are matched unless a name says otherwise\n"
           "# products with v2 codes: %s\n",
           full, cli_eval_reference_bits(eval), exp2(cli_eval_reference_bits(eval)), MEASURE_BLOCK,
           cli_arithmetic_name(eval->arithmetic));
    tell_default(eval);
    tell_cuts(eval);
    TRY(print_figures(eval, true));
    print_sentence(eval, cli_eval_conclude_costs);
    printf("\n# KL in nats from the next-token distribution of float32; top: the same\n"
           "# likeliest token\n");
    TRY(print_figures(eval, false));
    print_sentence(eval, cli_eval_conclude_divergence);
    TRY(print_pairs(eval));
    printf("\n# %.1f s: %.0f tokens a second and format\n", eval->seconds, rate(eval));
    return cli_flush_output();
}

/* [low, high]; null where there is none. */
static json_t *interval_json(const measure_interval *interval) {
    return isnan(interval->low) ? json_null() : json_pack("[ff]", interval->low, interval->high);
}

/* One object a row: the figures and more. NULL when memory ran out. */
static json_t *row_json(const cli_eval *eval, const cli_eval_row *row) {
    json_t *object = json_object(), *layers = json_array(), *memory = json_array(),
           *recent = json_array(), *centre = json_array();
    int failed = json_object_set_new(object, "name", json_string(row->name));
    for (size_t k = 0; k < CLI_EVAL_FIGURES; k++) {
        const cli_eval_figure *f = &cli_eval_figures[k];
        failed |= json_object_set_new(object, f->key, cli_json_number(f->format, f->of(eval, row)));
    }
    for (size_t i = 0; i < eval->shape.n_layers; i++) {
        const lm_layer_shape layer = lm_model_layer(eval->model, i);
        const size_t holds[] = {lm_layer_holds(&layer, row->kv.recent),
                                lm_layer_holds(&layer, row->kv.learn_centre)};
        failed |= json_array_append_new(layers, json_real(cli_eval_layer_error(row, i)));
        failed |= json_array_append_new(recent, json_integer((json_int_t)holds[0]));
        failed |= json_array_append_new(centre, json_integer((json_int_t)holds[1]));
    }
    for (size_t i = 0; i < eval->n_memory; i++)
        failed |= json_array_append_new(memory, json_integer((json_int_t)row->memory[i]));
    failed |= json_object_set_new(object, "kl_less_default", interval_json(&row->beside));
    failed |= json_object_set_new(object, "tie", json_boolean(cli_eval_ties(row)));
    failed |= json_object_set_new(object, "layer_error", layers);
    failed |= json_object_set_new(object, "memory", memory);
    failed |= json_object_set_new(object, "layer_recent", recent);
    failed |= json_object_set_new(object, "layer_centre", centre);
    if (failed == 0) return object;
    json_decref(object);
    return NULL;
}

int cli_eval_print_json(const cli_eval *eval) {
    json_t *rows = json_array(), *contexts = json_array();
    int failed = 0;
    char usual[CLI_KV_NAME_SIZE];
    cli_grid pairs;
    cli_report report;
    cli_kv_default_name(usual);
    for (size_t i = 0; i < eval->n_rows; i++)
        failed |= json_array_append_new(rows, row_json(eval, &eval->rows[i]));
    for (size_t i = 0; i < eval->n_memory; i++)
        failed |= json_array_append_new(contexts, json_integer((json_int_t)eval->memory_at[i]));
    cli_report_begin(&report, true);
    report.failed = report.failed || failed != 0;
    cli_report_text(&report, "model", NULL, eval->shape.name);
    cli_report_text(&report, "model_file", NULL, eval->model_path);
    cli_report_text(&report, "text", NULL, eval->text_path);
    cli_report_text(&report, "version", NULL, tq_version());
    cli_report_text(&report, "default", NULL, usual);
    cli_report_text(&report, "arithmetic", NULL, cli_arithmetic_name(eval->arithmetic));
    cli_report_count(&report, "tokens", NULL, eval->tokens);
    cli_report_count(&report, "context", NULL, eval->context);
    cli_report_real(&report, "reference_bits_per_token", NULL, cli_eval_reference_bits(eval));
    cli_report_real(&report, "reference_perplexity", NULL, exp2(cli_eval_reference_bits(eval)));
    cli_report_real(&report, "seconds", NULL, eval->seconds);
    cli_report_real(&report, "tokens_per_second_and_format", NULL, rate(eval));
    cli_report_json(&report, "memory_contexts", contexts);
    cli_report_json(&report, "rows", rows);
    fill_pairs(eval, &pairs);
    cli_report_json(&report, "pairs", cli_grid_take_json(&pairs));
    return cli_report_end(&report);
}
