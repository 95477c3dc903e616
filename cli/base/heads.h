/* SPDX-License-Identifier: MIT
 * A plain tensor seen as heads of vectors, read and checked. */
#ifndef TQKV_CLI_HEADS_H
#define TQKV_CLI_HEADS_H

#include <stddef.h>

#include "base/input.h"
#include "tqkv/io.h"

typedef struct cli_heads {
    size_t n_heads;     /* G, all leading dimensions flattened */
    size_t n_positions; /* T */
    size_t head_dim;    /* D */
    const float *data;  /* [G][T][D], the tensor's */
} cli_heads;

/* Reads [..][T][D] and checks that it has values and that an encoder can take them all.
 * CLI_DONE or CLI_FAILED after a message. tensor: release with tq_tensor_free() after CLI_DONE. */
int cli_read_heads(const char *path, tq_tensor *tensor, cli_heads *heads);

/* The same of a file that was read. */
int cli_parse_heads(const cli_input *input, tq_tensor *tensor, cli_heads *heads);

/* One line: how the tensor is read. Nobody can tell [positions][heads] from [heads][positions] but those
 * who made it, so commands that read one alone say this before they work. more: what else there is to
 * say. */
void cli_tell_heads(const char *path, const cli_heads *heads, const char *more);

/* CLI_FAILED with a message that names the element if one is NaN, infinite or beyond limit. */
int cli_check_values(const char *path, const tq_tensor *tensor, float limit);

/* Writes "[2][3][64]" into text. */
void cli_shape_text(const tq_tensor *tensor, char *text, size_t size);

/* A finite float16's value. */
float cli_half(uint16_t half);

/* malloc() of a x b x c floats, at least one; NULL if that is more than there is. */
float *cli_new_floats(size_t a, size_t b, size_t c);

#endif
