/* SPDX-License-Identifier: MIT
 * Kernels of attention on an emulated card: few scenes, and small ones. What check_devices has it checks
 * on a real one.
 *
 *     check_emulated few|many|exact [product|copy|barrier]
 *
 * With a fault of the card's, which the checks must find, it succeeds if they do. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "../answer.h"
#include "../usual.h"
#include "fault.h"

enum { N_KINDS = 9, SEQUENCES = 2 };

static tq_cuda_attention_config config_for(tq_cuda_accuracy accuracy, size_t n_queries, size_t kind) {
    tq_cuda_attention_config config = usual(accuracy);
    tq_attention_config *const layer = &config.layer;
    layer->n_heads = 4, layer->n_kv_heads = 2, layer->head_dim = 64;
    layer->k_format = accuracy == TQ_CUDA_FAST ? TQ_TQ6 : TQ_TQ4;
    layer->scale = 0.125f;
    layer->max_sequences = SEQUENCES, layer->max_queries = SEQUENCES * n_queries;
    layer->max_positions = 1600;
    layer->q_type = (tq_type)(kind % 3);
    layer->out_type = kind == 2 ? TQ_F16 : kind == 5 ? TQ_BF16 : TQ_F32;
    if (kind == 1) layer->window = 21, layer->sink_positions = 5;
    if (kind == 2) layer->bidirectional = 1, layer->softcap = 5.0f;
    config.dense = kind >= 4 && kind < 7;
    if (kind == 5) config.centre_stretch = 16;
    if (kind == 6) layer->window = 40;
    return config;
}

/* Causal, window, bidirectional, tree, three of float16 beside codes, hostile norms, and one that is long
 * enough for rings to go round and for blocks to share. */
static void check_kind(tq_cuda_accuracy accuracy, size_t n_queries, size_t kind) {
    const tq_cuda_attention_config config = config_for(accuracy, n_queries, kind);
    const planned p = plan_for(&config);
    scene s = plain("emulated", &config, n_queries);
    expect(p.info.many_from > 0 || n_queries < 9, "no kernel of many rows");
    s.n_sequences = SEQUENCES;
    s.lengths[0] = n_queries + 50 + 13 * kind, s.lengths[1] = kind == 0 ? 2 : n_queries + 7;
    if (kind == 8) s.lengths[0] = 1500;
    s.layout = (layout)(kind % 3);
    s.logits = kind % 2 == 0, s.slopes = kind == 2, s.open = s.base2 = kind == 1;
    s.n_tree = kind == 3 ? n_queries + 7 : 0;
    if (config.dense) {
        s.n_sinks = 4, s.code_first = kind == 4 ? 4 : 0;
        s.centre = true, s.stretch = config.centre_stretch, s.centre_lead = 3, s.along = kind == 5;
        s.has_coded = true, s.permuted_dense = true;
        s.coded[0] = s.lengths[0] - n_queries / 2 - 1, s.coded[1] = s.lengths[1] - 1;
        s.recent_capacity = n_queries + 13;
    }
    if (kind == 7) {
        s.marks[s.n_marks++] = (mark){0, s.lengths[0] - 2, -1, false, NAN};
        s.marks[s.n_marks++] = (mark){1, n_queries, 1, true, INFINITY};
        s.ordinary = false;
    }
    check_scene(&s, p.plan, &p.info);
    tq_cuda_attention_free(p.plan);
}

static int misuse(void) {
    fprintf(stderr, "Usage: check_emulated few|many|exact [product|copy|barrier]\n");
    return 2;
}

int main(int argc, char **argv) {
    static const char *const faults[] = {"", "product", "copy", "barrier"};
    static const size_t counts[][3] = {{1, 3, 8}, {9, 17, 40}, {1, 2}}; /* queries */
    static const char *const parts[] = {"few", "many", "exact"};
    size_t part = 0, fault = 0;
    if (argc < 2 || argc > 3) return misuse();
    while (part < 3 && strcmp(argv[1], parts[part]) != 0)
        part++;
    while (argc == 3 && fault < 4 && strcmp(argv[2], faults[fault]) != 0)
        fault++;
    if (part == 3 || fault == 4) return misuse();
    emulated_fault = (emulator_fault)fault;
    succeed(tq_cuda_open(0, &cuda));
    seed(1);
    for (size_t i = 0; i < 3 && counts[part][i] != 0; i++)
        for (size_t kind = 0; kind < (fault == FAULT_NONE ? N_KINDS : 1); kind++)
            check_kind(part == 2 ? TQ_CUDA_EXACT : TQ_CUDA_FAST, counts[part][i], kind);
    print_report();
    printf("%zu checks, %zu failed\n", checked, failed);
    tq_cuda_close(cuda);
    return (failed != 0) != (fault != FAULT_NONE);
}
