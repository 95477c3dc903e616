/* SPDX-License-Identifier: MIT
 * A user's program on the core library: encodes a vector, decodes it and looks at the error. */
#include <stdio.h>
#include <string.h>
#include <tqkv/tqkv.h>

enum { D = 64 };

static int fail(const char *what) {
    fprintf(stderr, "%s: %s\n", what, tq_last_error()->message);
    return 1;
}

int main(void) {
    const tq_codec codec = {.format = TQ_TQ8, .head_dim = D, .norm_rule = TQ_NORM_PLAIN};
    const tq_batch batch = {.heads = 1, .rows = 1};
    float x[D], back[D], error = 0, power = 0;
    unsigned char codes[D], norm[2];

    if (strcmp(tq_version(), TQKV_VERSION) != 0) {
        fprintf(stderr, "header %s, library %s\n", TQKV_VERSION, tq_version());
        return 1;
    }
    for (int i = 0; i < D; i++)
        x[i] = (float)(i % 7) - 3.0f;
    if (tq_encode(&codec, &batch, x, D, NULL, 0, codes, D, norm, sizeof norm) != TQ_OK)
        return fail("tq_encode");
    if (tq_decode(&codec, &batch, TQ_ORIGINAL, codes, D, norm, sizeof norm, NULL, 0, back, D) != TQ_OK)
        return fail("tq_decode");
    for (int i = 0; i < D; i++) {
        error += (back[i] - x[i]) * (back[i] - x[i]);
        power += x[i] * x[i];
    }
    if (!(error < 1e-3f * power)) {
        fprintf(stderr, "relative squared error %g\n", (double)(error / power));
        return 1;
    }
    return 0;
}
