/* SPDX-License-Identifier: MIT
 * Plain tensors from files: .npy, or one of a .safetensors file, as FILE:NAME. */
#include "base/tensor.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/heads.h"
#include "base/message.h"

/* As many names of a file's tensors as a message has room for: "a, b, c and 269 more". */
enum { NAMES_SIZE = 400 };

static void list_names(const tq_safetensors *file, char text[NAMES_SIZE]) {
    size_t used = 0, n = 0, listed = 0;
    text[0] = '\0';
    for (const char *name = tq_safetensors_name(file, 0); name; name = tq_safetensors_name(file, ++n)) {
        if (listed < n || used + strlen(name) + 24 > NAMES_SIZE) continue;
        used += (size_t)snprintf(text + used, NAMES_SIZE - used, "%s%s", n ? ", " : "", name);
        listed = n + 1;
    }
    if (n == 0)
        snprintf(text, NAMES_SIZE, "none");
    else if (listed < n)
        snprintf(text + used, NAMES_SIZE - used, "%s%zu more", listed ? " and " : "", n - listed);
}

/* The file's bits of a value as float32. */
static float from_bits(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static float from_half(uint32_t half) {
    const uint32_t sign = (half & 0x8000u) << 16;
    if ((half & 0x7c00u) == 0x7c00u) return from_bits(sign | 0x7f800000u | (half & 0x3ffu) << 13);
    return cli_half((uint16_t)half);
}

static void widen(const tq_raw_tensor *raw, float *data) {
    const uint8_t *b = raw->bytes;
    const bool is_brain = strcmp(raw->type, "BF16") == 0;
    for (size_t i = 0; i < raw->n_values; i++, b += raw->item_size) {
        const uint32_t low = b[0] | (uint32_t)b[1] << 8;
        data[i] = raw->item_size == 4 ? from_bits(low | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24)
                  : is_brain          ? from_bits(low << 16)
                                      : from_half(low);
    }
}

static int take_raw(const char *path, const char *name, const tq_raw_tensor *raw, tq_tensor *tensor) {
    if (strcmp(raw->type, "F32") != 0 && strcmp(raw->type, "F16") != 0 && strcmp(raw->type, "BF16") != 0)
        return cli_fail("%s: tensor %s is of type %s; F32, F16 and BF16 are read", path, name, raw->type);
    float *data = cli_new_floats(raw->n_values, 1, 1);
    if (!data) return cli_out_of_memory();
    widen(raw, data);
    *tensor = (tq_tensor){.n_dims = raw->n_dims, .n_values = raw->n_values, .data = data};
    memcpy(tensor->shape, raw->shape, raw->n_dims * sizeof raw->shape[0]);
    return CLI_DONE;
}

/* name: NULL where the file's only tensor is meant. */
static int take_named(const char *path, const char *name, const tq_safetensors *file, tq_tensor *tensor) {
    char names[NAMES_SIZE];
    tq_raw_tensor raw;
    if (tq_safetensors_metadata(file, "tqkv.version", NULL))
        return cli_fail("%s: is an encoded tensor, and a plain one is wanted: 'tqkv decode' makes one",
                        path);
    list_names(file, names);
    if (!name && tq_safetensors_name(file, 1))
        return cli_fail("%s: which tensor? Write %s:NAME; there are %s", path, path, names);
    if (!name) name = tq_safetensors_name(file, 0);
    if (!name) return cli_fail("%s: holds no tensors", path);
    if (tq_safetensors_tensor(file, name, &raw) != TQ_OK)
        return cli_fail("%s: no tensor '%s'; there are %s", path, name, names);
    return take_raw(path, name, &raw, tensor);
}

static int read_named(const char *path, const char *name, tq_tensor *tensor) {
    tq_safetensors *file = NULL;
    char *file_path = cli_file_path(path);
    if (!file_path) return cli_out_of_memory();
    int rc = cli_check(NULL, tq_safetensors_read(file_path, &file));
    if (rc == CLI_DONE) rc = take_named(file_path, name, file, tensor);
    tq_safetensors_free(file);
    free(file_path);
    return rc;
}

static int parse_only(const cli_input *input, tq_tensor *tensor) {
    tq_safetensors *file = NULL;
    TRY(cli_check(NULL, tq_safetensors_parse(input->path, input->bytes, input->size, &file)));
    const int rc = take_named(input->path, input->tensor, file, tensor);
    tq_safetensors_free(file);
    return rc;
}

int cli_parse_tensor(const cli_input *input, tq_tensor *tensor) {
    if (input->kind == CLI_INPUT_SAFETENSORS || input->tensor) return parse_only(input, tensor);
    return cli_check(NULL, tq_npy_parse(input->path, input->bytes, input->size, tensor));
}

int cli_read_tensor(const char *path, tq_tensor *tensor) {
    const char *name = cli_tensor_name(path);
    cli_input input;
    if (name) return read_named(path, name, tensor); /* a model's file is large: no copy of it */
    TRY(cli_input_read(path, &input));
    const int rc = cli_parse_tensor(&input, tensor);
    cli_input_free(&input);
    return rc;
}
