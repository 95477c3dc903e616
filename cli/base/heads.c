/* SPDX-License-Identifier: MIT
 * A plain tensor seen as heads of vectors, read and checked. */
#include "base/heads.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/message.h"
#include "base/tensor.h"

void cli_shape_text(const tq_tensor *tensor, char *text, size_t size) {
    size_t used = 0;
    text[0] = '\0';
    for (size_t i = 0; i < tensor->n_dims && used < size; i++) {
        const int n = snprintf(text + used, size - used, "[%zu]", tensor->shape[i]);
        used += n > 0 ? (size_t)n : 0;
    }
    if (tensor->n_dims == 0) snprintf(text, size, "[]");
}

/* The index as numpy would take it: "[0, 3, 17]". */
static void index_text(const tq_tensor *tensor, size_t flat, char *text, size_t size) {
    size_t at[TQ_MAX_DIMS] = {0};
    size_t used = 0;

    for (size_t i = tensor->n_dims; i-- > 0; flat /= tensor->shape[i])
        at[i] = flat % tensor->shape[i];
    text[0] = '\0';
    for (size_t i = 0; i < tensor->n_dims && used < size; i++) {
        const int n = snprintf(text + used, size - used, "%s%zu", i ? ", " : "[", at[i]);
        used += n > 0 ? (size_t)n : 0;
    }
    if (used < size) snprintf(text + used, size - used, tensor->n_dims ? "]" : "[]");
}

int cli_check_values(const char *path, const tq_tensor *tensor, float limit) {
    for (size_t i = 0; i < tensor->n_values; i++) {
        const float value = tensor->data[i];
        if (fabsf(value) <= limit) continue;
        char index[256];
        index_text(tensor, i, index, sizeof index);
        if (isfinite(value)) {
            return cli_fail("%s: value %s (flat index %zu) is %.9g; %smagnitudes up to %s can be encoded",
                            path, index, i, (double)value,
                            limit < TQ_MAX_ABS ? "with a centre or float16 positions, " : "",
                            limit < TQ_MAX_ABS ? "65504" : "2^57");
        }
        return cli_fail("%s: value %s (flat index %zu) is %s; every value must be finite", path, index, i,
                        isnan(value) ? "NaN" : "infinite");
    }
    return CLI_DONE;
}

static int see_as_heads(const char *path, const tq_tensor *tensor, cli_heads *heads) {
    char shape[256];
    cli_shape_text(tensor, shape, sizeof shape);
    if (tensor->n_dims < 2)
        return cli_fail("%s: shape %s; at least [positions][head_dim] is needed", path, shape);
    if (tensor->n_values == 0) return cli_fail("%s: shape %s holds no values", path, shape);
    heads->head_dim = tensor->shape[tensor->n_dims - 1];
    heads->n_positions = tensor->shape[tensor->n_dims - 2];
    heads->n_heads = tensor->n_values / heads->head_dim / heads->n_positions;
    heads->data = tensor->data;
    if (heads->head_dim > UINT32_MAX)
        return cli_fail("%s: the head dimension of shape %s is beyond every format's", path, shape);
    return CLI_DONE;
}

static int take_heads(const char *path, tq_tensor *tensor, cli_heads *heads) {
    int rc = see_as_heads(path, tensor, heads);
    if (rc == CLI_DONE) rc = cli_check_values(path, tensor, TQ_MAX_ABS);
    if (rc != CLI_DONE) tq_tensor_free(tensor);
    return rc;
}

int cli_read_heads(const char *path, tq_tensor *tensor, cli_heads *heads) {
    TRY(cli_read_tensor(path, tensor));
    return take_heads(path, tensor, heads);
}

int cli_parse_heads(const cli_input *input, tq_tensor *tensor, cli_heads *heads) {
    TRY(cli_parse_tensor(input, tensor));
    return take_heads(input->path, tensor, heads);
}

void cli_tell_heads(const char *path, const cli_heads *heads, const char *more) {
    cli_print_line("# %s: %zu head%s of %zu position%s of %zu%s", path, heads->n_heads,
                   heads->n_heads == 1 ? "" : "s", heads->n_positions, heads->n_positions == 1 ? "" : "s",
                   heads->head_dim, more);
    fflush(stdout); /* what it could not print cli_flush_output() reports */
}

float *cli_new_floats(size_t a, size_t b, size_t c) {
    const size_t most = SIZE_MAX / sizeof(float);
    if ((b != 0 && a > most / b) || (c != 0 && a * b > most / c)) return NULL;
    const size_t n = a * b * c;
    return malloc((n ? n : 1) * sizeof(float));
}

float cli_half(uint16_t half) {
    const int exponent = half >> 10 & 0x1f, fraction = half & 0x3ff;
    const float size =
        exponent == 0 ? ldexpf((float)fraction, -24) : ldexpf((float)(1024 + fraction), exponent - 25);
    return half & 0x8000 ? -size : size; /* norms and centres are finite */
}
