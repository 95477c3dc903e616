/* SPDX-License-Identifier: MIT
 * An ablation's verdict in words. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "ablate/ablate.h"
#include "base/message.h"
#include "tqkv/codec.h"

const char *cli_stage_name(cli_stage stage) {
    static const char *const names[] = {"none",         "keys",  "values",   "softmax",
                                        "accumulation", "merge", "attention"};
    return names[stage];
}

/* A text that grows; what does not fit is left out. */
typedef struct words {
    char *text;
    size_t size, used;
} words;

#if defined(__GNUC__)
__attribute__((format(printf, 2, 3)))
#endif
static void
say(words *w, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    const int n = vsnprintf(w->text + w->used, w->size - w->used, format, arguments);
    va_end(arguments);
    if (n > 0) w->used = (size_t)n < w->size - w->used ? w->used + (size_t)n : w->size - 1;
}

static void say_scale(words *w, const cli_finding *f, const char *what) {
    static const double known[] = {22.627416997969522, 16.0, 11.313708498984761, 8.0};
    static const char *const names[] = {"512", "256", "128", "64"};
    say(w, "%s are %.5g times what they should be", what, f->factor);
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (fabs(f->factor / known[i] - 1.0) < 1e-3)
            say(w, ": norms multiplied by sqrt(%s)?", names[i]);
        else if (fabs(f->factor * known[i] - 1.0) < 1e-3)
            say(w, ": norms divided by sqrt(%s)?", names[i]);
}

static void say_cause(words *w, const cli_finding *f, size_t head_dim) {
    /* Of the stages after keys and values, which have no cause. */
    static const char *const later[] = {
        [CLI_STAGE_SOFTMAX] = "keys and values are read rightly: scale, mask, softcap or exponentials?",
        [CLI_STAGE_ACCUMULATION] = "the log-sum-exp is right: the weighted sum?",
        [CLI_STAGE_MERGE] =
            "each eighth of the positions alone is right: the running sums' rescaling, or "
            "the merge of splits?",
        [CLI_STAGE_ATTENTION] = "a device's keys and values are read rightly, one by one: scale, mask, "
                                "softcap, exponentials, sums or their merge?",
    };
    const char *what = cli_stage_name(f->stage);
    say(w, "; ");
    if (f->stage > CLI_STAGE_VALUES) {
        say(w, "%s", later[f->stage]);
        return;
    }
    switch (f->cause) {
    case CLI_CAUSE_SCALE:
        say_scale(w, f, what);
        break;
    case CLI_CAUSE_ORDER:
        say(w, "position p has the %s of position p %c %lld: a ring start off by %lld?", what,
            f->shift < 0 ? '-' : '+', f->shift < 0 ? -f->shift : f->shift,
            f->shift < 0 ? -f->shift : f->shift);
        break;
    case CLI_CAUSE_SIGNS:
        say(w,
            "%s have the right magnitudes and the wrong sign in %zu of %zu coordinates: a sign table "
            "left out, or another one?",
            what, f->flipped, head_dim);
        break;
    case CLI_CAUSE_CENTRE:
        say(w, "%s of neighbours are off by the same vector: a centre left out, or another stretch's?",
            what);
        break;
    case CLI_CAUSE_ROTATION:
        say(w, "%s have the right lengths and wrong directions: another rotation or sign table?", what);
        break;
    case CLI_CAUSE_ROUNDING:
        say(w, "too small for a wrong scale, order or rotation: rounding?");
        break;
    case CLI_CAUSE_UNKNOWN:
        say(w, "no constant factor, shift of positions, sign table or rotation explains it: wrong codes, "
               "centroids or lanes?");
        break;
    }
}

static void say_floor(words *w, const cli_ablate_input *in, const cli_ablation *result) {
    double worst = 0.0;
    for (size_t i = 0; i < result->n_rows; i++)
        worst = fmax(worst, result->rows[i].worst);
    say(w,
        "representation floor: every path agrees with float64 on what its cache holds, to %.2g "
        "(bound %.2g); what %s costs is %.2g",
        worst, result->bound, in->way->name, result->decoded->nrmse_original);
}

void cli_verdict(const cli_ablate_input *in, const cli_ablation *result, char *text, size_t size) {
    const cli_finding *f = &result->finding;
    words w = {text, size, 0};
    text[0] = '\0';
    if (f->stage == CLI_STAGE_NONE) {
        say_floor(&w, in, result);
        return;
    }
    say(&w, "kernel error in path %s: first in %s %zu, position", f->path,
        f->stage <= CLI_STAGE_VALUES ? "KV head" : "head", f->head);
    if (f->first == f->last)
        say(&w, " %zu", f->first);
    else
        say(&w, "s %zu to %zu", f->first, f->last);
    say(&w, ", stage %s: %.2g against a bound of %.2g", cli_stage_name(f->stage), f->size, f->bound);
    say_cause(&w, f, in->params.head_dim);
}
