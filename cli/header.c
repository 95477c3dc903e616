/* SPDX-License-Identifier: MIT
 * The start of a file: which kind it is, and what its header says beyond what the library returns. */
#include "header.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "command.h"
#include "message.h"

enum { NPY_MAGIC_BYTES = 6, LENGTH_BYTES = 8, NPY_LOOK_BYTES = 4096 };

static uint64_t little_endian(const unsigned char *bytes, size_t n) {
    uint64_t value = 0;
    for (size_t i = n; i-- > 0;) {
        value = value << 8 | bytes[i];
    }
    return value;
}

/* "<f2" can stand in a valid header only as the element type: its other values are words and numbers. */
static size_t npy_item_bytes(FILE *file) {
    char text[NPY_LOOK_BYTES + 1] = {0};
    const size_t n = fread(text, 1, NPY_LOOK_BYTES, file);
    for (size_t i = 0; i + 3 <= n && text[i] != '\n'; i++) {
        if (memcmp(text + i, "<f2", 3) == 0) {
            return 2;
        }
    }
    return 4;
}

/* The metadata object of a header of that length; NULL for anything that is not as it should be. */
static json_t *read_metadata(FILE *file, uint64_t length, size_t file_bytes) {
    json_t *metadata = NULL;
    if (length == 0 || length > file_bytes - LENGTH_BYTES) {
        return NULL;
    }
    char *text = malloc((size_t)length);
    if (text && fread(text, 1, (size_t)length, file) == length) {
        json_t *whole = json_loadb(text, (size_t)length, 0, NULL);
        metadata = json_incref(json_object_get(whole, "__metadata__"));
        json_decref(whole);
    }
    free(text);
    return metadata;
}

static int read_from(const char *path, FILE *file, cli_file_header *header) {
    unsigned char start[LENGTH_BYTES + 1] = {0};
    struct stat about;
    if (fstat(fileno(file), &about) == -1) {
        return cli_fail("%s: %s", path, strerror(errno));
    }
    header->file_bytes = (size_t)about.st_size;
    const size_t n = fread(start, 1, sizeof start, file);
    if (ferror(file)) {
        return cli_fail("%s: %s", path, strerror(errno));
    }
    if (n >= NPY_MAGIC_BYTES && memcmp(start, "\x93NUMPY", NPY_MAGIC_BYTES) == 0) {
        header->kind = CLI_FILE_NPY;
        header->item_bytes = npy_item_bytes(file);
        return CLI_DONE;
    }
    if (n == sizeof start && start[LENGTH_BYTES] == '{' && fseek(file, LENGTH_BYTES, SEEK_SET) == 0) {
        header->kind = CLI_FILE_SAFETENSORS;
        header->metadata = read_metadata(file, little_endian(start, LENGTH_BYTES), header->file_bytes);
        return CLI_DONE;
    }
    return cli_fail(
        "%s: byte 0: neither a .npy file (\\x93NUMPY) nor a .safetensors file (a length, then "
        "'{' at byte 8)",
        path);
}

int cli_read_header(const char *path, cli_file_header *header) {
    *header = (cli_file_header){0};
    FILE *file = fopen(path, "rb");
    if (!file) {
        return cli_fail("%s: %s", path, strerror(errno));
    }
    const int rc = read_from(path, file, header);
    fclose(file);
    return rc;
}
