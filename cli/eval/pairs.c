/* SPDX-License-Identifier: MIT
 * tq formats beside block baselines of as many bits a code: which is nearer to float32, and whether the
 * text can tell. */
#include "eval/eval.h"

#include <math.h>

#include "base/message.h"

/* The same helpers on both sides. Blocks are rotated, without which they are no match. */
static const char *const names[CLI_EVAL_MAX_PAIRS][2] = {
    {"tq8", "q8_0+rotate"},
    {"tq4", "q4_0+rotate"},
    {"tq4+centre+recent+sinks", "q4_0+rotate+recent+sinks"},
    {"tq4+centre+recent+sinks", "q4_0+rotate+centre+recent+sinks"},
};

int cli_eval_find_pairs(cli_eval *eval, double *room) {
    eval->n_pairs = 0;
    for (size_t i = 0; i < CLI_EVAL_MAX_PAIRS; i++) {
        cli_eval_pair pair = {cli_eval_find(eval, names[i][0]),
                              cli_eval_find(eval, names[i][1]),
                              1.0,
                              {NAN, NAN},
                              {NAN, NAN}};
        if (!pair.ours || !pair.baseline) continue;
        const double more =
            cli_eval_bits_per_value(eval, pair.baseline) - cli_eval_bits_per_value(eval, pair.ours);
        pair.factor = exp2(2.0 * more);
        TRY(cli_eval_compare(eval, pair.ours, pair.baseline, 1.0, room, &pair.beside));
        TRY(cli_eval_compare(eval, pair.ours, pair.baseline, pair.factor, room, &pair.beside_moved));
        eval->pairs[eval->n_pairs++] = pair;
    }
    return CLI_DONE;
}

const char *cli_eval_lower(const cli_eval_pair *pair, bool moved) {
    const measure_interval *interval = moved ? &pair->beside_moved : &pair->beside;
    if (cli_eval_holds_zero(interval)) return "tie";
    return pair->ours->kl_mean < (moved ? pair->factor : 1.0) * pair->baseline->kl_mean ? "ours" : "its";
}
