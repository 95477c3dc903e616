/* SPDX-License-Identifier: MIT
 * Paths beside and below others. */
#ifndef TQKV_CLI_FOLDER_H
#define TQKV_CLI_FOLDER_H

/* "FOLDER/NAME" as a new string; NULL when memory ran out. */
char *cli_join_path(const char *folder, const char *name);

/* The path of `name` beside the file `path`, likewise. */
char *cli_beside(const char *path, const char *name);

#endif
