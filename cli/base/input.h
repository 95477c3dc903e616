/* SPDX-License-Identifier: MIT
 * A file that a command was given, read once: a pipe has no second time. What kind it is, and the parts
 * of its header that the file library keeps to itself. */
#ifndef TQKV_CLI_INPUT_H
#define TQKV_CLI_INPUT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum cli_input_kind { CLI_INPUT_NPY, CLI_INPUT_SAFETENSORS } cli_input_kind;

typedef struct cli_input {
    const char *path; /* as it was given */
    const char
        *tensor; /* what follows FILE: in it, the name of a tensor of the file; NULL: nothing does */
    cli_input_kind kind; /* by its first bytes, whatever it is called */
    uint8_t *bytes;      /* owned, whole, for tq_npy_parse() or tq_encoded_parse() */
    size_t size;
} cli_input;

/* Where the name of a tensor begins in FILE:NAME; NULL if there is none: a path that is there is a path,
 * whatever colons it has, and FILE is what is there before the first colon for which anything is. */
const char *cli_tensor_name(const char *path);

/* The path without the name, as a new string; NULL when memory ran out. */
char *cli_file_path(const char *path);

/* CLI_DONE, or CLI_FAILED after a message: a file that cannot be read, or is of neither kind. */
int cli_input_read(const char *path, cli_input *input);
void cli_input_free(cli_input *input);

/* Of a .npy file that the library has parsed: bytes of a value, 2 or 4. */
size_t cli_input_npy_item_bytes(const cli_input *input);

/* Of a .safetensors file: __metadata__, a new reference; NULL: there is none, or no header. */
json_t *cli_input_metadata(const cli_input *input);

/* Whether it is a .safetensors file of tensors as they are. One that is damaged is taken for an encoded
 * one, whose reader says how. */
bool cli_input_is_plain_safetensors(const cli_input *input);

#endif
