/* SPDX-License-Identifier: MIT
 * Codes and dense vectors in memory of one's own: older positions encoded, newer ones in float32, and
 * attention to both where they lie.
 *
 *     cc -std=c11 views.c -o views -ltqkv && ./views */
#include <stdio.h>
#include <stdlib.h>
#include <tqkv/tqkv.h>

enum { H = 4, G = 2, D = 64, OLD = 300, NEW = 40, CODE_BYTES = D / 2, NORM_BYTES = 2 /* of tq4 */ };

/* In place of a model. */
static void draw(float *x, size_t n) {
    for (size_t i = 0; i < n; i++)
        x[i] = (float)rand() / (float)RAND_MAX * 2 - 1;
}

/* [G][OLD][D] vectors as codes, and the view of these. */
static tq_status encode(const float *x, uint8_t *codes, uint8_t *norms, tq_view *view) {
    const tq_codec tq4 = {.format = TQ_TQ4, .head_dim = D};
    const tq_batch batch = {.heads = G, .rows = OLD};
    const tq_status status = tq_encode(&tq4, &batch, x, G * OLD * D, NULL, 0, codes, G * OLD * CODE_BYTES,
                                       norms, G * OLD * NORM_BYTES);
    if (status != TQ_OK) return status;
    return tq_view_codes(view, &tq4, G, OLD, codes, G * OLD * CODE_BYTES, norms, G * OLD * NORM_BYTES);
}

static tq_status attend(const tq_segment *segments, size_t n_segments, const float *q, float *out,
                        float *lse) {
    const tq_attention_params params = {.size = sizeof params,
                                        .n_heads = H,
                                        .n_kv_heads = G,
                                        .head_dim = D,
                                        .n_queries = 1, /* at the newest position */
                                        .scale = 0.125f};
    size_t bytes;
    tq_status status = tq_attention_workspace(&params, segments, n_segments, &bytes);
    if (status != TQ_OK) return status;
    void *workspace = aligned_alloc(64, bytes);
    if (workspace == NULL) return tq_fail(TQ_E_NO_MEMORY, 0, "attend", "no memory for a workspace");
    status = tq_attention(&params, segments, n_segments, q, H * D, out, H * D, lse, H, workspace, bytes);
    free(workspace);
    return status;
}

int main(void) {
    static float old[2][G * OLD * D], new[2][G * NEW * D], q[H * D], out[H * D], lse[H];
    static uint8_t codes[2][G * OLD * CODE_BYTES], norms[2][G * OLD * NORM_BYTES];
    tq_segment segments[] = {{.length = OLD}, {.length = NEW, .first_position = OLD}};
    for (int i = 0; i < 2; i++) {
        draw(old[i], G * OLD * D);
        draw(new[i], G * NEW * D);
    }
    draw(q, H * D);
    tq_status status = encode(old[0], codes[0], norms[0], &segments[0].k);
    if (status == TQ_OK) status = encode(old[1], codes[1], norms[1], &segments[0].v);
    if (status == TQ_OK) status = tq_view_dense(&segments[1].k, TQ_F32, D, G, NEW, new[0], G * NEW * D);
    if (status == TQ_OK) status = tq_view_dense(&segments[1].v, TQ_F32, D, G, NEW, new[1], G * NEW * D);
    if (status == TQ_OK) status = attend(segments, 2, q, out, lse);
    if (status == TQ_OK)
        printf("attended to %d positions of codes and %d of float32: lse = %g, out = %g %g ...\n", OLD,
               NEW, (double)lse[0], (double)out[0], (double)out[1]);
    else
        fprintf(stderr, "%s: %s\n", tq_status_name(status), tq_last_error()->message);
    return status == TQ_OK ? 0 : 1;
}
