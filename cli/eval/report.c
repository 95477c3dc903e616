/* SPDX-License-Identifier: MIT
 * An evaluation as an HTML page: no scripts, nothing from elsewhere, for light and dark screens. */
#include "eval/eval.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/attention.h"
#include "base/message.h"
#include "base/outputs.h"
#include "eval/page.h"
#include "eval/plot.h"
#include "tqkv/version.h"

static void write_head(FILE *out, const cli_eval *eval) {
    fputs("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
          "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n<title>",
          out);
    cli_plot_escaped(out, eval->shape.name);
    fputs(": what a compressed KV cache costs</title>\n", out);
    cli_page_style(out);
    fputs("</head><body>\n", out);
}

static void write_facts(FILE *out, const cli_eval *eval) {
    const double bits = cli_eval_reference_bits(eval);
    fputs("<h1>", out);
    cli_plot_escaped(out, eval->shape.name);
    fprintf(out, ": what a compressed KV cache costs</h1>\n<p>%zu layers, %zu parameters; %zu tokens of ",
            eval->shape.n_layers, eval->shape.n_parameters, eval->tokens);
    cli_plot_escaped(out, eval->text_path);
    fprintf(
        out,
        ", a new cache every %zu. The same tokens are decoded one by one with a float32 cache and with "
        "each of the others, and each is compared with a second float32 cache: %.4f bits a token, a "
        "perplexity of %.4f. The row float32 is the control. Every term is <a href=\"#words\">explained "
        "below</a>.</p>\n<p class=\"soft\">tqkv %s, products with v2 codes: %s, %.1f s.</p>\n",
        eval->context, bits, exp2(bits), tq_version(), cli_arithmetic_name(eval->arithmetic),
        eval->seconds);
}

static void write_conclusion(FILE *out, const cli_eval *eval, cli_eval_conclude *conclude) {
    char text[CLI_EVAL_SENTENCE];
    conclude(eval, text);
    if (!text[0]) return;
    fputs("<p class=\"said\">", out);
    cli_plot_escaped(out, text);
    fputs("</p>\n", out);
}

/* What the colours of pictures and names stand for: those that are there. */
static void write_key(FILE *out, const cli_eval *eval) {
    fputs("<p class=\"key\">", out);
    for (size_t i = 0; i < CLI_PAGE_FAMILIES; i++) {
        const cli_page_family *family = &cli_page_families[i];
        bool there = false;
        for (size_t j = 0; j < eval->n_rows; j++)
            there = there || strcmp(cli_eval_colour(&eval->rows[j]), family->name) == 0;
        if (there) fprintf(out, "<span class=\"%s\">%s</span> ", family->name, family->what);
    }
    fputs("</p>\n", out);
}

static void write_name(FILE *out, const cli_eval_row *row, const char *name) {
    fprintf(out, "<td class=\"name %s\">", cli_eval_colour(row));
    cli_plot_escaped(out, name);
    fputs("</td>", out);
}

/* The label is shown where a row is a card. */
static void write_number(FILE *out, const char *label, const char *format, double value) {
    fprintf(out, "<td data-label=\"%s\">", label);
    if (isfinite(value))
        fprintf(out, format, value);
    else
        fputs("&ndash;", out);
    fputs("</td>", out);
}

static void write_row(FILE *out, const cli_eval *eval, const cli_eval_row *row, bool costs) {
    cli_eval_marked name;
    cli_eval_mark(row, name);
    fputs(cli_eval_is_default(row) ? "<tr class=\"usual\">" : "<tr>", out);
    write_name(out, row, name);
    for (size_t k = 0; k < CLI_EVAL_FIGURES; k++) {
        const cli_eval_figure *f = &cli_eval_figures[k];
        if (f->page_heading && f->is_cost == costs)
            write_number(out, f->page_heading, f->page_format, f->page_factor * f->of(eval, row));
    }
    fputs("</tr>\n", out);
}

static void write_table(FILE *out, const cli_eval *eval, bool costs) {
    fputs("<table><thead><tr><th class=\"name\">format</th>", out);
    for (size_t k = 0; k < CLI_EVAL_FIGURES; k++) {
        const cli_eval_figure *f = &cli_eval_figures[k];
        if (f->page_heading && f->is_cost == costs) fprintf(out, "<th>%s</th>", f->page_heading);
    }
    fputs("</tr></thead><tbody>\n", out);
    for (size_t i = 0; i < eval->n_rows; i++)
        write_row(out, eval, &eval->rows[i], costs);
    fputs("</tbody></table>\n", out);
}

