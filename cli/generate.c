/* SPDX-License-Identifier: MIT
 * tqkv generate: a language model writes, with its cache in any format. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/heads.h"
#include "base/kv_name.h"
#include "base/message.h"
#include "base/text.h"
#include "base/threads.h"
#include "lm/lm.h"
#include "measure/timing.h"
#include "tqkv/codec.h"

enum {
    MODEL,
    PROMPT,
    PROMPT_TOKENS,
    N_TOKENS,
    SEED,
    TEMPERATURE,
    ANSWER,
    FORMAT,
    K_FORMAT,
    V_FORMAT,
    RECENT,
    SINKS,
    CENTER,
    THREADS,
    N_OPTIONS
};

enum { DEFAULT_TOKENS = 256, MAX_TOKENS = 1 << 24, PREFILL_CHUNK = 64 };

typedef struct writer {
    char kv_name[CLI_KV_NAME_SIZE];
    size_t tokens;    /* to write at most */
    uint32_t *prompt; /* [n_prompt] */
    size_t n_prompt, n_written;
    bool answer;       /* what follows the prompt alone is shown */
    float temperature; /* 0: always the likeliest byte */
    uint64_t random;   /* state */
    tq_parallel parallel;
    lm_model *model;
    lm_sequence *sequence;
    size_t vocab;
    float *logits;   /* [vocab] */
    double *weights; /* [vocab] */
    double seconds;  /* of decoding */
} writer;

/* SplitMix64 (Steele, Lea, Flood 2014): the same text from a seed on every machine. From 0 to 1. */
static double next_random(uint64_t *state) {
    uint64_t z = *state += UINT64_C(0x9E3779B97F4A7C15);
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return (double)((z ^ (z >> 31)) >> 11) * 0x1p-53;
}

static uint32_t choose(writer *w) {
    double sum = 0.0;
    size_t top = 0;
    for (size_t i = 1; i < w->vocab; i++)
        top = w->logits[i] > w->logits[top] ? i : top;
    if (w->temperature == 0.0f) return (uint32_t)top;
    for (size_t i = 0; i < w->vocab; i++) {
        w->weights[i] = exp(((double)w->logits[i] - (double)w->logits[top]) / (double)w->temperature);
        sum += w->weights[i];
    }
    double left = next_random(&w->random) * sum;
    for (size_t i = 0; i < w->vocab; i++) {
        left -= w->weights[i];
        if (left < 0.0) return (uint32_t)i;
    }
    return (uint32_t)top; /* rounding left a hair above zero */
}

/* A model may say any byte, and a terminal would obey some of them. */
static void show_byte(uint8_t byte) {
    putchar((byte < 32 && byte != '\n' && byte != '\t') || byte == 127 ? '?' : byte);
}

static void show(const lm_model *model, uint32_t token) {
    size_t length = 0;
    const uint8_t *bytes = lm_model_token(model, token, &length);
    if (!bytes) show_byte((uint8_t)token);
    for (size_t i = 0; i < length; i++)
        show_byte(bytes[i]);
}

static int write_text(writer *w) {
    tq_status status = lm_prefill(w->model, w->sequence, w->n_prompt, w->prompt, NULL, w->logits, NULL);
    for (size_t i = 0; !w->answer && i < w->n_prompt; i++)
        show(w->model, w->prompt[i]);
    const double begun = measure_now();
    while (status == TQ_OK && w->n_written < w->tokens) {
        const uint32_t token = choose(w);
        if (lm_model_ends(w->model, token)) break;
        show(w->model, token);
        TRY(cli_flush_output());
        status = lm_decode(w->model, 1, &w->sequence, &token, w->logits, NULL);
        w->n_written++;
    }
    w->seconds = measure_now() - begun;
    putchar('\n');
    TRY(cli_check(NULL, status));
    return cli_flush_output();
}

static int tell_figures(const writer *w) {
    uint64_t bytes = 0, values = 0;
    TRY(cli_check(NULL, lm_sequence_bytes(w->sequence, &bytes, &values)));
    cli_note("%s: %" PRIu64 " bytes of cache for %zu tokens, %.3f bits a value; %.0f tokens a second",
             w->kv_name, bytes, lm_sequence_length(w->sequence), 8.0 * (double)bytes / (double)values,
             (double)w->n_written / w->seconds);
    return CLI_DONE;
}

static int generate(writer *w) {
    lm_kv kv;
    char why[128];
    const size_t capacity = w->n_prompt + w->tokens;
    TRY(cli_parse_kv(w->kv_name, &kv));
    if (!cli_kv_serves(&kv, w->model, why, sizeof why)) return cli_misuse("'%s': %s", w->kv_name, why);
    /* A cache wants room for these from the start, however short the text. */
    const size_t most = kv.recent > kv.learn_centre ? kv.recent : kv.learn_centre;
    w->logits = cli_new_floats(w->vocab, 1, 1);
    w->weights = calloc(w->vocab, sizeof *w->weights);
    if (!w->logits || !w->weights) return cli_out_of_memory();
    TRY(cli_check(NULL,
                  lm_sequence_create(w->model, &kv, capacity > most ? capacity : most, PREFILL_CHUNK,
                                     w->parallel.run ? &w->parallel : NULL, &w->sequence)));
    if (cli_kv_cut(&kv, w->model, why, sizeof why)) cli_note("%s: %s", w->kv_name, why);
    TRY(write_text(w));
    return tell_figures(w);
}

