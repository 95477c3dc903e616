/* SPDX-License-Identifier: MIT
 * Decode steps of four sequences on a GPU. Keys and values lie encoded in pages of one pool; a step is a
 * CUDA graph that is captured once and replayed: the newest token of each sequence is encoded, and its
 * query attends to all tokens so far.
 *
 *     cc -std=c11 cuda_decode.c -o cuda_decode -ltqkv_cuda -ltqkv -lcudart && ./cuda_decode */
#include <cuda_runtime_api.h>
#include <stdio.h>
#include <stdlib.h>
#include <tqkv/cuda_attention.h>
#include <tqkv/tqkv.h>

enum { B = 4, H = 8, G = 2, D = 128, STEPS = 200 };
enum {
    PAGE = 64,
    TABLE = STEPS / PAGE + 1,
    PAGES = B * TABLE
}; /* tokens of a page, pages of a sequence */
enum { CODES = PAGES * G * PAGE * D / 2, NORMS = PAGES * G * PAGE * 2 }; /* bytes of the pool, for tq4 */

static void check(tq_status status) {
    if (status == TQ_OK) return;
    fprintf(stderr, "%s: %s\n", tq_status_name(status), tq_last_error()->message);
    exit(1);
}

static void check_cuda(cudaError_t error) {
    if (error == cudaSuccess) return;
    fprintf(stderr, "CUDA: %s\n", cudaGetErrorString(error));
    exit(1);
}

/* Memory that the device and, between steps, the host may use. */
static void *memory(size_t bytes) {
    void *p;
    check_cuda(cudaMallocManaged(&p, bytes == 0 ? 1 : bytes, cudaMemAttachGlobal));
    return p;
}

/* In place of a model. */
static void draw(float *x, size_t n) {
    for (size_t i = 0; i < n; i++)
        x[i] = (float)rand() / (float)RAND_MAX * 2 - 1;
}

int main(void) {
    if (tq_cuda_count() == 0) {
        printf("There is no CUDA device here, and this example wants one.\n");
        return 77;
    }

    /* Once: the device, and the plan that serves all steps (and all layers of this kind). */
    const tq_cuda_attention_config config = {.size = sizeof config,
                                             .layer = {.size = sizeof config.layer,
                                                       .n_heads = H,
                                                       .n_kv_heads = G,
                                                       .head_dim = D,
                                                       .k_format = TQ_TQ4,
                                                       .v_format = TQ_TQ4,
                                                       .scale = 0.0883883f, /* 1 / sqrt(D) */
                                                       .max_sequences = B,
                                                       .max_positions = STEPS}};
    tq_cuda *cuda;
    tq_cuda_attention *attention;
    tq_cuda_attention_info info;
    check(tq_cuda_open(0, &cuda));
    check(tq_cuda_attention_plan(cuda, &config, &attention, &info));
    void *workspace = memory(info.workspace_bytes);

    /* What a step reads and writes: its vectors, [B][heads][D], and where they belong. */
    float *q = memory(B * H * D * sizeof *q), *out = memory(B * H * D * sizeof *out), *kv[2];
    int32_t *tables = memory(PAGES * sizeof *tables), *lengths = memory(B * sizeof *lengths);
    int64_t *slots = memory(B * sizeof *slots);
    tq_view views[2]; /* the pools of keys and of values, [PAGES][G][PAGE] vectors each */
    tq_cuda_side sides[2];
    for (int i = 0; i < 2; i++) {
        kv[i] = memory(B * G * D * sizeof *kv[i]);
        void *codes = memory(CODES), *norms = memory(NORMS);
        const tq_codec tq4 = {.format = TQ_TQ4, .head_dim = D};
        check(tq_view_codes(&views[i], &tq4, G, PAGES * PAGE, codes, CODES, norms, NORMS));
        check(tq_view_paged(&views[i], NULL, 0, PAGE));
        sides[i] = (tq_cuda_side){.codec = tq4,
                                  .src = kv[i],
                                  .codes = codes,
                                  .n_codes = CODES,
                                  .norms = norms,
                                  .n_norms = NORMS};
    }
    for (int32_t i = 0; i < PAGES; i++)
        tables[i] = i * 7 % PAGES; /* any order: an engine hands pages out as sequences grow */

    const tq_cuda_encode_params encode = {.size = sizeof encode,
                                          .n_tokens = B,
                                          .n_kv_heads = G,
                                          .k = &sides[0],
                                          .v = &sides[1],
                                          .page_rows = PAGE,
                                          .n_slots = PAGES * PAGE,
                                          .slots = slots};
    const tq_cuda_attention_batch attend = {.size = sizeof attend,
                                            .n_sequences = B,
                                            .k = &views[0],
                                            .v = &views[1],
                                            .block_tables = tables,
                                            .table_stride = TABLE,
                                            .lengths = lengths,
                                            .q = q,
                                            .n_q = B * H * D,
                                            .out = out,
                                            .n_out = B * H * D};

    /* The step, captured: calls enqueue their work and read lengths, tables and slots on the device. */
    cudaStream_t stream;
    cudaGraph_t graph;
    cudaGraphExec_t step;
    check_cuda(cudaStreamCreate(&stream));
    check_cuda(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal));
    check(tq_cuda_encode(cuda, &encode, stream));
    check(tq_cuda_attention_run(attention, &attend, workspace, info.workspace_bytes, stream));
    check_cuda(cudaStreamEndCapture(stream, &graph));
    check_cuda(cudaGraphInstantiate(&step, graph, 0));

    for (int t = 0; t < STEPS; t++) {
        for (int b = 0; b < B; b++) {
            slots[b] = (int64_t)tables[b * TABLE + t / PAGE] * PAGE + t % PAGE;
            lengths[b] = t + 1; /* the newest token included */
        }
        draw(q, B * H * D), draw(kv[0], B * G * D), draw(kv[1], B * G * D);
        check_cuda(cudaGraphLaunch(step, stream));
        check_cuda(cudaStreamSynchronize(stream));
    }
    printf("%d steps of %d sequences, %d bytes of codes and norms: out = %g %g ...\n", STEPS, B,
           2 * (CODES + NORMS), (double)out[0], (double)out[1]);
    tq_cuda_attention_free(attention);
    tq_cuda_close(cuda);
    return 0; /* memory, graph and stream go with the process */
}
