/* SPDX-License-Identifier: MIT
 * The words of an evaluation's page, explained. */
#include "eval/page.h"

#include "measure/bootstrap.h"
#include "tqkv/cache.h"

static void term(FILE *out, const char *name, const char *what) {
    fprintf(out, "<dt>%s</dt><dd>%s</dd>\n", name, what);
}

static void term_of_intervals(FILE *out) {
    fprintf(
        out,
        "<dt>from, to; interval</dt><dd>Where the mean of a text like this one lies 95 times of 100: the "
        "text is cut into blocks of %d tokens, and %d texts are drawn from them. A text of fewer than %d "
        "blocks has none.</dd>\n"
        "<dt>=, tie</dt><dd>The interval of the difference of two rows' KL, token by token on the same "
        "texts, holds 0: this text cannot tell them apart. That is not to say that they are "
        "equal.</dd>\n",
        MEASURE_BLOCK, MEASURE_RESAMPLES, MEASURE_LEAST_BLOCKS);
}

static void terms_of_names(FILE *out) {
    fprintf(
        out,
        "<dt>tq6/tq4</dt><dd>Keys in tq6, values in tq4; tqB has B bits a value, and a float16 norm a "
        "vector. k-tq4 and v-tq4: the other side in float32.</dd>\n"
        "<dt>+centre</dt><dd>Keys less their mean, for every %d positions, learned from the first %d of "
        "them: a part that all keys share costs no bits.</dd>\n"
        "<dt>+recent, +sinks</dt><dd>The last %d positions, and the first %d, which models look at "
        "whatever the text, stay in float16.</dd>\n"
        "<dt>+crs</dt><dd>In pictures: +centre+recent+sinks.</dd>\n",
        TQ_DEFAULT_CENTRE_STRETCH, TQ_DEFAULT_LEARN_CENTRE, TQ_DEFAULT_RECENT, TQ_DEFAULT_SINKS);
}

void cli_page_terms(FILE *out) {
    fputs("<h2 id=\"words\">Words</h2>\n<dl>\n", out);
    term(
        out, "bits a value, KiB",
        "What the cache takes: all of its bytes, norms, centres and padding too, over the numbers in it. "
        "float16 has 16 bits.");
    term(out, "perplexity, change %",
         "2 to the power of the mean number of bits that the next token was a surprise of; how much more "
         "that is than with float32. It can be less by chance.");
    term(out, "KL",
         "How far the model's prediction of the next token is from the one with float32: the "
         "Kullback-Leibler divergence in nats, 0 where both are the same. Mean, median, and p99: the "
         "value "
         "that 99 of 100 tokens do not exceed.");
    term_of_intervals(out);
    term(out, "same top %", "How often the likeliest next token is the same as with float32.");
    term(out, "cosine mean, p1",
         "Of the angle between what attention gives and what it gives with float32, over tokens, layers "
         "and "
         "heads: 1 is the same direction. p1: one in a hundred is lower.");
    term(out, "tokens a second", "Of this command, with this row alone: no measure of other engines.");
    terms_of_names(out);
    term(out, "+edge=N", "The first and the last N layers in tq8.");
    term(out, "+plain, +matched, +unbiased",
         "How a vector's norm is chosen: as it was, so that the decoded one has it (if no name says "
         "otherwise), or so that products are right on average.");
    term(out, "q8_0, q5_0, q4_0, iq4_nl",
         "Blocks of 32 values with a float16 scale, as llama.cpp has them: 8.5, 5.5 and twice 4.5 bits.");
    term(
        out, "+rotate",
        "Vectors are turned by a fixed rotation before they are cut into blocks, so that no value stands "
        "out; tq formats always are.");
    fputs("</dl>\n", out);
}
