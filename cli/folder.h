/* SPDX-License-Identifier: MIT
 * Paths beside and below others, and the start of a file. */
#ifndef TQKV_CLI_FOLDER_H
#define TQKV_CLI_FOLDER_H

#include <stddef.h>
#include <stdint.h>

/* "FOLDER/NAME" as a new string; NULL when memory ran out. */
char *cli_join_path(const char *folder, const char *name);

/* The path of `name` beside the file `path`, likewise. */
char *cli_beside(const char *path, const char *name);

/* Reads the first n bytes of a file, or as many as there are: *held. CLI_DONE, or CLI_FAILED after a
 * message. *bytes is for free() in every case. */
int cli_read_bytes(const char *path, size_t n, uint8_t **bytes, size_t *held);

#endif
