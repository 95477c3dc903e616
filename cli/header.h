/* SPDX-License-Identifier: MIT
 * The start of a file: which kind it is, and the parts of its header that the file library keeps to
 * itself. Only meant for showing: the library checks the file, not this. */
#ifndef TQKV_CLI_HEADER_H
#define TQKV_CLI_HEADER_H

#include <jansson.h>
#include <stddef.h>

typedef enum cli_file_kind { CLI_FILE_NPY, CLI_FILE_SAFETENSORS } cli_file_kind;

typedef struct cli_file_header {
    cli_file_kind kind; /* by its first bytes, whatever it is called */
    size_t file_bytes;
    size_t item_bytes; /* .npy: 2 or 4 */
    json_t *metadata;  /* .safetensors: __metadata__, owned; NULL if there is none to show */
} cli_file_header;

/* CLI_DONE, or CLI_FAILED after a message: a file that cannot be opened, or is of neither kind. */
int cli_read_header(const char *path, cli_file_header *header);

#endif
