/* SPDX-License-Identifier: MIT
 * Figures of an evaluation: divergences of next-token distributions, angles of attention outputs. */
#include "eval/eval.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/message.h"
#include "measure/distance.h"
#include "measure/percentile.h"

static const double log2_e = 1.4426950408889634074;

/* -log2 of the probability of the token that came. */
static double surprise(const measure_softmax *s, const float *logits, uint32_t next) {
    return (s->log_sum - (double)logits[next]) * log2_e;
}

void cli_eval_add_reference(cli_eval *eval, cli_eval_reference *r, const float *logits, uint32_t next) {
    r->logits = logits;
    r->softmax = measure_softmax_of(logits, eval->shape.vocab, r->p);
    eval->token_bits = surprise(&r->softmax, logits, next);
    eval->reference_bits += eval->token_bits;
}

void cli_eval_add_token(const cli_eval *eval, cli_eval_row *row, size_t t, const cli_eval_reference *r,
                        const float *logits, uint32_t next) {
    const measure_softmax s =
        measure_softmax_beside(r->logits, r->p, &r->softmax, logits, eval->shape.vocab, &row->kl[t]);
    row->bits[t] = surprise(&s, logits, next) - eval->token_bits;
    row->same_top += s.top == r->softmax.top;
}

/* 1 less the cosine of a and b; exactly 0 for equal vectors, which rounding would spoil. */
static double angle(const measure_sums *s) {
    if (s->error == 0.0) return 0.0;
    return s->aa == 0.0 || s->bb == 0.0 ? 1.0 : 1.0 - s->ab / sqrt(s->aa) / sqrt(s->bb);
}

void cli_eval_add_outputs(cli_eval_row *row, size_t layer, size_t t, size_t n_outputs, size_t first,
                          size_t n_heads, size_t head_dim, const float *reference, const float *out) {
    for (size_t h = 0; h < n_heads; h++) {
        const measure_sums s = measure_sums_of(reference + h * head_dim, out + h * head_dim, head_dim);
        row->angles[t * n_outputs + first + h] = (float)angle(&s);
        row->error[layer] += s.error;
        row->size[layer] += s.aa;
    }
}

static double mean(const double *x, size_t n) {
    double sum = 0.0;
    for (size_t i = 0; i < n; i++)
        sum += x[i];
    return sum / (double)n;
}

int cli_eval_compare(const cli_eval *eval, const cli_eval_row *a, const cli_eval_row *b, double factor,
                     double *room, measure_interval *interval) {
    for (size_t t = 0; t < eval->tokens; t++)
        room[t] = a->kl[t] - factor * b->kl[t];
    return measure_bootstrap(room, eval->tokens, interval) == 0 ? CLI_DONE : cli_out_of_memory();
}

/* While kl is still in the text's order. room: [tokens]. */
static int find_intervals(const cli_eval *eval, cli_eval_row *row, double *room) {
    const cli_eval_row *usual = cli_eval_find(eval, CLI_EVAL_DEFAULT);
    row->beside = (measure_interval){NAN, NAN};
    if (measure_bootstrap(row->bits, eval->tokens, &row->change_interval) != 0 ||
        measure_bootstrap(row->kl, eval->tokens, &row->kl_interval) != 0)
        return cli_out_of_memory();
    return usual ? cli_eval_compare(eval, row, usual, 1.0, room, &row->beside) : CLI_DONE;
}

bool cli_eval_holds_zero(const measure_interval *interval) {
    return interval->low <= 0.0 && interval->high >= 0.0;
}

bool cli_eval_is_default(const cli_eval_row *row) {
    return strcmp(row->name, CLI_EVAL_DEFAULT) == 0;
}

bool cli_eval_ties(const cli_eval_row *row) {
    return !cli_eval_is_default(row) && cli_eval_holds_zero(&row->beside);
}

static void summarise_row(const cli_eval *eval, cli_eval_row *row) {
    const size_t n_angles = eval->tokens * eval->n_outputs;
    double angles = 0.0;
    for (size_t i = 0; i < n_angles; i++)
        angles += (double)row->angles[i];
    row->bits_change = mean(row->bits, eval->tokens);
    row->kl_mean = mean(row->kl, eval->tokens);
    measure_sort(row->kl, eval->tokens);
    measure_sort_floats(row->angles, n_angles);
    row->kl_median = row->kl[measure_rank(eval->tokens, 50)];
    row->kl_p99 = row->kl[measure_rank(eval->tokens, 99)];
    row->cosine_mean = 1.0 - angles / (double)n_angles;
    row->cosine_p1 = 1.0 - (double)row->angles[measure_rank(n_angles, 99)];
}

