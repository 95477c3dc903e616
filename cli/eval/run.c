/* SPDX-License-Identifier: MIT
 * Runs an evaluation: the same tokens through the model once for every way to keep keys and values. */
#include "eval/eval.h"

#include <stdlib.h>
#include <string.h>

#include "base/heads.h"
#include "base/message.h"
#include "base/progress.h"
#include "base/threads.h"
#include "measure/percentile.h"
#include "measure/timing.h"

/* Tokens that each row decodes alone, for its speed, when the first context is full; fewer, but so many
 * at least, where they take longer than so many seconds. */
enum { TIMED_TOKENS = 24, LEAST_TIMED = 3 };
static const double timed_seconds = 0.4;

/* Tokens of all sequences that are decoded at once, about: so many make good use of weights once read,
 * and their logits have room. And of one sequence, at most: a long wait between two marks of progress. */
enum { ROWS_AT_ONCE = 192, STEPS_AT_ONCE = 16 };

/* What is under way. Sequence 0 is the reference, sequence i + 1 row i. */
typedef struct run {
    cli_eval *eval;
    cli_dump *dump;
    tq_parallel parallel;
    lm_sequence *sequences[CLI_EVAL_MAX_ROWS + 1];
    size_t n_sequences;
    uint32_t tokens[ROWS_AT_ONCE];
    size_t t, steps;     /* the tokens that are decoded: the first one, and how many */
    const float *logits; /* [steps][n_sequences][vocab] */
    size_t step;         /* whose logits are looked at */
    cli_eval_reference reference;
    float *alone;     /* [vocab] of a row by itself */
    size_t *firsts;   /* [layers] the layer's first head among a token's outputs */
    size_t layer;     /* whose outputs are looked at */
    const float *out; /* [steps][n_sequences][n_heads][head_dim] these */
} run;

static size_t least(size_t a, size_t b) {
    return a < b ? a : b;
}

static size_t first_context(const cli_eval *eval) {
    return least(eval->tokens, eval->context);
}

static int allocate_row(const cli_eval *eval, cli_eval_row *row) {
    if (eval->tokens > SIZE_MAX / sizeof(double)) return cli_out_of_memory();
    row->bits = malloc(eval->tokens * sizeof *row->bits);
    row->kl = malloc(eval->tokens * sizeof *row->kl);
    row->angles = cli_new_floats(eval->tokens, eval->n_outputs, 1);
    row->error = calloc(eval->shape.n_layers, sizeof *row->error);
    row->size = calloc(eval->shape.n_layers, sizeof *row->size);
    row->memory = calloc(eval->n_memory, sizeof *row->memory);
    const bool there = row->bits && row->kl && row->angles && row->error && row->size && row->memory;
    return there ? CLI_DONE : cli_out_of_memory();
}

void cli_eval_free_rows(cli_eval *eval) {
    for (size_t i = 0; i < eval->n_rows; i++) {
        cli_eval_row *row = &eval->rows[i];
        free(row->bits);
        free(row->kl);
        free(row->angles);
        free(row->error);
        free(row->size);
        free(row->memory);
        row->bits = row->kl = row->error = row->size = NULL;
        row->angles = NULL;
        row->memory = NULL;
    }
}

/* The reference is the first of a step's rows. */
static void watch_qkv(void *context, size_t layer, size_t n_rows, const float *q, const float *k,
                      const float *v) {
    run *r = context;
    const lm_layer_shape shape = lm_model_layer(r->eval->model, layer);
    const size_t n = r->n_sequences, dim = shape.head_dim;
    (void)n_rows;
    for (size_t i = 0; i < r->steps && r->t + i < r->dump->n_positions; i++)
        cli_dump_add(r->dump, layer, r->t + i, q + i * n * shape.n_heads * dim,
                     k + i * n * shape.n_kv_heads * dim, v + i * n * shape.n_kv_heads * dim);
}

