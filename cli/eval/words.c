/* SPDX-License-Identifier: MIT
 * What an evaluation's tables and pictures say, in a sentence each, from the figures alone. Where the
 * text is too short for an interval, nothing is claimed of differences. */
#include "eval/eval.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#if defined(__GNUC__)
__attribute__((format(printf, 2, 3)))
#endif
static void
say(char *text, const char *format, ...) {
    const size_t length = strlen(text);
    va_list values;
    va_start(values, format);
    vsnprintf(text + length, CLI_EVAL_SENTENCE - length, format, values);
    va_end(values);
}

/* Two digits below ten, else a whole number: how many times one thing is another. */
static void say_times(char *text, double times) {
    say(text, times < 9.95 ? "%.2g" : "%.0f", times);
}

static void say_row(const cli_eval *eval, char *text, const cli_eval_row *row) {
    say(text, "%s (%.2f bits)", row->name, cli_eval_bits_per_value(eval, row));
}

/* "A", "A and B", "A, B and 3 more": those that are `chosen`; returns how many. */
static size_t say_rows(const cli_eval *eval, char *text,
                       bool (*chosen)(const cli_eval *eval, const cli_eval_row *row)) {
    enum { NAMED = 6 };
    size_t n = 0, said = 0;
    for (size_t i = 0; i < eval->n_rows; i++)
        n += chosen(eval, &eval->rows[i]);
    const size_t last = n > NAMED ? NAMED : n;
    for (size_t i = 0; i < eval->n_rows && said < last; i++) {
        if (!chosen(eval, &eval->rows[i])) continue;
        said++;
        say(text, "%s%s", said == 1 ? "" : said == n ? " and " : ", ", eval->rows[i].name);
    }
    if (n > last) say(text, " and %zu more", n - last);
    return n;
}

/* The row that loses most, where it is sure to lose. */
static void say_worst(const cli_eval *eval, char *text) {
    const cli_eval_row *worst = &eval->rows[0];
    for (size_t i = 1; i < eval->n_rows; i++)
        if (eval->rows[i].bits_change > worst->bits_change) worst = &eval->rows[i];
    if (!cli_eval_is_default(worst) && worst->change_interval.low > 0.0)
        say(text, " The most is lost with %s: %+.3f %%.", worst->name,
            100.0 * cli_eval_perplexity_change(worst->bits_change));
}

void cli_eval_conclude_costs(const cli_eval *eval, char text[CLI_EVAL_SENTENCE]) {
    const cli_eval_row *usual = cli_eval_find(eval, CLI_EVAL_DEFAULT);
    text[0] = '\0';
    if (!usual) {
        say(text, "The default is not among these rows: nothing is said about it.");
        return;
    }
    const measure_interval *i = &usual->change_interval;
    const double bits = cli_eval_bits_per_value(eval, usual);
    say(text, "The default changes the perplexity by %+.3f %%",
        100.0 * cli_eval_perplexity_change(usual->bits_change));
    if (isnan(i->low)) {
        say(text, "; the text is too short to say how sure that is.");
    } else {
        say(text, " (95 %%: %+.3f to %+.3f), %s.", 100.0 * cli_eval_perplexity_change(i->low),
            100.0 * cli_eval_perplexity_change(i->high),
            cli_eval_holds_zero(i) ? "which this text cannot tell from none"
            : i->low > 0.0         ? "a loss"
                                   : "a gain on this text");
    }
    say(text, " It takes %.2f bits a value; float16 takes 16.", bits);
    say_worst(eval, text);
}

static bool is_tie(const cli_eval *eval, const cli_eval_row *row) {
    (void)eval;
    return cli_eval_ties(row);
}

static bool has_fewer_bits(const cli_eval *eval, const cli_eval_row *row) {
    const cli_eval_row *usual = cli_eval_find(eval, CLI_EVAL_DEFAULT);
    return usual && cli_eval_bits_per_value(eval, row) < cli_eval_bits_per_value(eval, usual);
}

static bool is_cheaper_and_no_worse(const cli_eval *eval, const cli_eval_row *row) {
    return has_fewer_bits(eval, row) && row->beside.low <= 0.0;
}