int cli_eval_summarise(cli_eval *eval) {
    double *room = malloc(eval->tokens * sizeof *room);
    int rc = room ? CLI_DONE : cli_out_of_memory();
    for (size_t i = 0; rc == CLI_DONE && i < eval->n_rows; i++)
        rc = find_intervals(eval, &eval->rows[i], room);
    if (rc == CLI_DONE) rc = cli_eval_find_pairs(eval, room);
    for (size_t i = 0; rc == CLI_DONE && i < eval->n_rows; i++)
        summarise_row(eval, &eval->rows[i]);
    free(room);
    return rc;
}

double cli_eval_reference_bits(const cli_eval *eval) {
    return eval->reference_bits / (double)eval->tokens;
}

double cli_eval_perplexity_change(double bits) {
    return exp2(bits) - 1.0;
}

double cli_eval_bits_per_value(const cli_eval *eval, const cli_eval_row *row) {
    (void)eval;
    return 8.0 * (double)row->bytes / (double)row->values;
}

double cli_eval_layer_error(const cli_eval_row *row, size_t layer) {
    return row->size[layer] > 0.0 ? row->error[layer] / row->size[layer] : 0.0;
}

const cli_eval_row *cli_eval_find(const cli_eval *eval, const char *name) {
    for (size_t i = 0; i < eval->n_rows; i++)
        if (strcmp(eval->rows[i].name, name) == 0) return &eval->rows[i];
    return NULL;
}

/* How each comes out of a row. */
#define FIGURE(name, value)                                                                              \
    static double name(const cli_eval *eval, const cli_eval_row *row) {                                  \
        (void)eval;                                                                                      \
        return value;                                                                                    \
    }
FIGURE(bytes, (double)row->bytes)
FIGURE(change, row->bits_change)
FIGURE(bits_per_token, cli_eval_reference_bits(eval) + row->bits_change)
FIGURE(perplexity, exp2(bits_per_token(eval, row)))
FIGURE(perplexity_change, cli_eval_perplexity_change(row->bits_change))
FIGURE(perplexity_low, cli_eval_perplexity_change(row->change_interval.low))
FIGURE(perplexity_high, cli_eval_perplexity_change(row->change_interval.high))
FIGURE(kl_mean, row->kl_mean)
FIGURE(kl_low, row->kl_interval.low)
FIGURE(kl_high, row->kl_interval.high)
FIGURE(kl_median, row->kl_median)
FIGURE(kl_p99, row->kl_p99)
FIGURE(same_top, (double)row->same_top / (double)eval->tokens)
FIGURE(cosine_mean, row->cosine_mean)
FIGURE(cosine_p1, row->cosine_p1)
FIGURE(tokens_per_second, 1.0 / row->token_seconds)

const cli_eval_figure cli_eval_figures[CLI_EVAL_FIGURES] = {
    {"bits_per_value", true, "bits", "%.3f", 1, "bits a value", "%.3f", 1, cli_eval_bits_per_value},
    {"cache_bytes", true, "bytes", "%zu", 1, "KiB", "%.0f", 1.0 / 1024, bytes},
    {"bits_per_token", true, NULL, "%.4f", 1, NULL, NULL, 1, bits_per_token},
    {"bits_change", true, NULL, "%+.5f", 1, NULL, NULL, 1, change},
    {"perplexity", true, NULL, "%.4f", 1, "perplexity", "%.4f", 1, perplexity},
    {"perplexity_change", true, "change %", "%+.3f", 100, "change %", "%+.3f", 100, perplexity_change},
    {"perplexity_change_low", true, "from", "%+.3f", 100, "change from", "%+.3f", 100, perplexity_low},
    {"perplexity_change_high", true, "to", "%+.3f", 100, "change to", "%+.3f", 100, perplexity_high},
    {"kl_mean", false, "KL mean", "%.2e", 1, "KL mean", "%.2e", 1, kl_mean},
    {"kl_low", false, "from", "%.1e", 1, "KL from", "%.1e", 1, kl_low},
    {"kl_high", false, "to", "%.1e", 1, "KL to", "%.1e", 1, kl_high},
    {"kl_median", false, NULL, "%.2e", 1, "median", "%.2e", 1, kl_median},
    {"kl_p99", false, "p99", "%.2e", 1, "p99", "%.2e", 1, kl_p99},
    {"same_top", false, "top %", "%.2f", 100, "same top %", "%.2f", 100, same_top},
    {"cosine_mean", false, NULL, "%.5f", 1, "cosine mean", "%.5f", 1, cosine_mean},
    {"cosine_p1", false, NULL, "%.4f", 1, "cosine p1", "%.4f", 1, cosine_p1},
    {"tokens_per_second", true, NULL, "%.0f", 1, "tokens a second", "%.0f", 1, tokens_per_second},
};
