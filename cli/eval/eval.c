/* SPDX-License-Identifier: MIT
 * tqkv eval: what each format costs a language model, on the same text. */
#include "eval/eval.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/attention.h"
#include "base/message.h"
#include "base/outputs.h"
#include "base/text.h"
#include "base/threads.h"
#include "tqkv/io.h"

enum {
    MODEL,
    TEXT,
    TOKENS,
    CONTEXT,
    FORMATS,
    K_FORMAT,
    V_FORMAT,
    RECENT,
    SINKS,
    CENTER,
    ARITHMETIC,
    THREADS,
    JSON,
    REPORT,
    DUMP,
    N_OPTIONS
};

enum { DEFAULT_TOKENS = 4096 };

static const char default_text[] = "kjv-heldout.txt";

static int take_options(cli_eval *eval, const cli_option *options) {
    eval->model_path = options[MODEL].value;
    eval->tokens = eval->context = DEFAULT_TOKENS;
    TRY(cli_take_count(&options[TOKENS], 1, SIZE_MAX / 64, &eval->tokens));
    TRY(cli_take_count(&options[CONTEXT], 1, SIZE_MAX / 64, &eval->context));
    TRY(cli_take_arithmetic(&options[ARITHMETIC], &eval->arithmetic));
    return cli_take_count(&options[THREADS], 1, CLI_MAX_THREADS, &eval->threads);
}

static bool has_v2_codes(const lm_kv *kv) {
    return kv->store == LM_STORE_CACHE &&
           ((!kv->k_dense && !TQ_IS_V1(kv->k_format)) || (!kv->v_dense && !TQ_IS_V1(kv->v_format)));
}

/* To all rows. */
static int set_arithmetic(cli_eval *eval, const cli_option *option) {
    bool used = false;
    for (size_t i = 0; i < eval->n_rows; i++) {
        eval->rows[i].kv.arithmetic = eval->arithmetic;
        used = used || has_v2_codes(&eval->rows[i].kv);
    }
    if (used || !option->given) return CLI_DONE;
    return cli_misuse("--arithmetic does nothing with these --formats: none has codes of v2");
}

static int add_rows(cli_eval *eval, const cli_option *options) {
    const cli_kv_options own = {&options[K_FORMAT], &options[V_FORMAT], &options[RECENT], &options[SINKS],
                                &options[CENTER]};
    char name[CLI_KV_NAME_SIZE];
    TRY(cli_kv_name_from_options(&own, name));
    TRY(cli_eval_add_rows(eval, options[FORMATS].given ? options[FORMATS].value : "main"));
    if (name[0]) TRY(cli_eval_add_rows(eval, name));
    return set_arithmetic(eval, &options[ARITHMETIC]);
}

static int load_model(cli_eval *eval) {
    TRY(cli_check(NULL, lm_model_load(eval->model_path, &eval->model)));
    eval->shape = lm_model_shape(eval->model);
    return CLI_DONE;
}

/* Every token needs the one after it: what the model should have said. */
static int read_text(cli_eval *eval, uint32_t **text) {
    size_t held = 0;
    TRY(cli_read_tokens(eval->text_path, eval->model, eval->tokens + 1, text, &held));
    if (held <= eval->tokens)
        return cli_fail("%s: %zu tokens; --tokens %zu needs %zu: give a longer --text or fewer --tokens",
                        eval->text_path, held, eval->tokens, eval->tokens + 1);
    eval->text = *text;
    return CLI_DONE;
}

/* Whether no layer gets to the positions that it would encode. A stretch that sinks begin has fewer keys
 * to learn from. */
static bool stays_dense(const cli_eval *eval, const lm_kv *kv, size_t reach) {
    size_t keys = kv->learn_centre;
    if (kv->centre_stretch > 0 && kv->centre_stretch - kv->sinks % kv->centre_stretch < keys)
        keys = kv->centre_stretch - kv->sinks % kv->centre_stretch;
    bool dense = true;
    for (size_t i = 0; dense && i < eval->shape.n_layers; i++) {
        const lm_layer_shape layer = lm_model_layer(eval->model, i);
        dense = reach <= kv->sinks + lm_layer_holds(&layer, kv->recent) ||
                reach < kv->sinks + lm_layer_holds(&layer, keys);
    }
    return dense;
}

/* What the figures would not show although a row's name promises it. */
static void note_short_text(const cli_eval *eval) {
    const size_t reach = eval->tokens < eval->context ? eval->tokens : eval->context;
    uint64_t window = 0;
    for (size_t i = 0; i < eval->shape.n_layers; i++) {
        const uint64_t w = lm_model_layer(eval->model, i).window;
        window = w > window ? w : window;
    }
    if (reach <= window)
        cli_note("%zu tokens do not pass the window of %zu: rings do not wrap", reach, (size_t)window);
    for (size_t i = 0; i < eval->n_rows; i++) {
        const cli_eval_row *row = &eval->rows[i];
        if (stays_dense(eval, &row->kv, reach))
            cli_note("%s: %zu tokens stay in float16; nothing is encoded", row->name, reach);
    }
}

