/* SPDX-License-Identifier: MIT
 * What a language model reads, from a file: bytes, or the tokens of a tokenizer. */
#include "base/text.h"

#include <stdlib.h>
#include <string.h>

#include "base/message.h"
#include "tqkv/io.h"

enum { BYTES = 256 };

static const char ending[] = ".safetensors";

static bool is_token_file(const char *path) {
    const size_t length = strlen(path), end = sizeof ending - 1;
    return length >= end && strcmp(path + length - end, ending) == 0;
}

/* Items of `size` bytes, little-endian. */
static void widen(const uint8_t *bytes, size_t size, size_t n, uint32_t *tokens) {
    for (size_t i = 0; i < n; i++) {
        tokens[i] = 0;
        for (size_t b = 0; b < size; b++)
            tokens[i] |= (uint32_t)bytes[i * size + b] << 8 * b;
    }
}

static int check_tokens(const char *path, const uint32_t *tokens, size_t n, const lm_shape *shape) {
    for (size_t i = 0; i < n; i++)
        if (tokens[i] >= shape->vocab)
            return cli_fail("%s: token %zu is %lu, and the vocabulary of %s has %zu: these are another "
                            "model's tokens",
                            path, i, (unsigned long)tokens[i], shape->name, shape->vocab);
    return CLI_DONE;
}

static int take(const char *path, const uint8_t *bytes, size_t size, size_t n, const lm_shape *shape,
                uint32_t **tokens) {
    *tokens = malloc((n + 1) * sizeof **tokens); /* n items lie in memory; 4 bytes each are little more */
    if (!*tokens) return cli_out_of_memory();
    widen(bytes, size, n, *tokens);
    return check_tokens(path, *tokens, n, shape);
}

static int take_tensor(const char *path, const tq_safetensors *file, const lm_shape *shape, size_t most,
                       uint32_t **tokens, size_t *n) {
    tq_raw_tensor t;
    const char *model = tq_safetensors_metadata(file, "tqkv.tokens.model", NULL);
    TRY(cli_check(path, tq_safetensors_tensor(file, "tokens", &t)));
    const size_t size = strcmp(t.type, "U8") == 0    ? 1
                        : strcmp(t.type, "U16") == 0 ? 2
                        : strcmp(t.type, "U32") == 0 ? 4
                                                     : 0;
    if (size == 0 || t.n_dims != 1)
        return cli_fail(
            "%s: tensor tokens is %s with %zu dimensions; U8, U16 or U32 with one is expected", path,
            t.type, t.n_dims);
    if (model && strcmp(model, shape->name) != 0)
        return cli_fail("%s: tokens of %s; the model is %s, whose tokens are others", path, model,
                        shape->name);
    *n = t.n_values < most ? t.n_values : most;
    return take(path, t.bytes, size, *n, shape, tokens);
}

static int read_bytes(const char *path, const lm_shape *shape, size_t most, uint32_t **tokens,
                      size_t *n) {
    uint8_t *bytes = NULL;
    TRY(cli_check(NULL, tq_file_read(path, most, &bytes, n)));
    const int rc =
        shape->vocab == BYTES
            ? take(path, bytes, 1, *n, shape, tokens)
            : cli_fail("%s: bytes, and %s has a vocabulary of %zu; give its tokens, which models/get "
                       "writes as .safetensors",
                       path, shape->name, shape->vocab);
    free(bytes);
    return rc;
}

int cli_read_tokens(const char *path, const lm_model *model, size_t most, uint32_t **tokens, size_t *n) {
    const lm_shape shape = lm_model_shape(model);
    tq_safetensors *file = NULL;
    *tokens = NULL;
    *n = 0;
    if (!is_token_file(path)) return read_bytes(path, &shape, most, tokens, n);
    TRY(cli_check(NULL, tq_safetensors_read(path, &file)));
    const int rc = take_tensor(path, file, &shape, most, tokens, n);
    tq_safetensors_free(file);
    return rc;
}
