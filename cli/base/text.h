/* SPDX-License-Identifier: MIT
 * What a language model reads, from a file: bytes, or the tokens of a tokenizer. */
#ifndef TQKV_CLI_TEXT_H
#define TQKV_CLI_TEXT_H

#include <stddef.h>
#include <stdint.h>

#include "lm/lm.h"

/* The first `most` tokens of a file, or all if it has fewer: *tokens [*n], for free().
 *
 * A file whose name ends in .safetensors has them as its tensor "tokens" (U8, U16 or U32, one dimension),
 * as models/get writes it; with the key tqkv.tokens.model they are that model's and no other's. Of any
 * other file each byte is a token, which wants a vocabulary of 256.
 *
 * CLI_DONE, or the exit status after a message. */
int cli_read_tokens(const char *path, const lm_model *model, size_t most, uint32_t **tokens, size_t *n);

#endif
