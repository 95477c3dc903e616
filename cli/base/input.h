/* SPDX-License-Identifier: MIT
 * A file that a command was given, read once: a pipe has no second time. What kind it is, and the parts
 * of its header that the file library keeps to itself. */
#ifndef TQKV_CLI_INPUT_H
#define TQKV_CLI_INPUT_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

typedef enum cli_input_kind { CLI_INPUT_NPY, CLI_INPUT_SAFETENSORS } cli_input_kind;

typedef struct cli_input {
    const char *path;
    cli_input_kind kind; /* by its first bytes, whatever it is called */
    uint8_t *bytes;      /* owned, whole, for tq_npy_parse() or tq_encoded_parse() */
    size_t size;
} cli_input;

/* CLI_DONE, or CLI_FAILED after a message: a file that cannot be read, or is of neither kind. */
int cli_input_read(const char *path, cli_input *input);
void cli_input_free(cli_input *input);

/* Of a file that the library has parsed: bytes of a value, 2 or 4; and __metadata__, a new reference. */
size_t cli_input_npy_item_bytes(const cli_input *input);
json_t *cli_input_metadata(const cli_input *input);

#endif