/* The cache's name: as given, put together from the options for its parts, or the default one. */
static int take_kv_name(writer *w, const cli_option *options) {
    const cli_kv_options parts = {&options[K_FORMAT], &options[V_FORMAT], &options[RECENT],
                                  &options[SINKS], &options[CENTER]};
    const char *whole = options[FORMAT].given ? options[FORMAT].value : "default";
    TRY(cli_kv_name_from_options(&parts, w->kv_name));
    if (w->kv_name[0] && options[FORMAT].given)
        return cli_misuse("--format names the whole cache, '%s'; the options for its parts, '%s', do so "
                          "too: give one of the two",
                          whole, w->kv_name);
    if (w->kv_name[0]) return CLI_DONE;
    if (strlen(whole) >= sizeof w->kv_name) return cli_misuse("'%s': too long for a name", whole);
    strcpy(w->kv_name, whole);
    if (strcmp(whole, "default") == 0) cli_kv_default_name(w->kv_name);
    return CLI_DONE;
}

static int take_options(writer *w, const cli_option *options) {
    size_t seed = 1;
    const bool empty = options[PROMPT].given && options[PROMPT].value[0] == '\0';
    if (empty || options[PROMPT].given == options[PROMPT_TOKENS].given)
        return cli_misuse("one of --prompt TEXT, for a model of bytes, and --prompt-tokens FILE, for one "
                          "with a tokenizer, is needed to begin with");
    TRY(cli_take_count(&options[N_TOKENS], 1, MAX_TOKENS, &w->tokens));
    TRY(cli_take_count(&options[SEED], 0, SIZE_MAX, &seed));
    TRY(cli_take_float(&options[TEMPERATURE], &w->temperature));
    if (!(w->temperature >= 0.0f && w->temperature <= 100.0f))
        return cli_misuse("--temperature: %g is not from 0 to 100", (double)w->temperature);
    w->random = seed;
    TRY(cli_take_threads(&options[THREADS], 0, &w->parallel));
    w->answer = options[ANSWER].given;
    return take_kv_name(w, options);
}

static const cli_option_spec specs[N_OPTIONS] = {
    [MODEL] = {"model", 0, "M.safetensors", "the language model"},
    [PROMPT] = {"prompt", 0, "TEXT", "how the text begins, as bytes"},
    [PROMPT_TOKENS] = {"prompt-tokens", 0, "FILE", "the same as tokens, .safetensors"},
    [N_TOKENS] = {"tokens", 'n', "N", "how many to write at most; 256"},
    [SEED] = {"seed", 0, "S", "of the choice among tokens; 1"},
    [TEMPERATURE] = {"temperature", 0, "T", "0.7; 0: always the likeliest"},
    [ANSWER] = {"answer", 0, NULL, "without the prompt"},
    [FORMAT] = {"format", 0, "NAME", "a cache, such as tq4, float16, default"},
    [K_FORMAT] = {"k-format", 0, "FORMAT", "of keys; that of values"},
    [V_FORMAT] = {"v-format", 0, "FORMAT", "of values; that of keys"},
    [RECENT] = {"recent", 0, "R", "last positions in float16"},
    [SINKS] = {"sinks", 0, "S", "first positions in float16"},
    [CENTER] = {"center", 0, NULL, "keys less a mean for every 256 positions"},
    [THREADS] = {"threads", 0, "N", "threads; as many as processors"},
};

static int take_prompt(writer *w, const cli_option *options) {
    const char *text = options[PROMPT].value;
    if (options[PROMPT_TOKENS].given)
        return cli_read_tokens(options[PROMPT_TOKENS].value, w->model, MAX_TOKENS, &w->prompt,
                               &w->n_prompt);
    if (w->vocab != 256)
        return cli_fail(
            "%s: a vocabulary of %zu, and --prompt is bytes; models/chat makes --prompt-tokens",
            options[MODEL].value, w->vocab);
    w->n_prompt = strlen(text);
    w->prompt = malloc(w->n_prompt * sizeof *w->prompt);
    if (!w->prompt) return cli_out_of_memory();
    for (size_t i = 0; i < w->n_prompt; i++)
        w->prompt[i] = (uint8_t)text[i];
    return CLI_DONE;
}

static int write_all(writer *w, const cli_option *options) {
    TRY(cli_check(NULL, lm_model_load(options[MODEL].value, &w->model)));
    w->vocab = lm_model_shape(w->model).vocab;
    TRY(take_prompt(w, options));
    if (w->n_prompt == 0) return cli_fail("%s: no tokens", options[PROMPT_TOKENS].value);
    return generate(w);
}

static int run(const cli_args *args) {
    writer w = {.tokens = DEFAULT_TOKENS, .temperature = 0.7f};
    TRY(take_options(&w, args->options));
    const int rc = write_all(&w, args->options);
    lm_sequence_free(w.sequence);
    lm_model_free(w.model);
    free(w.prompt);
    free(w.logits);
    free(w.weights);
    return rc;
}

const cli_command cli_generate_command = {
    .name = "generate",
    .summary = "Write text with a language model and a compressed cache",
    .synopsis = "--model M.safetensors --prompt TEXT [-n N] [--seed S]\n"
                "         [--format NAME | --k-format FORMAT --v-format FORMAT]",
    .examples = "  tqkv generate --model models/kjv-swa.safetensors \\\n"
                "      --prompt 'In the beginning' -n 400 --k-format tq4\n",
    .specs = specs,
    .n_specs = N_OPTIONS,
    .needed = 1u << MODEL,
    .run = run,
};
