/* SPDX-License-Identifier: MIT
 * The files that a command writes: opened before its work, in place together after it. */
#ifndef TQKV_CLI_OUTPUTS_H
#define TQKV_CLI_OUTPUTS_H

#include "tqkv/io.h"

/* Both begin the set if *outputs is NULL. CLI_DONE, or the exit status after a message. */
int cli_open_output(tq_outputs **outputs, const char *path, tq_output **output);
int cli_open_output_in(tq_outputs **outputs, const char *folder, const char *name, tq_output **output);

/* Makes a folder for outputs unless it is there. */
int cli_open_folder(tq_outputs **outputs, const char *path);

/* Brings the outputs into place if the command went well (rc is CLI_DONE), and removes them otherwise.
 * Returns what the command ends with. */
int cli_close_outputs(tq_outputs *outputs, int rc);

#endif
