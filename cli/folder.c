/* SPDX-License-Identifier: MIT
 * Folders of results. */
#include "folder.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "command.h"
#include "message.h"

int cli_make_folder(const char *path) {
    struct stat info;
    if (mkdir(path, 0777) == 0) {
        return CLI_DONE;
    }
    const int reason = errno;
    if (reason == EEXIST && stat(path, &info) == 0 && S_ISDIR(info.st_mode)) {
        return CLI_DONE;
    }
    return cli_fail("%s: cannot make the folder: %s", path, strerror(reason));
}

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