/* Of the rows that are `chosen`, the least mean KL; NULL: none. */
static const cli_eval_row *nearest(const cli_eval *eval,
                                   bool (*chosen)(const cli_eval *eval, const cli_eval_row *row)) {
    const cli_eval_row *least = NULL;
    for (size_t i = 0; i < eval->n_rows; i++) {
        const cli_eval_row *row = &eval->rows[i];
        if (chosen(eval, row) && (!least || row->kl_mean < least->kl_mean)) least = row;
    }
    return least;
}

static bool is_compressed(const cli_eval *eval, const cli_eval_row *row) {
    (void)eval;
    return row->kv.store == LM_STORE_CACHE || row->kv.store == LM_STORE_BLOCKS;
}

static void conclude_beside_default(const cli_eval *eval, const cli_eval_row *usual, char *text) {
    char ties[CLI_EVAL_SENTENCE] = "", cheaper[CLI_EVAL_SENTENCE] = "";
    if (say_rows(eval, ties, is_tie))
        say(text, "Not told apart from the default by this text: %s. ", ties);
    const cli_eval_row *next = nearest(eval, has_fewer_bits);
    if (!next) {
        say(text, "No row has fewer bits than the default.");
    } else if (say_rows(eval, cheaper, is_cheaper_and_no_worse)) {
        say(text, "At fewer bits, not seen to be worse than the default: %s.", cheaper);
    } else {
        say(text, "Every row of fewer bits is further from float32 than the default: the nearest, ");
        say_row(eval, text, next);
        say(text, ", has ");
        say_times(text, next->kl_mean / usual->kl_mean);
        say(text, " times its KL.");
    }
}

void cli_eval_conclude_divergence(const cli_eval *eval, char text[CLI_EVAL_SENTENCE]) {
    const cli_eval_row *usual = cli_eval_find(eval, CLI_EVAL_DEFAULT), *least;
    text[0] = '\0';
    if (usual && !isnan(usual->beside.low)) {
        conclude_beside_default(eval, usual, text);
        return;
    }
    if (usual)
        say(text,
            "The text is too short to tell rows from the default: that takes %d blocks of %d tokens. ",
            MEASURE_LEAST_BLOCKS, MEASURE_BLOCK);
    if ((least = nearest(eval, is_compressed)) != NULL) {
        say(text, "The least mean KL of the compressed rows has ");
        say_row(eval, text, least);
        say(text, ".");
    }
}

/* The pair whose mean KLs are the most times apart; NULL: none that can be told. */
static const cli_eval_pair *widest(const cli_eval *eval) {
    const cli_eval_pair *found = NULL;
    double most = 0.0;
    for (size_t i = 0; i < eval->n_pairs; i++) {
        const cli_eval_pair *pair = &eval->pairs[i];
        const double apart = fabs(log(pair->ours->kl_mean / pair->baseline->kl_mean));
        if (isfinite(apart) && apart > most && !isnan(pair->beside.low) &&
            !cli_eval_holds_zero(&pair->beside)) {
            found = pair;
            most = apart;
        }
    }
    return found;
}

static void say_widest(const cli_eval *eval, char *text) {
    const cli_eval_pair *pair = widest(eval);
    if (!pair) return;
    const bool ours = pair->ours->kl_mean < pair->baseline->kl_mean;
    const cli_eval_row *low = ours ? pair->ours : pair->baseline,
                       *high = ours ? pair->baseline : pair->ours;
    say(text, " Widest apart: ");
    say_row(eval, text, high);
    say(text, " has ");
    say_times(text, high->kl_mean / low->kl_mean);
    say(text, " times the KL of ");
    say_row(eval, text, low);
    say(text, ".");
}

void cli_eval_conclude_pairs(const cli_eval *eval, char text[CLI_EVAL_SENTENCE]) {
    size_t ours[2] = {0}, ties[2] = {0};
    const size_t n = eval->n_pairs;
    text[0] = '\0';
    if (n == 0) return;
    if (isnan(eval->pairs[0].beside.low)) {
        say(text, "The text is too short to tell the two of a pair apart.");
        return;
    }
    for (size_t i = 0; i < n; i++) {
        for (int moved = 0; moved < 2; moved++) {
            ours[moved] += strcmp(cli_eval_lower(&eval->pairs[i], moved), "ours") == 0;
            ties[moved] += strcmp(cli_eval_lower(&eval->pairs[i], moved), "tie") == 0;
        }
    }
    say(text,
        "Of %zu pair%s tq is nearer to float32 in %zu, the baseline in %zu, and %zu cannot be told "
        "apart; at equal bits %zu, %zu and %zu.",
        n, n == 1 ? "" : "s", ours[0], n - ours[0] - ties[0], ties[0], ours[1], n - ours[1] - ties[1],
        ties[1]);
    say_widest(eval, text);
}

