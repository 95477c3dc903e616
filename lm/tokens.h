/* SPDX-License-Identifier: MIT
 * What the tokens of a model stand for. */
#ifndef LM_TOKENS_H
#define LM_TOKENS_H

#include "fields.h"
#include "model.h"

/* Reads tensors tokens.bytes and tokens.offsets, and tqkv.model.end_tokens; a model of bytes has none of
 * them. TQ_E_FILE_TYPE, TQ_E_FILE_SHAPE, TQ_E_FILE_FIELD, TQ_E_NO_MEMORY. */
tq_status lm_tokens_read(const lm_file *f, lm_model *model);
void lm_tokens_free(lm_tokens *tokens);

#endif
