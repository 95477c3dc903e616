/* SPDX-License-Identifier: MIT
 * A sink that is no number is an error, a partial result that is none makes its row NaN: not "saw
 * nothing". */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "tqkv/tqkv.h"

enum { D = 32, T = 2 };

int main(void) {
    static float k[T * D], q[D], out[D], lse;
    for (int i = 0; i < T * D; i++)
        k[i] = q[i % D] = 1;
    const float sinks[] = {NAN, INFINITY, -INFINITY};
    int bad = 0;
    for (size_t i = 0; i < 3; i++) {
        size_t bytes;
        const tq_view view = {.store = TQ_STORE_F32,
                              .codec = {.head_dim = D},
                              .data = k,
                              .data_bytes = sizeof k,
                              .capacity = T};
        const tq_segment s = {.k = view, .v = view, .length = T};
        const tq_attention_params p = {.size = sizeof p,
                                       .n_heads = 1,
                                       .n_kv_heads = 1,
                                       .head_dim = D,
                                       .n_queries = 1,
                                       .scale = 0.1f,
                                       .sinks = &sinks[i]};
        if (tq_attention_workspace(&p, &s, 1, &bytes) != TQ_OK) return 2;
        void *w = aligned_alloc(64, bytes);
        const tq_status status = tq_attention(&p, &s, 1, q, D, out, D, &lse, 1, w, bytes);
        printf("sink %g: %s %s\n", (double)sinks[i], tq_status_name(status), tq_last_error()->message);
        bad |= status != TQ_E_NOT_FINITE;
        free(w);
    }
    static float acc[D];
    const float max = 1, sum = NAN;
    const float *a[] = {acc}, *m[] = {&max}, *su[] = {&sum};
    const tq_status status = tq_attention_merge(1, 1, 1, D, a, m, su, NULL, out, &lse);
    printf("merge of sum NaN: %s out %g lse %g\n", tq_status_name(status), (double)out[0], (double)lse);
    bad |= status != TQ_OK || !isnan(out[0]) || !isnan(lse);
    if (!bad) puts("HOLDS");
    return bad;
}
