/* SPDX-License-Identifier: MIT
 * A plug-in's work on two threads: an encoding of 8 tasks. */
#include "tqkv/codec.h"

enum { D = 128, T = 4096 };

TQ_API int work(void);

int work(void) {
    static float x[T * D];
    static uint16_t norms[T];
    static uint8_t codes[T * D / 2];
    tq_parallel parallel;
    const tq_codec codec = {.format = TQ_TQ4, .head_dim = D};
    const tq_batch batch = {.heads = 1, .rows = T, .parallel = &parallel};
    return tq_parallel_openmp(&parallel, 2) != TQ_OK ||
           tq_encode(&codec, &batch, x, T * D, NULL, 0, codes, sizeof codes, norms, sizeof norms) !=
               TQ_OK;
}