static void add_outputs(void *work, size_t row) {
    const run *r = work;
    const lm_layer_shape shape = lm_model_layer(r->eval->model, r->layer);
    const size_t width = (size_t)shape.n_heads * shape.head_dim;
    for (size_t i = 0; i < r->steps; i++) {
        const float *out = r->out + i * r->n_sequences * width;
        cli_eval_add_outputs(&r->eval->rows[row], r->layer, r->t + i, r->eval->n_outputs,
                             r->firsts[r->layer], shape.n_heads, shape.head_dim, out,
                             out + (row + 1) * width);
    }
}

static void watch_attention(void *context, size_t layer, size_t n_rows, const float *out) {
    run *r = context;
    (void)n_rows;
    r->layer = layer;
    r->out = out;
    cli_run_tasks(&r->parallel, r->eval->n_rows, add_outputs, r);
}

/* Room for the text, the tokens of the timing, and what a cache wants to have room for from the start. */
static size_t capacity_of(const cli_eval *eval) {
    size_t capacity = first_context(eval) + TIMED_TOKENS;
    for (size_t i = 0; i < eval->n_rows; i++) {
        const lm_kv *kv = &eval->rows[i].kv;
        capacity = kv->recent > capacity ? kv->recent : capacity;
        capacity = kv->learn_centre > capacity ? kv->learn_centre : capacity;
    }
    return capacity;
}

static void free_sequences(run *r) {
    for (size_t i = 0; i < r->n_sequences; i++) {
        lm_sequence_free(r->sequences[i]);
        r->sequences[i] = NULL;
    }
}

static int new_sequences(run *r) {
    const cli_eval *eval = r->eval;
    const lm_kv reference = {.store = LM_STORE_F32};
    const tq_parallel *parallel = r->parallel.run ? &r->parallel : NULL;
    free_sequences(r);
    for (size_t i = 0; i < r->n_sequences; i++) {
        const cli_eval_row *row = i ? &eval->rows[i - 1] : NULL;
        TRY(cli_check(row ? row->name : "float32",
                      lm_sequence_create(eval->model, row ? &row->kv : &reference, capacity_of(eval), 1,
                                         parallel, &r->sequences[i])));
    }
    return CLI_DONE;
}

static const float *logits_of(const run *r, size_t sequence) {
    return r->logits + (r->step * r->n_sequences + sequence) * r->eval->shape.vocab;
}

static void add_token(void *work, size_t i) {
    const run *r = work;
    const size_t t = r->t + r->step;
    cli_eval_add_token(r->eval, &r->eval->rows[i], t, &r->reference, logits_of(r, i + 1),
                       r->eval->text[t + 1]);
}

/* The bytes of all caches, if this is a context at which they are noted. */
static int note_memory(run *r, size_t *point) {
    cli_eval *eval = r->eval;
    if (*point == eval->n_memory || r->t + r->steps != eval->memory_at[*point]) return CLI_DONE;
    for (size_t i = 0; i < eval->n_rows; i++) {
        cli_eval_row *row = &eval->rows[i];
        TRY(cli_check(row->name, lm_sequence_bytes(r->sequences[i + 1], &row->bytes, &row->values)));
        row->memory[*point] = row->bytes;
    }
    ++*point;
    return CLI_DONE;
}

/* How many tokens from r->t on are decoded at once: none beyond a context at which memory is noted. */
static size_t choose_steps(const run *r, size_t end, size_t point) {
    const cli_eval *eval = r->eval;
    const size_t most = least(STEPS_AT_ONCE, ROWS_AT_ONCE / r->n_sequences);
    return least(most, (point < eval->n_memory ? least(end, eval->memory_at[point]) : end) - r->t);
}

/* The tokens [r->t, r->t + r->steps). */
static int run_steps(run *r) {
    cli_eval *eval = r->eval;
    const lm_watch watch = {
        .qkv = r->dump ? watch_qkv : NULL, .attention = watch_attention, .context = r};
    const size_t n = r->n_sequences;
    for (size_t i = 0; i < r->steps * n; i++)
        r->tokens[i] = eval->text[r->t + i / n];
    if (lm_decode_text(eval->model, n, r->sequences, r->steps, r->tokens, &r->logits, &watch) != TQ_OK)
        return cli_fail("tokens %zu to %zu of the text: %s", r->t, r->t + r->steps - 1,
                        tq_last_error()->message);
    for (r->step = 0; r->step < r->steps; r->step++) {
        cli_eval_add_reference(eval, &r->reference, logits_of(r, 0), eval->text[r->t + r->step + 1]);
        cli_run_tasks(&r->parallel, eval->n_rows, add_token, r);
    }
    return CLI_DONE;
}

