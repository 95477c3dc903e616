/* SPDX-License-Identifier: MIT
 * Gives files, and the files in folders, to a fuzz target: the corpus as an ordinary test. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

#include "fuzz.h"

/* The bytes end where the memory ends, so that a sanitizer sees a read past them. */
static int replay_file(const char *path) {
    FILE *f = fopen(path, "rb");
    long size = -1;
    if (f != NULL && fseek(f, 0, SEEK_END) == 0) size = ftell(f);
    if (size < 0) {
        perror(path);
        return 1;
    }
    rewind(f);
    uint8_t *bytes = malloc(size == 0 ? 1 : (size_t)size);
    int failed = bytes == NULL || fread(bytes, 1, (size_t)size, f) != (size_t)size;
    if (failed)
        fprintf(stderr, "%s: cannot be read whole\n", path);
    else
        LLVMFuzzerTestOneInput(bytes, (size_t)size);
    free(bytes);
    fclose(f);
    return failed;
}

static int replay(const char *path, size_t *count) {
    char inner[1024];
    int failed = 0;
    DIR *dir = opendir(path);
    if (dir == NULL) {
        ++*count;
        return replay_file(path);
    }
    for (struct dirent *e = readdir(dir); e != NULL; e = readdir(dir)) {
        if (e->d_name[0] == '.') continue;
        snprintf(inner, sizeof inner, "%s/%s", path, e->d_name);
        failed |= replay_file(inner);
        ++*count;
    }
    closedir(dir);
    return failed;
}

int main(int argc, char **argv) {
    int failed = 0;
    for (int i = 1; i < argc; i++) {
        size_t count = 0;
        failed |= replay(argv[i], &count);
        printf("%s: %zu files\n", argv[i], count);
        failed |= count == 0; /* an empty folder would test nothing */
    }
    return failed || argc == 1;
}
