/* SPDX-License-Identifier: MIT
 * The files that a command writes. */
#include "base/outputs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/message.h"

static tq_status begin(tq_outputs **outputs) {
    return *outputs ? TQ_OK : tq_outputs_begin(outputs);
}

int cli_open_output(tq_outputs **outputs, const char *path, tq_output **output) {
    tq_status status = begin(outputs);
    if (status == TQ_OK) status = tq_outputs_open(*outputs, path, output);
    if (status == TQ_E_OVERLAP) return cli_misuse("%s", tq_last_error()->message);
    return cli_check(NULL, status);
}

int cli_open_output_in(tq_outputs **outputs, const char *folder, const char *name, tq_output **output) {
    const size_t room = strlen(folder) + strlen(name) + 2;
    char *path = malloc(room);
    if (!path) return cli_out_of_memory();
    snprintf(path, room, "%s/%s", folder, name);
    const int rc = cli_open_output(outputs, path, output);
    free(path);
    return rc;
}

int cli_open_folder(tq_outputs **outputs, const char *path) {
    const tq_status status = begin(outputs);
    return cli_check(NULL, status == TQ_OK ? tq_outputs_folder(*outputs, path) : status);
}

int cli_close_outputs(tq_outputs *outputs, int rc) {
    if (rc == CLI_DONE && outputs) rc = cli_check(NULL, tq_outputs_commit(outputs));
    if (rc == CLI_DONE && tq_outputs_disowned(outputs)) {
        cli_note(
            "%s: its owner or group is not that of the file it replaces, which you may not give to it",
            tq_outputs_disowned(outputs));
    }
    tq_outputs_end(outputs);
    return rc;
}