static bool is_below_default(const cli_eval *eval, const cli_eval_row *row) {
    const cli_eval_row *usual = cli_eval_find(eval, CLI_EVAL_DEFAULT);
    return cli_eval_has_size_dot(row) && has_fewer_bits(eval, row) && row->kl_mean < usual->kl_mean;
}

void cli_eval_conclude_sizes(const cli_eval *eval, char text[CLI_EVAL_SENTENCE]) {
    const cli_eval_row *usual = cli_eval_find(eval, CLI_EVAL_DEFAULT);
    char better[CLI_EVAL_SENTENCE] = "";
    text[0] = '\0';
    if (!usual || !cli_eval_has_size_dot(usual))
        say(text, "Further down is nearer to float32, further left is smaller.");
    else if (say_rows(eval, better, is_below_default))
        say(text, "Smaller than the default and with a lower mean KL: %s.", better);
    else
        say(text, "Nothing drawn here is both smaller than the default and lower in mean KL.");
}

void cli_eval_conclude_ranking(const cli_eval *eval, char text[CLI_EVAL_SENTENCE]) {
    const cli_eval_row *usual = cli_eval_find(eval, CLI_EVAL_DEFAULT), *low = NULL, *high = NULL;
    size_t n = 0, below = 0;
    text[0] = '\0';
    for (size_t i = 0; i < eval->n_rows; i++) {
        const cli_eval_row *row = &eval->rows[i];
        if (row->kl_mean <= 0.0) continue;
        if (!low || row->kl_mean < low->kl_mean) low = row;
        if (!high || row->kl_mean > high->kl_mean) high = row;
        n++;
        below += usual && row->kl_mean < usual->kl_mean;
    }
    if (n == 0) return;
    say(text, "Mean KL goes from %.1e nats with %s to %.1e with %s.", low->kl_mean, low->name,
        high->kl_mean, high->name);
    if (usual && usual->kl_mean > 0.0 && n > 1)
        say(text, " The default is place %zu of %zu from the bottom.", below + 1, n);
}

void cli_eval_conclude_layers(const cli_eval *eval, char text[CLI_EVAL_SENTENCE]) {
    const cli_eval_row *row = cli_eval_find(eval, CLI_EVAL_DEFAULT);
    size_t most = 0, least = 0;
    text[0] = '\0';
    if (!row) row = nearest(eval, is_compressed);
    if (!row || eval->shape.n_layers < 2) return;
    for (size_t i = 1; i < eval->shape.n_layers; i++) {
        if (cli_eval_layer_error(row, i) > cli_eval_layer_error(row, most)) most = i;
        if (cli_eval_layer_error(row, i) < cli_eval_layer_error(row, least)) least = i;
    }
    say(text, "With %s the error is largest in layer %zu (%.1e) and smallest in layer %zu (%.1e).",
        cli_eval_is_default(row) ? "the default" : row->name, most, cli_eval_layer_error(row, most),
        least, cli_eval_layer_error(row, least));
}

void cli_eval_conclude_memory(const cli_eval *eval, char text[CLI_EVAL_SENTENCE]) {
    static const double mib = 1024.0 * 1024.0;
    const cli_eval_row *usual = cli_eval_find(eval, CLI_EVAL_DEFAULT);
    text[0] = '\0';
    if (!usual) return;
    const double bytes = (double)usual->bytes, dense = 2.0 * (double)usual->values;
    say(text, "After %zu tokens the default takes %.3g MiB where float16 takes %.3g",
        eval->memory_at[eval->n_memory - 1], bytes / mib, dense / mib);
    if (bytes >= dense) {
        say(text, ": nothing of so short a cache is encoded.");
        return;
    }
    say(text, ": ");
    say_times(text, dense / bytes);
    say(text, " times less. Its positions in float16 are a smaller share of a longer cache.");
}
