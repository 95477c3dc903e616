/* SPDX-License-Identifier: MIT
 * What the fuzz targets share. */
#include "fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

void fuzz_broken(const char *condition, const char *file, int line) {
    fprintf(stderr, "%s:%d: broken promise: %s\n", file, line, condition);
    abort();
}

static char path[512];

static void remove_path(void) {
    unlink(path);
}

const char *fuzz_path(void) {
    if (path[0] != '\0') return path;
    const char *folder = getenv("TMPDIR");
    snprintf(path, sizeof path, "%s/tqkv-fuzz-%ld", folder == NULL ? "/tmp" : folder, (long)getpid());
    atexit(remove_path);
    return path;
}
