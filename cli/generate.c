/* SPDX-License-Identifier: MIT
 * tqkv generate: a language model writes, with its cache in any format. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/kv_name.h"
#include "base/message.h"
#include "base/threads.h"
#include "lm/lm.h"
#include "measure/timing.h"
#include "tqkv/codec.h"

enum {
    MODEL,
    PROMPT,
    N_TOKENS,
    SEED,
    TEMPERATURE,
    K_FORMAT,
    V_FORMAT,
    RECENT,
    SINKS,
    CENTER,
    THREADS,
    N_OPTIONS
};

enum { DEFAULT_TOKENS = 256, MAX_TOKENS = 1 << 24, PREFILL_CHUNK = 64, VOCAB = 256 };

typedef struct writer {
    const char *prompt;
    char kv_name[CLI_KV_NAME_SIZE];
    size_t tokens;
    float temperature; /* 0: always the likeliest byte */
    uint64_t random;   /* state */
    tq_parallel parallel;
    lm_model *model;
    lm_sequence *sequence;
    double seconds; /* of decoding */
} writer;

/* SplitMix64 (Steele, Lea, Flood 2014): the same text from a seed on every machine. From 0 to 1. */
static double next_random(uint64_t *state) {
    uint64_t z = *state += UINT64_C(0x9E3779B97F4A7C15);
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return (double)((z ^ (z >> 31)) >> 11) * 0x1p-53;
}

static uint8_t choose(const float *logits, float temperature, uint64_t *random) {
    double weights[VOCAB], sum = 0.0;
    size_t top = 0;
    for (size_t i = 1; i < VOCAB; i++)
        top = logits[i] > logits[top] ? i : top;
    if (temperature == 0.0f) return (uint8_t)top;
    for (size_t i = 0; i < VOCAB; i++) {
        weights[i] = exp(((double)logits[i] - (double)logits[top]) / (double)temperature);
        sum += weights[i];
    }
    double left = next_random(random) * sum;
    for (size_t i = 0; i < VOCAB; i++) {
        left -= weights[i];
        if (left < 0.0) return (uint8_t)i;
    }
    return (uint8_t)top; /* rounding left a hair above zero */
}

/* A model may say any byte, and a terminal would obey some of them. */
static void show(uint8_t byte) {
    putchar((byte < 32 && byte != '\n' && byte != '\t') || byte == 127 ? '?' : byte);
}

static int write_text(writer *w) {
    float logits[VOCAB];
    const size_t length = strlen(w->prompt);
    tq_status status =
        lm_prefill(w->model, w->sequence, length, (const uint8_t *)w->prompt, NULL, logits, NULL);
    for (size_t i = 0; i < length; i++)
        show((uint8_t)w->prompt[i]);
    const double begun = measure_now();
    for (size_t i = 0; status == TQ_OK && i < w->tokens; i++) {
        const uint8_t byte = choose(logits, w->temperature, &w->random);
        show(byte);
        if (fflush(stdout) != 0) return cli_flush_output();
        status = lm_decode(w->model, 1, &w->sequence, &byte, logits, NULL);
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
             (double)w->tokens / w->seconds);
    return CLI_DONE;
}

static int generate(writer *w) {
    lm_kv kv;
    char why[128];
    const size_t capacity = strlen(w->prompt) + w->tokens;
    TRY(cli_parse_kv(w->kv_name, &kv));
    if (!cli_kv_serves(&kv, w->model, why, sizeof why)) return cli_misuse("'%s': %s", w->kv_name, why);
    /* A cache wants room for these from the start, however short the text. */
    const size_t most = kv.recent > kv.learn_centre ? kv.recent : kv.learn_centre;
    TRY(cli_check(NULL,
                  lm_sequence_create(w->model, &kv, capacity > most ? capacity : most, PREFILL_CHUNK,
                                     w->parallel.run ? &w->parallel : NULL, &w->sequence)));
    if (cli_kv_cut(&kv, w->model, why, sizeof why)) cli_note("%s: %s", w->kv_name, why);
    TRY(write_text(w));
    return tell_figures(w);
}

static int take_options(writer *w, const cli_option *options) {
    const cli_kv_options kv = {&options[K_FORMAT], &options[V_FORMAT], &options[RECENT], &options[SINKS],
                               &options[CENTER]};
    size_t seed = 1;
    if (!options[PROMPT].given || options[PROMPT].value[0] == '\0')
        return cli_misuse("--prompt TEXT is missing: a model of bytes needs one to begin with");
    w->prompt = options[PROMPT].value;
    TRY(cli_take_count(&options[N_TOKENS], 1, MAX_TOKENS, &w->tokens));
    TRY(cli_take_count(&options[SEED], 0, SIZE_MAX, &seed));
    TRY(cli_take_float(&options[TEMPERATURE], &w->temperature));
    if (!(w->temperature >= 0.0f && w->temperature <= 100.0f))
        return cli_misuse("--temperature: %g is not from 0 to 100", (double)w->temperature);
    w->random = seed;
    TRY(cli_take_threads(&options[THREADS], 0, &w->parallel));
    TRY(cli_kv_name_from_options(&kv, w->kv_name));
    if (!w->kv_name[0]) cli_kv_default_name(w->kv_name);
    return CLI_DONE;
}

static const cli_option_spec specs[N_OPTIONS] = {
    [MODEL] = {"model", 0, "M.safetensors", "the language model"},
    [PROMPT] = {"prompt", 0, "TEXT", "how the text begins"},
    [N_TOKENS] = {"tokens", 'n', "N", "how many bytes to write; 256"},
    [SEED] = {"seed", 0, "S", "of the choice among bytes; 1"},
    [TEMPERATURE] = {"temperature", 0, "T", "0.7; 0: always the likeliest byte"},
    [K_FORMAT] = {"k-format", 0, "FORMAT", "of keys; that of values"},
    [V_FORMAT] = {"v-format", 0, "FORMAT", "of values; that of keys"},
    [RECENT] = {"recent", 0, "R", "last positions in float16"},
    [SINKS] = {"sinks", 0, "S", "first positions in float16"},
    [CENTER] = {"center", 0, NULL, "keys less a mean for every 256 positions"},
    [THREADS] = {"threads", 0, "N", "threads; as many as processors"},
};

static int run(const cli_args *args) {
    const char *path = args->options[MODEL].value;
    writer w = {.tokens = DEFAULT_TOKENS, .temperature = 0.7f};
    TRY(take_options(&w, args->options));
    TRY(cli_check(NULL, lm_model_load(path, &w.model)));
    const size_t vocab = lm_model_shape(w.model).vocab;
    const int rc = vocab == VOCAB ? generate(&w)
                                  : cli_fail("%s: a vocabulary of %zu; text is bytes, which wants %d",
                                             path, vocab, VOCAB);
    lm_sequence_free(w.sequence);
    lm_model_free(w.model);
    return rc;
}

const cli_command cli_generate_command = {
    .name = "generate",
    .summary = "Write text with a language model and a compressed cache",
    .synopsis = "--model M.safetensors --prompt TEXT [-n N] [--seed S]\n"
                "         [--k-format FORMAT] [--v-format FORMAT]",
    .examples = "  tqkv generate --model models/kjv-swa.safetensors \\\n"
                "      --prompt 'In the beginning' -n 400 --k-format tq4\n",
    .specs = specs,
    .n_specs = N_OPTIONS,
    .needed = 1u << MODEL,
    .run = run,
};
