/* SPDX-License-Identifier: MIT
 * A NaN in one cached key: the answer shows it, on every instruction set alike. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "tqkv/tqkv.h"

enum { D = 64, T = 3 };

int main(void) {
    static float k[T * D], v[T * D], q[D], out[D], lse;
    for (int t = 0; t < T; t++)
        v[t * D + t] = 1; /* coordinate t of the output is the weight of t */
    for (int i = 0; i < D; i++)
        q[i] = 1;
    k[1 * D] = NAN;
    size_t n, bytes;
    const tq_isa *isas = tq_isas(&n);
    int hidden = 0;
    for (size_t i = 0; i < n; i++) {
        if (tq_isa_set(isas[i]) != TQ_OK) continue;
        tq_segment s = {.k = {.store = TQ_STORE_F32,
                              .codec = {.head_dim = D},
                              .data = k,
                              .data_bytes = sizeof k,
                              .capacity = T},
                        .length = T};
        s.v = s.k;
        s.v.data = v;
        const tq_attention_params p = {.size = sizeof p,
                                       .n_heads = 1,
                                       .n_kv_heads = 1,
                                       .head_dim = D,
                                       .n_queries = 1,
                                       .scale = 0.125f};
        if (tq_attention_workspace(&p, &s, 1, &bytes) != TQ_OK) return 2;
        void *w = aligned_alloc(64, bytes);
        const tq_status status = tq_attention(&p, &s, 1, q, D, out, D, &lse, 1, w, bytes);
        const int seen = status == TQ_OK && isnan(out[0]) && isnan(out[D - 1]) && isnan(lse);
        printf("%-11s %s lse %g: %s\n", tq_isa_name(isas[i]), tq_status_name(status), (double)lse,
               seen ? "shown" : "hidden");
        hidden |= !seen;
        free(w);
    }
    if (!hidden) puts("HOLDS");
    return hidden;
}
