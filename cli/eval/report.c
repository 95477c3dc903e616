/* SPDX-License-Identifier: MIT
 * An evaluation as an HTML page: no scripts, nothing from elsewhere, for light and dark screens. */
#include "eval/eval.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/message.h"
#include "base/outputs.h"
#include "eval/plot.h"
#include "tqkv/version.h"

static const char style[] =
    ":root{color-scheme:light dark;--ink:#1b1f24;--soft:#5b6470;--rule:#d9dee4;--page:#fff;"
    "--dense:#5b6470;--v2:#0b62b0;--v1:#b3541e;--blocks:#16794c;--turned:#8a3f9c;--mixed:#a8243a}\n"
    "@media(prefers-color-scheme:dark){:root{--ink:#e6e9ed;--soft:#a3adb8;--rule:#363d46;--page:#14171b;"
    "--dense:#a3adb8;--v2:#6db3f2;--v1:#f0a06b;--blocks:#5fcf98;--turned:#d39ae3;--mixed:#f38a9b}}\n"
    "body{margin:0 auto;max-width:46rem;padding:1rem;background:var(--page);color:var(--ink);"
    "font:16px/1.5 system-ui,sans-serif}\n"
    "h1{font-size:1.5rem;line-height:1.25;margin:.5rem 0}\n"
    "h2{font-size:1.15rem;margin:2rem 0 .25rem}\n"
    "p{margin:.4rem 0}.soft{color:var(--soft)}\n"
    "svg{display:block;width:100%;height:auto;margin-top:.75rem;font:13px system-ui,sans-serif}\n"
    ".wide{overflow-x:auto}\n"
    "table{border-collapse:collapse;font-size:.85rem;font-variant-numeric:tabular-nums;margin:.75rem 0}\n"
    "th,td{padding:.2rem .6rem;text-align:right;white-space:nowrap;"
    "border-bottom:1px solid var(--rule)}\n"
    "th:first-child,td:first-child{text-align:left;position:sticky;left:0;background:var(--page)}\n"
    "th{color:var(--soft);font-weight:600;vertical-align:bottom}\n"
    ".grid{stroke:var(--rule);stroke-width:1;fill:none}.tick{fill:var(--soft);font-size:12px}\n"
    ".power{font-size:9px}.title{fill:var(--soft)}.line{fill:none;stroke-width:1.6;stroke-opacity:.75}\n"
    ".ring{fill:var(--page);stroke-width:1.6}.lead{stroke:var(--soft);stroke-width:.7;fill:none}\n"
    ".label{stroke:none;paint-order:stroke}\n";

static const char *const families[] = {"dense", "v2", "v1", "blocks", "turned", "mixed"};

static void write_head(FILE *out, const cli_eval *eval) {
    fputs("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
          "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n<title>",
          out);
    cli_plot_escaped(out, eval->shape.name);
    fprintf(out, ": what a compressed KV cache costs</title>\n<style>\n%s", style);
    for (size_t i = 0; i < sizeof families / sizeof families[0]; i++) {
        fprintf(out,
                ".line.%s,.ring.%s{stroke:var(--%s)}.dot.%s,.label.%s{fill:var(--%s)}"
                "td.%s{color:var(--%s)}\n",
                families[i], families[i], families[i], families[i], families[i], families[i], families[i],
                families[i]);
    }
    fputs("</style></head><body>\n", out);
}

static void write_facts(FILE *out, const cli_eval *eval) {
    const double bits = eval->reference_bits / (double)eval->tokens;
    fputs("<h1>", out);
    cli_plot_escaped(out, eval->shape.name);
    fprintf(out, ": what a compressed KV cache costs</h1>\n<p>%zu layers, %zu parameters; %zu tokens of ",
            eval->shape.n_layers, eval->shape.n_parameters, eval->tokens);
    cli_plot_escaped(out, eval->text_path);
    fprintf(out,
            ", a new cache every %zu. The same tokens are decoded one by one with a float32 cache and "
            "with each of the others, and each is compared with a second float32 cache: %.4f bits a "
            "token, a perplexity "
            "of %.4f. "
            "The row float32 is the control.</p>\n<p class=\"soft\">tqkv %s, %.1f s.</p>\n",
            eval->context, bits, exp2(bits), tq_version(), eval->seconds);
}