static int print(const cli_eval *eval, bool as_json, const char *report) {
    if (as_json) return cli_eval_print_json(eval);
    TRY(cli_eval_print_tables(eval));
    if (report) cli_print_line("# report: %s/index.html", report);
    return cli_flush_output();
}

/* What is written comes into place together, after all that can fail. NULL: not wanted. */
typedef struct results {
    tq_outputs *outputs;
    cli_dump dump;
    tq_output *page;
} results;

static int open_results(results *r, const cli_eval *eval, const char *dump, const char *report) {
    const size_t reach = eval->tokens < eval->context ? eval->tokens : eval->context;
    if (dump) TRY(cli_dump_begin(&r->dump, &r->outputs, dump, eval->model, reach));
    if (!report) return CLI_DONE;
    TRY(cli_open_folder(&r->outputs, report));
    return cli_open_output_in(&r->outputs, report, "index.html", &r->page);
}

static int evaluate(cli_eval *eval, const cli_option *options, results *r) {
    note_short_text(eval);
    TRY(open_results(r, eval, options[DUMP].value, options[REPORT].value));
    TRY(cli_eval_run(eval, options[DUMP].given ? &r->dump : NULL));
    TRY(cli_dump_write(&r->dump));
    if (r->page) TRY(cli_eval_write_report(eval, r->page));
    return print(eval, options[JSON].given, options[REPORT].value);
}

/* The default text's path, as a new string; NULL when memory ran out. */
static char *beside_model(const char *model) {
    const char *slash = strrchr(model, '/');
    const size_t length = slash ? (size_t)(slash - model) + 1 : 0;
    char *path = malloc(length + sizeof default_text);
    if (!path) return NULL;
    memcpy(path, model, length);
    memcpy(path + length, default_text, sizeof default_text);
    return path;
}

static int prepare(cli_eval *eval, const cli_option *options, char **beside, uint32_t **text) {
    TRY(take_options(eval, options));
    TRY(load_model(eval));
    *beside = beside_model(eval->model_path);
    eval->text_path = options[TEXT].given ? options[TEXT].value : *beside;
    if (!eval->text_path) return cli_out_of_memory();
    TRY(add_rows(eval, options));
    return read_text(eval, text);
}

static int run(const cli_args *args) {
    cli_eval_row rows[CLI_EVAL_MAX_ROWS];
    cli_eval eval = {.rows = rows};
    results r = {0};
    uint32_t *text = NULL;
    char *beside = NULL;
    int rc = prepare(&eval, args->options, &beside, &text);
    if (rc == CLI_DONE) rc = evaluate(&eval, args->options, &r);
    rc = cli_close_outputs(r.outputs, rc);
    cli_dump_free(&r.dump);
    cli_eval_free_rows(&eval);
    lm_model_free(eval.model);
    free(text);
    free(beside);
    return rc;
}

static const cli_option_spec specs[N_OPTIONS] = {
    [MODEL] = {"model", 0, "M.safetensors", "the language model"},
    [TEXT] = {"text", 0, "FILE", "what it reads; kjv-heldout.txt beside the model"},
    [TOKENS] = {"tokens", 0, "N", "how many tokens of it; 4096"},
    [CONTEXT] = {"context", 0, "N", "a new cache after so many; 4096"},
    [FORMATS] = {"formats", 0, "LIST", "names with commas between; main, all, default"},
    [K_FORMAT] = {"k-format", 0, "FORMAT", "one more row: keys"},
    [V_FORMAT] = {"v-format", 0, "FORMAT", "and values"},
    [RECENT] = {"recent", 0, "R", "its last positions in float16"},
    [SINKS] = {"sinks", 0, "S", "its first positions in float16"},
    [CENTER] = {"center", 0, NULL, "its keys less a mean for every 256 positions"},
    [ARITHMETIC] = {"arithmetic", 0, "float|integer|default", "of products with v2 codes; the faster"},
    [THREADS] = {"threads", 0, "N", "threads; as many as processors"},
    [JSON] = {"json", 0, NULL, "print one JSON object"},
    [REPORT] = {"report", 0, "DIR", "write DIR/index.html"},
    [DUMP] = {"dump", 0, "DIR", "write q, k and v as DIR/*.npy"},
};

const cli_command cli_eval_command = {
    .name = "eval",
    .summary = "Measure what each format costs a language model",
    .synopsis = "--model M.safetensors [--formats LIST]\n         [--tokens N] [--report DIR] [--json]",
    .examples = "  tqkv eval --model models/kjv-swa.safetensors\n"
                "  tqkv eval --model models/kjv-bias.safetensors \\\n"
                "      --formats k-tq4,k-tq4+centre,tq8/tq4+recent=64 --report out\n",
    .specs = specs,
    .n_specs = N_OPTIONS,
    .needed = 1u << MODEL,
    .run = run,
};
