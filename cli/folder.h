/* SPDX-License-Identifier: MIT
 * Folders of results. */
#ifndef TQKV_CLI_FOLDER_H
#define TQKV_CLI_FOLDER_H

/* Makes a folder unless it is there. CLI_DONE, or CLI_FAILED after a message. */
int cli_make_folder(const char *path);

/* "FOLDER/NAME" as a new string; NULL when memory ran out. */
char *cli_join_path(const char *folder, const char *name);

/* The path of `name` beside the file `path`, likewise. */
char *cli_beside(const char *path, const char *name);

#endif
