/* SPDX-License-Identifier: MIT
 * What the language model tests share: models, fixtures, runs that give logits. */
#ifndef TESTS_LM_SUPPORT_H
#define TESTS_LM_SUPPORT_H

#include <stdbool.h>

#include "lm/lm.h"
#include "support/cm.h"

enum { VOCAB = 256, FIXTURE_TOKENS = 400, FIXTURE_ROWS = 32, N_MODELS = 2 };

extern const char *const model_names[N_MODELS];

/* The call succeeded, or the test fails with its message. */
#define assert_ok(got) check_ok((got), __FILE__, __LINE__)
void check_ok(tq_status got, const char *file, int line);

/* Model i of the tree. */
lm_model *load_model(size_t i);

typedef struct fixture {
    uint32_t tokens[FIXTURE_TOKENS];
    size_t positions[FIXTURE_ROWS];
    float logits[FIXTURE_ROWS][VOCAB];
} fixture;

/* test_alloc'ed: free() it. */
fixture *load_fixture(size_t i);

/* n zeroed floats; free() them. */
float *floats(size_t n);

lm_sequence *new_sequence(const lm_model *m, lm_kv kv, size_t capacity, size_t chunk,
                          const tq_parallel *parallel);

/* Logits [n][VOCAB] of n tokens: by lm_prefill() in chunks, or with chunk 0 by lm_decode(). */
float *run_tokens(const lm_model *m, lm_kv kv, const uint32_t *tokens, size_t n, size_t chunk,
                  const tq_parallel *parallel);

double largest_difference(const float *a, const float *b, size_t n);

/* Mean Kullback-Leibler divergence of n rows, of b's distribution from a's, in nats. */
double mean_divergence(const float *a, const float *b, size_t n);

/* Keys and values in the same format, one norm rule. */
lm_kv cache_of(tq_format format);
lm_kv blocks_of(lm_block block, int rotate);

/* Whether a sanitizer runs the test: hundreds of tokens for a figure take minutes there, in code that
 * shorter tests run too. */
bool is_sanitized(void);

#endif