static void write_costs(FILE *out, const cli_eval *eval) {
    char cut[256], usual[CLI_KV_NAME_SIZE];
    cli_kv_default_name(usual);
    fprintf(out,
            "<h2>Size and perplexity</h2>\n<p>Sizes after %zu tokens, norms and centres counted. * the "
            "default, %s: keys less a mean of %d for every %d positions, the last %d and the first %d in "
            "float16. = its KL cannot be told from the default's on this text.</p>\n",
            eval->memory_at[eval->n_memory - 1], usual, TQ_DEFAULT_LEARN_CENTRE,
            TQ_DEFAULT_CENTRE_STRETCH, TQ_DEFAULT_RECENT, TQ_DEFAULT_SINKS);
    for (size_t i = 0; i < eval->n_rows; i++)
        if (cli_kv_cut(&eval->rows[i].kv, eval->model, cut, sizeof cut))
            fprintf(out, "<p class=\"soft\">%s: %s.</p>\n", eval->rows[i].name, cut);
    write_table(out, eval, true);
    write_conclusion(out, eval, cli_eval_conclude_costs);
}

static void write_divergence(FILE *out, const cli_eval *eval) {
    fputs("<h2>Divergence from float32</h2>\n<p>KL in nats between next-token distributions; cosines of "
          "attention outputs.</p>\n",
          out);
    write_table(out, eval, false);
    write_conclusion(out, eval, cli_eval_conclude_divergence);
}

static void write_pair(FILE *out, const cli_eval *eval, const cli_eval_pair *pair) {
    const cli_eval_row *ours = pair->ours, *baseline = pair->baseline;
    const double times = baseline->kl_mean / ours->kl_mean;
    fputs("<tr>", out);
    write_name(out, ours, ours->name);
    write_number(out, "bits", "%.3f", cli_eval_bits_per_value(eval, ours));
    write_number(out, "KL", "%.2e", ours->kl_mean);
    fprintf(out, "<td class=\"name beside %s\">%s</td>", cli_eval_colour(baseline), baseline->name);
    write_number(out, "bits", "%.3f", cli_eval_bits_per_value(eval, baseline));
    write_number(out, "KL", "%.2e", baseline->kl_mean);
    write_number(out, "its KL over ours", "%.3g", times);
    fprintf(out, "<td data-label=\"lower\">%s</td>", cli_eval_lower(pair, false));
    write_number(out, "at equal bits", "%.3g", pair->factor * times);
    fprintf(out, "<td data-label=\"lower then\">%s</td></tr>\n", cli_eval_lower(pair, true));
}

static void write_pairs(FILE *out, const cli_eval *eval) {
    if (eval->n_pairs == 0) return;
    fputs(
        "<h2>Beside blocks</h2>\n<p>A tq format and blocks of 32 values of as many bits a code, with the "
        "helpers in the names. At equal bits the blocks' KL is 4 times as much for every bit a value "
        "that they "
        "spend more (6.02 dB a bit).</p>\n<table><thead><tr><th class=\"name\">format</th><th>bits</th>"
        "<th>KL</th><th class=\"name\">baseline</th><th>bits</th><th>KL</th><th>its KL over ours</th>"
        "<th>lower</th><th>at equal bits</th><th>lower then</th></tr></thead><tbody>\n",
        out);
    for (size_t i = 0; i < eval->n_pairs; i++)
        write_pair(out, eval, &eval->pairs[i]);
    fputs("</tbody></table>\n", out);
    write_conclusion(out, eval, cli_eval_conclude_pairs);
}

static void write_plots(FILE *out, const cli_eval *eval) {
    if (cli_eval_has_divergence(eval)) {
        fputs("<h2>Divergence against size</h2>\n<p>Formats bare, with all helpers (+crs: "
              "+centre+recent+sinks), and the default.</p>\n",
              out);
        write_key(out, eval);
        cli_eval_plot_sizes(eval, out);
        write_conclusion(out, eval, cli_eval_conclude_sizes);
        fputs("<h2>Every row</h2>\n", out);
        cli_eval_plot_ranking(eval, out);
        write_conclusion(out, eval, cli_eval_conclude_ranking);
        fputs("<h2>Error by layer</h2>\n<p>The error of a layer's own cache, and what the layers below "
              "have passed on.</p>\n",
              out);
        cli_eval_plot_layers(eval, out);
        write_conclusion(out, eval, cli_eval_conclude_layers);
    }
    fputs("<h2>Memory against context</h2>\n", out);
    cli_eval_plot_memory(eval, out);
    write_conclusion(out, eval, cli_eval_conclude_memory);
}

static void write_page(FILE *out, const cli_eval *eval) {
    write_head(out, eval);
    write_facts(out, eval);
    write_costs(out, eval);
    write_divergence(out, eval);
    write_pairs(out, eval);
    write_plots(out, eval);
    cli_page_terms(out);
    fputs("</body></html>\n", out);
}

int cli_eval_write_report(const cli_eval *eval, tq_output *output) {
    char *page = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&page, &size);
    if (!out) return cli_out_of_memory();
    write_page(out, eval);
    const bool whole = !ferror(out);
    int rc = fclose(out) == 0 && whole ? CLI_DONE : cli_out_of_memory();
    if (rc == CLI_DONE) rc = cli_check(NULL, tq_output_bytes(output, page, size));
    free(page);
    return rc;
}
