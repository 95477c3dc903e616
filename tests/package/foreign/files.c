/* SPDX-License-Identifier: MIT
 * A user's program on the file library: writes a tensor, reads it back, and gets refused once. */
#include <stdio.h>
#include <tqkv/io.h>

int main(void) {
    const char *path = "foreign.npy";
    const float values[6] = {1, 2, 3, 4, 5, 6};
    const size_t shape[2] = {2, 3};
    tq_tensor tensor;
    tq_encoded encoded;

    if (tq_npy_write(path, values, 2, shape) != TQ_OK || tq_npy_read(path, &tensor) != TQ_OK) {
        fprintf(stderr, "%s: %s\n", path, tq_last_error()->message);
        return 1;
    }
    const int same = tensor.n_dims == 2 && tensor.shape[1] == 3 && tensor.data[5] == 6.0f;
    tq_tensor_free(&tensor);
    /* The reader of the other kind needs jansson, so that a static link is put to the test. */
    const int refused = tq_encoded_read(path, &encoded) != TQ_OK;
    remove(path);
    return same && refused ? 0 : 1;
}
