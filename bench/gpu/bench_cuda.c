/* SPDX-License-Identifier: MIT
 * Times libtqkv_cuda on one card: attention, encoding, decoding, and what the card reads and stores at
 * most. Prints a line of JSON for each. bench/gpu/run puts PyTorch beside it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "attend.h"
#include "bandwidth.h"
#include "codec.h"
#include "stage.h"
#include "tqkv/tqkv.h"

/* H, G, D; B, T, n. */
#define D64_GROUP_8  64, 8, 64
#define D64_GROUP_4  32, 8, 64
#define D128         32, 8, 128
#define D256         16, 8, 256
#define D512         16, 2, 512
#define TQ4_FAST     TQ_TQ4, TQ_TQ4, TQ_CUDA_FAST
#define TQ4_EXACT    TQ_TQ4, TQ_TQ4, TQ_CUDA_EXACT
#define TQ8_FAST     TQ_TQ8, TQ_TQ8, TQ_CUDA_FAST
#define DEFAULT_FAST TQ_DEFAULT_K_FORMAT, TQ_DEFAULT_V_FORMAT, TQ_CUDA_FAST
#define SWITCHED     D128, 8, 32768, 1, TQ4_FAST, CONTIGUOUS

enum { PREFILL = 512 }; /* tokens of a chunk */

/* In the order of what matters most, should time run out. */
static const attend_row attention_rows[] = {
    {D128, 8, 32768, 1, DEFAULT_FAST, BOTH, HELPERS},
    {D128, 32, 32768, 1, DEFAULT_FAST, BOTH, HELPERS},
    {D256, 8, 32768, 1, DEFAULT_FAST, BOTH, HELPERS},
    {D256, 32, 32768, 1, DEFAULT_FAST, BOTH, HELPERS},
    {D128, 8, 32768, 1, DEFAULT_FAST, BOTH, PLAIN},
    {D128, 32, 32768, 1, DEFAULT_FAST, BOTH, PLAIN},
    {D256, 8, 32768, 1, DEFAULT_FAST, BOTH, PLAIN},
    {D256, 32, 32768, 1, DEFAULT_FAST, BOTH, PLAIN},
    {D128, 8, 32768, 1, TQ4_FAST, BOTH, PLAIN},
    {D128, 32, 32768, 1, TQ4_FAST, BOTH, PLAIN},
    {D256, 8, 32768, 1, TQ4_FAST, BOTH, PLAIN},
    {D256, 32, 32768, 1, TQ4_FAST, BOTH, PLAIN},
    {D128, 8, 32768, 1, TQ4_EXACT, CONTIGUOUS, PLAIN},
    {D128, 32, 32768, 1, TQ4_EXACT, CONTIGUOUS, PLAIN},
    {D256, 8, 32768, 1, TQ4_EXACT, CONTIGUOUS, PLAIN},
    {D256, 32, 32768, 1, TQ4_EXACT, CONTIGUOUS, PLAIN},
    {D128, 8, 32768, 1, TQ8_FAST, CONTIGUOUS, PLAIN},
    {D128, 32, 32768, 1, TQ8_FAST, CONTIGUOUS, PLAIN},
    {D256, 8, 32768, 1, TQ8_FAST, CONTIGUOUS, PLAIN},
    {D256, 32, 32768, 1, TQ8_FAST, CONTIGUOUS, PLAIN},
    {D512, 8, 32768, 1, TQ4_FAST, BOTH, PLAIN},
    {D128, 8, 4096, 1, TQ4_FAST, BOTH, PLAIN},
    {D128, 1, 4096, 1, TQ4_FAST, BOTH, PLAIN},
    {D128, 1, 32768, 1, TQ4_FAST, BOTH, PLAIN},
    {D64_GROUP_8, 8, 32768, 1, TQ4_FAST, BOTH, PLAIN},
    {D64_GROUP_4, 8, 32768, 1, TQ4_FAST, BOTH, PLAIN},
    {SWITCHED, PLAIN}, /* again, beside what it is compared with */
    {SWITCHED, TAILS},
    {SWITCHED, WINDOW_EDGE},
    {SWITCHED, SOFTCAP},
    {SWITCHED, LOGITS},
    {SWITCHED, CENTRE},
    {SWITCHED, CENTRES},
    {SWITCHED, RECENT},
    {SWITCHED, SINKS},
    {SWITCHED, WINDOW_SHORT},
    {SWITCHED, PLAIN},
    {D128, 8, 32768, 4, TQ4_FAST, BOTH, PLAIN},
    {D128, 8, 32768, 8, TQ4_FAST, BOTH, PLAIN},
    {D256, 8, 32768, 4, TQ4_FAST, CONTIGUOUS, PLAIN},
    {D256, 8, 32768, 8, TQ4_FAST, CONTIGUOUS, PLAIN},
    {D128, 8, 32768, 16, TQ4_FAST, BOTH, PLAIN},
    {D256, 8, 32768, 16, TQ4_FAST, CONTIGUOUS, PLAIN},
    {D128, 1, 32768, PREFILL, TQ4_FAST, BOTH, PLAIN},
    {D256, 1, 32768, PREFILL, TQ4_FAST, CONTIGUOUS, PLAIN},
    {D128, 1, 32768, PREFILL, DEFAULT_FAST, CONTIGUOUS, HELPERS},
    {D128, 8, 32768, 4, DEFAULT_FAST, CONTIGUOUS, HELPERS},
    {D128, 32, 131072, 1, TQ4_FAST, CONTIGUOUS, PLAIN},
};

