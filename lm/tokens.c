/* SPDX-License-Identifier: MIT
 * What the tokens of a model stand for. */
#include "tokens.h"

#include <stdlib.h>
#include <string.h>

#include "memory.h"

static const char bytes_name[] = "tokens.bytes", offsets_name[] = "tokens.offsets";

static tq_status check(const lm_file *f, const char *name, const char *type, const tq_raw_tensor *t) {
    if (strcmp(t->type, type) == 0 && t->n_dims == 1) return TQ_OK;
    return lm_file_fail(f, TQ_E_FILE_TYPE, name,
                        "tensor %s is %s with %zu dimensions; %s with one is expected", name, t->type,
                        t->n_dims, type);
}

static tq_status take_offsets(const lm_file *f, lm_model *m, const tq_raw_tensor *offsets,
                              size_t n_bytes) {
    for (size_t i = 0; i <= m->vocab; i++) {
        const uint32_t at = lm_item(offsets->bytes + 4 * i, 4);
        if (at > n_bytes || (i > 0 && at < m->tokens.offsets[i - 1]))
            return lm_file_fail(f, TQ_E_FILE_FIELD, offsets_name,
                                "tensor %s: value %zu is %lu; offsets rise from 0 to %zu", offsets_name,
                                i, (unsigned long)at, n_bytes);
        m->tokens.offsets[i] = at;
    }
    return TQ_OK;
}

static tq_status read_table(const lm_file *f, lm_model *m) {
    tq_raw_tensor bytes, offsets;
    tq_status status = tq_safetensors_tensor(f->tensors, offsets_name, &offsets);
    if (status != TQ_OK) return m->vocab == 256 ? TQ_OK : status;
    status = tq_safetensors_tensor(f->tensors, bytes_name, &bytes);
    if (status == TQ_OK) status = check(f, bytes_name, "U8", &bytes);
    if (status == TQ_OK) status = check(f, offsets_name, "U32", &offsets);
    if (status != TQ_OK) return status;
    if (offsets.n_values != m->vocab + 1)
        return lm_file_fail(f, TQ_E_FILE_SHAPE, offsets_name, "tensor %s: shape [%zu] is expected",
                            offsets_name, m->vocab + 1);
    m->tokens.bytes = lm_alloc(bytes.n_bytes, 1);
    m->tokens.offsets = lm_alloc(offsets.n_values, sizeof *m->tokens.offsets);
    if (m->tokens.bytes == NULL || m->tokens.offsets == NULL)
        return lm_file_fail(f, TQ_E_NO_MEMORY, "path", "no memory for the model's tokens");
    memcpy(m->tokens.bytes, bytes.bytes, bytes.n_bytes);
    return take_offsets(f, m, &offsets, bytes.n_bytes);
}

static tq_status read_ends(const lm_file *f, lm_model *m) {
    double ends[LM_MOST_ENDS];
    const char *text;
    tq_status status;
    if (!lm_field_is_there(f, "end_tokens")) return TQ_OK;
    status = lm_field_text(f, "end_tokens", &text);
    if (status != TQ_OK) return status;
    m->n_ends = 1;
    for (const char *p = text; (p = strchr(p, ',')) != NULL && m->n_ends < LM_MOST_ENDS; p++)
        m->n_ends++;
    status =
        lm_field_numbers(f, "end_tokens", (lm_range){0, (double)(m->vocab - 1), true}, m->n_ends, ends);
    for (size_t i = 0; status == TQ_OK && i < m->n_ends; i++)
        m->ends[i] = (uint32_t)ends[i];
    return status;
}

tq_status lm_tokens_read(const lm_file *f, lm_model *m) {
    tq_status status = read_table(f, m);
    return status == TQ_OK ? read_ends(f, m) : status;
}

void lm_tokens_free(lm_tokens *tokens) {
    free(tokens->bytes);
    free(tokens->offsets);
    *tokens = (lm_tokens){0};
}

const uint8_t *lm_model_token(const lm_model *model, uint32_t token, size_t *length) {
    const lm_tokens *t = &model->tokens;
    *length = 0;
    if (t->offsets == NULL || token >= model->vocab) return NULL;
    *length = t->offsets[token + 1] - t->offsets[token];
    return t->bytes + t->offsets[token];
}

int lm_model_ends(const lm_model *model, uint32_t token) {
    for (size_t i = 0; i < model->n_ends; i++)
        if (model->ends[i] == token) return 1;
    return 0;
}
