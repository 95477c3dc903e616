/* SPDX-License-Identifier: MIT
 * A file that a command was given, read once, and what its header says beyond what the library returns.
 */
#include "base/input.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/message.h"
#include "tqkv/io.h"

enum { NPY_MAGIC_BYTES = 6, LENGTH_BYTES = 8 };

static int tell_kind(cli_input *input) {
    const uint8_t *bytes = input->bytes;
    if (input->size >= NPY_MAGIC_BYTES && memcmp(bytes, "\x93NUMPY", NPY_MAGIC_BYTES) == 0) {
        input->kind = CLI_INPUT_NPY;
        return CLI_DONE;
    }
    if (input->size > LENGTH_BYTES && bytes[LENGTH_BYTES] == '{') {
        input->kind = CLI_INPUT_SAFETENSORS;
        return CLI_DONE;
    }
    return cli_fail(
        "%s: byte 0: neither a .npy file (\\x93NUMPY) nor a .safetensors file (a length, then "
        "'{' at byte 8)",
        input->path);
}

const char *cli_tensor_name(const char *path) {
    const char *colon = access(path, F_OK) == 0 ? NULL : strchr(path, ':');
    for (; colon; colon = strchr(colon + 1, ':')) {
        char *file = strndup(path, (size_t)(colon - path));
        const bool is_there = file && access(file, F_OK) == 0;
        free(file);
        if (is_there) return colon + 1;
    }
    return NULL;
}

char *cli_file_path(const char *path) {
    const char *tensor = cli_tensor_name(path);
    return tensor ? strndup(path, (size_t)(tensor - 1 - path)) : strdup(path);
}

int cli_input_read(const char *path, cli_input *input) {
    *input = (cli_input){.path = path, .tensor = cli_tensor_name(path)};
    char *file = cli_file_path(path);
    if (!file) return cli_out_of_memory();
    int rc = cli_check(NULL, tq_file_read(file, SIZE_MAX, &input->bytes, &input->size));
    free(file);
    if (rc == CLI_DONE) rc = tell_kind(input);
    if (rc != CLI_DONE) cli_input_free(input);
    return rc;
}

void cli_input_free(cli_input *input) {
    free(input->bytes);
    *input = (cli_input){0};
}

/* "<f2" can stand in a valid header only as the element type: its other values are words and numbers. */
size_t cli_input_npy_item_bytes(const cli_input *input) {
    for (size_t i = NPY_MAGIC_BYTES; i + 3 <= input->size && input->bytes[i] != '\n'; i++)
        if (memcmp(input->bytes + i, "<f2", 3) == 0) return 2;
    return 4;
}

static json_t *header_of(const cli_input *input) {
    uint64_t length = 0;
    for (size_t i = LENGTH_BYTES; i-- > 0;)
        length = length << 8 | input->bytes[i];
    if (length > input->size - LENGTH_BYTES) return NULL;
    return json_loadb((const char *)input->bytes + LENGTH_BYTES, (size_t)length, JSON_ALLOW_NUL, NULL);
}

bool cli_input_is_plain_safetensors(const cli_input *input) {
    if (input->kind != CLI_INPUT_SAFETENSORS) return false;
    json_t *header = header_of(input);
    const bool is_plain =
        header && !json_object_get(json_object_get(header, "__metadata__"), "tqkv.version");
    json_decref(header);
    return is_plain;
}

json_t *cli_input_metadata(const cli_input *input) {
    json_t *header = header_of(input);
    json_t *metadata = json_incref(json_object_get(header, "__metadata__"));
    json_decref(header);
    return metadata;
}