/* n, G, D. */
static const encode_row encode_rows[] = {
    {1, 8, 128, TQ_DEFAULT_K_FORMAT, TQ_DEFAULT_V_FORMAT, TQ_BF16, 1},
    {1, 8, 128, TQ_TQ4, TQ_TQ4, TQ_BF16, 0},
    {1, 8, 256, TQ_DEFAULT_K_FORMAT, TQ_DEFAULT_V_FORMAT, TQ_BF16, 1},
    {32, 8, 128, TQ_DEFAULT_K_FORMAT, TQ_DEFAULT_V_FORMAT, TQ_BF16, 1},
    {65536, 8, 128, TQ_TQ4, TQ_TQ4, TQ_F32, 0},
    {32768, 8, 256, TQ_TQ4, TQ_TQ4, TQ_F32, 0},
    {65536, 8, 128, TQ_TQ4, TQ_TQ4, TQ_BF16, 0},
    {65536, 8, 128, TQ_DEFAULT_K_FORMAT, TQ_DEFAULT_V_FORMAT, TQ_BF16, 1},
};

static const decode_row decode_rows[] = {
    {131072, 8, 128, TQ_TQ4, TQ_BF16, TQ_ORIGINAL}, {131072, 8, 128, TQ_TQ4, TQ_BF16, TQ_ROTATED},
    {65536, 8, 256, TQ_TQ4, TQ_BF16, TQ_ORIGINAL},  {65536, 8, 256, TQ_TQ4, TQ_BF16, TQ_ROTATED},
    {131072, 8, 128, TQ_TQ6, TQ_BF16, TQ_ORIGINAL},
};

#define COUNT(rows) (sizeof(rows) / sizeof(rows)[0])

typedef struct limit {
    stage *s;
    size_t bytes;
    unsigned blocks; /* 0: cudaMemset */
    uint32_t *sink;  /* NULL: it stores */
} limit;

static tq_status launch_limit(void *work, size_t i, cudaStream_t stream) {
    const limit *l = work;
    const unsigned turn = (unsigned)i;
    if (l->sink != NULL)
        need(bandwidth_read(l->s->codes.base, l->bytes, l->sink, l->blocks, stream), "bandwidth_read");
    else if (l->blocks != 0)
        need(bandwidth_store(l->s->scratch.base, l->bytes, turn, l->blocks, stream), "bandwidth_store");
    else
        need(cudaMemsetAsync(l->s->scratch.base, (int)(turn & 255), l->bytes, stream), "cudaMemset");
    return TQ_OK;
}

static void print_limit(const char *name, limit *l) {
    timing t;
    stage_time(l->s, launch_limit, l, 2, &t);
    printf("{\"kind\": \"limit\", \"name\": \"%s\", \"blocks\": %u, \"bytes\": %zu, ", name, l->blocks,
           l->bytes);
    print_timing(&t);
    printf(", \"gb_per_s\": %.1f}\n", (double)l->bytes / t.us / 1e3);
    fflush(stdout);
}

/* By as many blocks as is fastest on the card at hand. */
static void measure_limits(stage *s) {
    static const unsigned blocks[] = {2, 4, 16};
    stage_reset(s, 128, TQ_F32);
    uint32_t *sink = take(&s->scratch, sizeof *sink);
    limit read = {.s = s, .bytes = s->codes.bytes, .sink = sink};
    limit store = {.s = s, .bytes = s->scratch.bytes};
    for (size_t i = 0; i < COUNT(blocks); i++) {
        read.blocks = store.blocks = blocks[i] * s->multiprocessors;
        print_limit("read", &read);
        print_limit("store", &store);
    }
    store.blocks = 0;
    print_limit("store", &store);
}

static void print_card(const stage *s) {
    int driver = 0, runtime = 0;
    need(cudaDriverGetVersion(&driver), "cudaDriverGetVersion");
    need(cudaRuntimeGetVersion(&runtime), "cudaRuntimeGetVersion");
    printf("{\"kind\": \"card\", \"name\": \"%s\", \"multiprocessors\": %u, \"l2_bytes\": %zu, "
           "\"driver_cuda\": %d, \"runtime_cuda\": %d, \"version\": \"%s\"}\n",
           tq_cuda_name(s->cuda), s->multiprocessors, s->l2_bytes, driver, runtime, TQKV_VERSION);
    fflush(stdout);
}

static int usage(void) {
    fprintf(stderr, "Usage: bench_cuda [--budget SECONDS] [--only attention|many|codec|limits]\n");
    return 2;
}

int main(int argc, char **argv) {
    const double began = stage_clock();
    double budget = 90;
    const char *only = "";
    static stage s;
    for (int i = 1; i + 1 < argc; i += 2)
        if (strcmp(argv[i], "--budget") == 0)
            budget = strtod(argv[i + 1], NULL);
        else if (strcmp(argv[i], "--only") == 0)
            only = argv[i + 1];
        else
            return usage();
    if (argc % 2 == 0) return usage();
    stage_open(&s);
    print_card(&s);
    measure_limits(&s);
    for (size_t i = 0; i < COUNT(encode_rows) && strstr("codec", only) != NULL; i++)
        encode_measure(&s, &encode_rows[i], stage_clock() - began < budget);
    for (size_t i = 0; i < COUNT(decode_rows) && strstr("codec", only) != NULL; i++)
        decode_measure(&s, &decode_rows[i], stage_clock() - began < budget);
    const int many = strcmp(only, "many") == 0; /* of attention those with several queries */
    for (size_t i = 0; i < COUNT(attention_rows) && (many || strstr("attention", only) != NULL); i++)
        if (!many || attention_rows[i].queries > 1)
            attend_measure(&s, &attention_rows[i], stage_clock() - began < budget);
    measure_limits(&s);
    stage_close(&s);
    return 0;
}
