/* SPDX-License-Identifier: MIT
 * The calls that take tokens: their arguments, and passes over chunks or batches. */
#include <string.h>

#include "forward.h"

static tq_status check_room(const lm_sequence *s, size_t index, size_t n) {
    if (n <= s->capacity - s->length) return TQ_OK;
    return tq_fail(TQ_E_POSITION, index, "sequence",
                   "%zu tokens after %zu: the sequence has a capacity of %zu", n, s->length, s->capacity);
}

static tq_status check_model(const lm_model *model, const lm_sequence *s, size_t index) {
    if (s == NULL) return tq_fail(TQ_E_NULL, index, "sequence", "sequence %zu is NULL", index);
    if (s->model == model) return TQ_OK;
    return tq_fail(TQ_E_POLICY, index, "sequence", "sequence %zu was made for another model", index);
}

static tq_status check_tokens(const lm_model *model, size_t n, const uint32_t *tokens) {
    for (size_t i = 0; i < n; i++)
        if (tokens[i] >= model->vocab)
            return tq_fail(TQ_E_RANGE, i, "tokens", "token %zu is %lu; the vocabulary has %zu", i,
                           (unsigned long)tokens[i], model->vocab);
    return TQ_OK;
}

tq_status lm_prefill(const lm_model *model, lm_sequence *sequence, size_t n, const uint32_t *tokens,
                     float *logits, float *last, const lm_watch *watch) {
    if (model == NULL || (tokens == NULL && n > 0))
        return tq_fail(TQ_E_NULL, 0, model == NULL ? "model" : "tokens", "an argument is NULL");
    tq_status status = check_model(model, sequence, 0);
    if (status == TQ_OK) status = check_room(sequence, 0, n);
    if (status == TQ_OK) status = check_tokens(model, n, tokens);
    if (status == TQ_OK)
        status = lm_work_grow(&sequence->work, model, n < sequence->chunk ? n : sequence->chunk);
    const size_t row = model->vocab;
    for (size_t at = 0, rows; status == TQ_OK && at < n; at += rows) {
        rows = n - at < sequence->chunk ? n - at : sequence->chunk;
        const lm_pass pass = {model, sequence->parallel, watch, &sequence->work, &sequence, 1, rows,
                              1,     tokens + at};
        status = lm_forward(&pass);
        if (status != TQ_OK) break;
        const bool ends = at + rows == n && last != NULL;
        if (logits != NULL) {
            lm_logits(&pass, 0, rows);
            memcpy(logits + at * row, sequence->work.logits, rows * row * sizeof *logits);
            if (ends) memcpy(last, logits + (n - 1) * row, row * sizeof *last);
        } else if (ends) {
            lm_logits(&pass, rows - 1, 1);
            memcpy(last, sequence->work.logits, row * sizeof *last);
        }
    }
    return status;
}

static tq_status check_batch(const lm_model *model, size_t n, lm_sequence *const *sequences,
                             size_t steps) {
    tq_status status = TQ_OK;
    for (size_t i = 0; status == TQ_OK && i < n; i++) {
        status = check_model(model, sequences[i], i);
        if (status == TQ_OK) status = check_room(sequences[i], i, steps);
        for (size_t j = 0; status == TQ_OK && j < i; j++)
            if (sequences[j] == sequences[i])
                status =
                    tq_fail(TQ_E_OVERLAP, i, "sequences", "sequence %zu is sequence %zu again", i, j);
    }
    return status;
}

static tq_status decode(const lm_model *model, size_t n, lm_sequence *const *sequences, size_t steps,
                        const uint32_t *tokens, const lm_watch *watch) {
    tq_status status = check_batch(model, n, sequences, steps);
    if (status == TQ_OK) status = check_tokens(model, steps * n, tokens);
    if (status == TQ_OK) status = lm_work_grow(&sequences[0]->work, model, steps * n);
    if (status != TQ_OK) return status;
    const lm_pass pass = {
        model, sequences[0]->parallel, watch, &sequences[0]->work, sequences, n, 1, steps, tokens};
    status = lm_forward(&pass);
    if (status == TQ_OK) lm_logits(&pass, 0, steps * n);
    return status;
}

static tq_status check_decode(const lm_model *model, lm_sequence *const *sequences,
                              const uint32_t *tokens, const void *logits) {
    if (model != NULL && sequences != NULL && tokens != NULL && logits != NULL) return TQ_OK;
    return tq_fail(TQ_E_NULL, 0,
                   model == NULL       ? "model"
                   : sequences == NULL ? "sequences"
                   : tokens == NULL    ? "tokens"
                                       : "logits",
                   "an argument is NULL");
}

tq_status lm_decode(const lm_model *model, size_t n, lm_sequence *const *sequences,
                    const uint32_t *tokens, float *logits, const lm_watch *watch) {
    if (n == 0 && model != NULL) return TQ_OK;
    tq_status status = check_decode(model, sequences, tokens, logits);
    if (status == TQ_OK) status = decode(model, n, sequences, 1, tokens, watch);
    if (status == TQ_OK) memcpy(logits, sequences[0]->work.logits, n * model->vocab * sizeof *logits);
    return status;
}

tq_status lm_decode_text(const lm_model *model, size_t n, lm_sequence *const *sequences, size_t steps,
                         const uint32_t *tokens, const float **logits, const lm_watch *watch) {
    tq_status status = check_decode(model, sequences, tokens, logits);
    if (status != TQ_OK) return status;
    if (n == 0 || steps == 0 || steps > SIZE_MAX / n)
        return tq_fail(TQ_E_SIZE, 0, "steps", "%zu steps of %zu sequences", steps, n);
    status = decode(model, n, sequences, steps, tokens, watch);
    if (status == TQ_OK) *logits = sequences[0]->work.logits;
    return status;
}
