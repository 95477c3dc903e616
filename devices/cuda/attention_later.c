/* SPDX-License-Identifier: MIT
 * tqkv/cuda_attention.h until it is there: every call says that it is not. This file goes when the calls
 * come. */
#include <stddef.h>

#include "tqkv/cuda_attention.h"

static tq_status later(void) {
    return tq_fail(TQ_E_UNSUPPORTED, 0, "attention", "this build has no attention on CUDA devices yet");
}

tq_status tq_cuda_attention_plan(tq_cuda *cuda, const tq_cuda_attention_config *config,
                                 tq_cuda_attention **attention, tq_cuda_attention_info *info) {
    (void)cuda, (void)config, (void)info;
    if (attention != NULL) *attention = NULL;
    return later();
}

void tq_cuda_attention_free(tq_cuda_attention *attention) {
    (void)attention;
}

tq_status tq_cuda_attention_workspace(const tq_cuda_attention *attention,
                                      const tq_cuda_attention_batch *batch, size_t *bytes) {
    (void)attention, (void)batch, (void)bytes;
    return later();
}

tq_status tq_cuda_attention_run(const tq_cuda_attention *attention, const tq_cuda_attention_batch *batch,
                                void *workspace, size_t workspace_bytes, void *stream) {
    (void)attention, (void)batch, (void)workspace, (void)workspace_bytes, (void)stream;
    return later();
}

tq_status tq_cuda_attention_merge(tq_cuda *cuda, size_t n_partials, size_t n_rows, size_t n_heads,
                                  size_t head_dim, const float *const *acc, const float *const *max,
                                  const float *const *sum, const float *sinks, int base2,
                                  tq_type out_type, void *out, float *lse, void *stream) {
    (void)cuda, (void)n_partials, (void)n_rows, (void)n_heads, (void)head_dim, (void)acc, (void)max;
    (void)sum, (void)sinks, (void)base2, (void)out_type, (void)out, (void)lse, (void)stream;
    return later();
}
