/* SPDX-License-Identifier: MIT
 * Any bytes as a .npy file: refused with an error that says so, or read, written and read again alike. */
#include <string.h>

#include "fuzz.h"
#include "tqkv/io.h"

static void check_sizes(const tq_tensor *t, size_t file_size) {
    size_t product = 1;
    REQUIRE(t->n_dims <= TQ_MAX_DIMS);
    for (size_t i = 0; i < t->n_dims; i++)
        product *= t->shape[i];
    REQUIRE(product == t->n_values);
    REQUIRE(t->n_values <= file_size / 2); /* '<f2' has two bytes a value */
    REQUIRE(t->data != NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    tq_tensor t, back;
    tq_status status = tq_npy_parse("fuzz", bytes, size, &t);
    if (status != TQ_OK) {
        REQUIRE(tq_last_error()->status == status);
        REQUIRE(strncmp(tq_last_error()->message, "fuzz: byte ", 11) == 0);
        REQUIRE(tq_last_error()->index <= size);
        return 0;
    }
    check_sizes(&t, size);
    REQUIRE(tq_npy_write(fuzz_path(), t.data, t.n_dims, t.shape) == TQ_OK);
    REQUIRE(tq_npy_read(fuzz_path(), &back) == TQ_OK);
    REQUIRE(back.n_dims == t.n_dims && back.n_values == t.n_values);
    REQUIRE(memcmp(back.shape, t.shape, sizeof t.shape) == 0);
    REQUIRE(memcmp(back.data, t.data, t.n_values * sizeof *t.data) == 0);
    tq_tensor_free(&back);
    tq_tensor_free(&t);
    return 0;
}
