/* SPDX-License-Identifier: MIT
 * Paths beside and below others. */
#include "base/folder.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

char *cli_join_path(const char *folder, const char *name) {
    const size_t room = strlen(folder) + strlen(name) + 2;
    char *path = malloc(room);
    if (path) snprintf(path, room, "%s/%s", folder, name);
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