static void write_row(FILE *out, const cli_eval *eval, const cli_eval_row *row) {
    fprintf(out, "<tr><td class=\"%s\">", cli_eval_colour(row));
    cli_plot_escaped(out, row->name);
    for (size_t k = 0; k < CLI_EVAL_FIGURES; k++) {
        const cli_eval_figure *f = &cli_eval_figures[k];
        if (!f->page_heading) continue;
        fputs("</td><td>", out);
        fprintf(out, f->page_format, f->page_factor * f->of(eval, row));
    }
    fputs("</td></tr>\n", out);
}

static void write_table(FILE *out, const cli_eval *eval) {
    char cut[256], usual[CLI_KV_NAME_SIZE];
    cli_kv_default_name(usual);
    fprintf(
        out,
        "<h2>Figures</h2>\n<p>Size after %zu tokens, norms and centres counted. KL in nats from "
        "the next-token distribution of float32; cosines of attention outputs; tokens per second of each "
        "format alone. %s: %s, keys less a mean of %d for every %d positions, the last %d and the first "
        "%d in float16.</p>\n<div "
        "class=\"wide\"><table><thead><tr><th>format</th>",
        eval->memory_at[eval->n_memory - 1], CLI_EVAL_DEFAULT, usual, TQ_DEFAULT_LEARN_CENTRE,
        TQ_DEFAULT_CENTRE_STRETCH, TQ_DEFAULT_RECENT, TQ_DEFAULT_SINKS);
    for (size_t k = 0; k < CLI_EVAL_FIGURES; k++)
        if (cli_eval_figures[k].page_heading)
            fprintf(out, "<th>%s</th>", cli_eval_figures[k].page_heading);
    fputs("</tr></thead><tbody>\n", out);
    for (size_t i = 0; i < eval->n_rows; i++)
        write_row(out, eval, &eval->rows[i]);
    fputs("</tbody></table></div>\n", out);
    for (size_t i = 0; i < eval->n_rows; i++)
        if (cli_kv_cut(&eval->rows[i].kv, eval->model, cut, sizeof cut))
            fprintf(out, "<p class=\"soft\">%s: %s.</p>\n", eval->rows[i].name, cut);
}

static void write_pair(FILE *out, const cli_eval *eval, const cli_eval_pair *pair) {
    const cli_eval_row *ours = pair->ours, *baseline = pair->baseline;
    fprintf(out,
            "<tr><td class=\"%s\">%s</td><td>%.3f</td><td>%.2e</td><td class=\"%s\">%s</td><td>%.3f</td>"
            "<td>%.2e</td><td>%.2e</td><td>%s</td><td>%s</td></tr>\n",
            cli_eval_colour(ours), ours->name, cli_eval_bits_per_value(eval, ours), ours->kl_mean,
            cli_eval_colour(baseline), baseline->name, cli_eval_bits_per_value(eval, baseline),
            baseline->kl_mean, pair->moved, ours->kl_mean < baseline->kl_mean ? "ours" : "its",
            ours->kl_mean < pair->moved ? "ours" : "its");
}

static void write_pairs(FILE *out, const cli_eval *eval) {
    cli_eval_pair pairs[CLI_EVAL_MAX_PAIRS];
    const size_t n = cli_eval_pairs(eval, pairs);
    if (n == 0) return;
    fputs("<p>Beside blocks of 32 values with a float16 scale. At equal bits: the baseline's KL times 4 "
          "for "
          "every bit a value that it spends more (6.02 dB a bit).</p>\n<div class=\"wide\"><table><thead>"
          "<tr><th>format</th><th>bits</th><th>KL</th><th>baseline</th><th>bits</th><th>KL</th>"
          "<th>at equal<br>bits</th><th>lower</th><th>lower<br>then</th></tr></thead><tbody>\n",
          out);
    for (size_t i = 0; i < n; i++)
        write_pair(out, eval, &pairs[i]);
    fputs("</tbody></table></div>\n", out);
}

static void write_plots(FILE *out, const cli_eval *eval) {
    if (cli_eval_has_divergence(eval)) {
        fputs("<h2>Divergence against size</h2>\n", out);
        cli_eval_plot_sizes(eval, out);
        write_pairs(out, eval);
        fputs("<h2>Every row</h2>\n", out);
        cli_eval_plot_ranking(eval, out);
        fputs("<h2>Error by layer</h2>\n<p>The error of a layer's own cache, and what the layers below "
              "have passed on.</p>\n",
              out);
        cli_eval_plot_layers(eval, out);
    }
    fputs("<h2>Memory against context</h2>\n", out);
    cli_eval_plot_memory(eval, out);
}

static void write_page(FILE *out, const cli_eval *eval) {
    write_head(out, eval);
    write_facts(out, eval);
    write_plots(out, eval);
    write_table(out, eval);
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