static int run_context(run *r, size_t first) {
    const cli_eval *eval = r->eval;
    const size_t end = first + least(eval->tokens - first, eval->context);
    size_t point = first ? eval->n_memory : 0;

    TRY(new_sequences(r));
    for (r->t = first; r->t < end; r->t += r->steps) {
        r->steps = choose_steps(r, end, point);
        TRY(run_steps(r));
        TRY(note_memory(r, &point));
        cli_progress_add(r->steps);
    }
    return CLI_DONE;
}

static int time_row(run *r, size_t i) {
    const cli_eval *eval = r->eval;
    double times[TIMED_TOKENS];
    const double begun = measure_now();
    size_t n = 0;
    while (n < LEAST_TIMED || (n < TIMED_TOKENS && measure_now() - begun < timed_seconds)) {
        const double before = measure_now();
        TRY(cli_check(eval->rows[i].name, lm_decode(eval->model, 1, &r->sequences[i + 1],
                                                    &eval->text[n % eval->tokens], r->alone, NULL)));
        times[n++] = measure_now() - before;
    }
    measure_sort(times, n);
    eval->rows[i].token_seconds = times[measure_rank(n, 50)];
    return CLI_DONE;
}

/* Each row on its own, when its cache is as full as it gets: in a batch nobody's time can be told. */
static int time_rows(run *r) {
    for (size_t i = 0; i < r->eval->n_rows; i++)
        TRY(time_row(r, i));
    return CLI_DONE;
}

static int run_all(run *r) {
    cli_eval *eval = r->eval;
    for (size_t first = 0; first < eval->tokens; first += eval->context) {
        const double begun = measure_now();
        TRY(run_context(r, first));
        eval->seconds += measure_now() - begun;
        if (first == 0) TRY(time_rows(r));
        if (eval->tokens - first <= eval->context) break;
    }
    return CLI_DONE;
}

static int prepare(run *r) {
    cli_eval *eval = r->eval;
    size_t *firsts = r->firsts;
    const size_t context = first_context(eval);
    r->n_sequences = eval->n_rows + 1;
    r->alone = cli_new_floats(1, eval->shape.vocab, 1);
    r->reference.p = calloc(eval->shape.vocab, sizeof *r->reference.p);
    if (!r->alone || !r->reference.p) return cli_out_of_memory();
    eval->n_outputs = 0;
    for (size_t layer = 0; layer < eval->shape.n_layers; layer++) {
        firsts[layer] = eval->n_outputs;
        eval->n_outputs += lm_model_layer(eval->model, layer).n_heads;
    }
    eval->n_memory = least((context - 1) / CLI_EVAL_MEMORY_STEP + 1, CLI_EVAL_MEMORY_POINTS);
    for (size_t i = 0; i < eval->n_memory; i++) {
        const size_t n = eval->n_memory;
        eval->memory_at[i] = context / n * (i + 1) + context % n * (i + 1) / n;
    }
    TRY(cli_choose_threads(eval->threads, &r->parallel));
    for (size_t i = 0; i < eval->n_rows; i++)
        TRY(allocate_row(eval, &eval->rows[i]));
    return CLI_DONE;
}

int cli_eval_run(cli_eval *eval, cli_dump *dump) {
    run r = {.eval = eval, .dump = dump};
    r.firsts = calloc(eval->shape.n_layers, sizeof *r.firsts);
    int rc = r.firsts ? prepare(&r) : cli_out_of_memory();
    if (rc == CLI_DONE) {
        cli_progress_begin("evaluating", eval->tokens);
        rc = run_all(&r);
        cli_progress_end();
    }
    if (rc == CLI_DONE) rc = cli_eval_summarise(eval);
    free_sequences(&r);
    free(r.firsts);
    free(r.alone);
    free(r.reference.p);
    return rc;
}
