/* SPDX-License-Identifier: MIT
 * A kind of layer and a scene of it, for checks to start from. */
#ifndef TESTS_DEVICES_USUAL_H
#define TESTS_DEVICES_USUAL_H

#include "answer.h"

/* A usual layer: grouped heads, D 128, four bits. */
static inline tq_cuda_attention_config usual(tq_cuda_accuracy accuracy) {
    return (tq_cuda_attention_config){.size = sizeof(tq_cuda_attention_config),
                                      .accuracy = accuracy,
                                      .layer = {.size = sizeof(tq_attention_config),
                                                .n_heads = 8,
                                                .n_kv_heads = 2,
                                                .head_dim = 128,
                                                .k_format = TQ_TQ4,
                                                .v_format = TQ_TQ4,
                                                .scale = 0.0883883f,
                                                .max_sequences = 5,
                                                .max_queries = 85,
                                                .max_positions = 6000}};
}

static inline scene plain(const char *name, const tq_cuda_attention_config *config, size_t n_queries) {
    return (scene){.name = name,
                   .config = *config,
                   .n_sequences = 5,
                   .n_queries = n_queries,
                   .page_rows = 16,
                   .paged = true,
                   .lse = true,
                   .ordinary = true};
}

typedef struct planned {
    tq_cuda_attention_config config;
    tq_cuda_attention *plan;
    tq_cuda_attention_info info;
} planned;

static inline planned plan_for(const tq_cuda_attention_config *config) {
    planned p = {.config = *config};
    p.plan = plan_of(config, &p.info);
    return p;
}

#endif
