/* SPDX-License-Identifier: MIT
 * Paths beside and below others, and the start of a file. */
#include "folder.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "message.h"

char *cli_join_path(const char *folder, const char *name) {
    const size_t room = strlen(folder) + strlen(name) + 2;
    char *path = malloc(room);
    if (path) {
        snprintf(path, room, "%s/%s", folder, name);
    }
    return path;
}

char *cli_beside(const char *path, const char *name) {
    const char *slash = strrchr(path, '/');
    const size_t length = slash ? (size_t)(slash - path) + 1 : 0, rest = strlen(name) + 1;
    char *result = malloc(length + rest);
    if (result) {
        memcpy(result, path, length);
        memcpy(result + length, name, rest);
    }
    return result;
}

int cli_read_bytes(const char *path, size_t n, uint8_t **bytes, size_t *held) {
    FILE *file = fopen(path, "rb");
    *bytes = NULL;
    if (!file) {
        return cli_fail("%s: %s", path, strerror(errno));
    }
    int rc = CLI_DONE;
    *bytes = malloc(n ? n : 1);
    if (!*bytes) {
        rc = cli_out_of_memory();
    } else {
        errno = 0;
        *held = fread(*bytes, 1, n, file);
        if (ferror(file)) {
            rc = cli_fail("%s: %s", path, strerror(errno));
        }
    }
    fclose(file);
    return rc;
}
