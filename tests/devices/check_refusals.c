/* SPDX-License-Identifier: MIT
 * Arguments that are wrong: each is refused by its status, and nothing is written. A status of ANY says
 * only that it must not pass. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "answer.h"
#include "check.h"
#include "usual.h"

static const tq_status any = (tq_status)-1;

static void told(tq_status got, tq_status wanted, const char *what) {
    const bool right = wanted == any ? got != TQ_OK : got == wanted;
    expect(right, "%s: %s, %s wanted (field \"%s\": %s)", what, tq_status_name(got),
           wanted == any ? "a refusal" : tq_status_name(wanted), tq_last_error()->field,
           tq_last_error()->message);
    if (got != TQ_OK)
        expect(tq_last_error()->status == got && tq_last_error()->message[0] != 0, "%s: no message",
               what);
}

/* A field of a plan's configuration set to what it must not be. */
#define PLAN(status, field, number)                                                                      \
    do {                                                                                                 \
        tq_cuda_attention_config c = usual(TQ_CUDA_FAST);                                                \
        c.field = number;                                                                                \
        refuse_plan(&c, status, #field " = " #number);                                                   \
    } while (0)

static void refuse_plan(const tq_cuda_attention_config *config, tq_status status, const char *what) {
    tq_cuda_attention *plan = (tq_cuda_attention *)(void *)&plan;
    const tq_status got = tq_cuda_attention_plan(cuda, config, &plan, NULL);
    told(got, status, what);
    if (got != TQ_OK) expect(plan == NULL, "%s: a plan all the same", what);
    if (got == TQ_OK) tq_cuda_attention_free(plan);
}

static void check_plans(void) {
    tq_cuda_attention_config config = usual(TQ_CUDA_FAST);
    tq_cuda_attention *plan;
    told(tq_cuda_attention_plan(NULL, &config, &plan, NULL), TQ_E_NULL, "no handle");
    told(tq_cuda_attention_plan(cuda, NULL, &plan, NULL), TQ_E_NULL, "no configuration");
    told(tq_cuda_attention_plan(cuda, &config, NULL, NULL), TQ_E_NULL, "nowhere to put a plan");
    PLAN(TQ_E_SIZE, size, 0);
    PLAN(TQ_E_SIZE, layer.size, 0);
    PLAN(TQ_E_SIZE, layer.max_positions, 0);
    PLAN(TQ_E_HEADS, layer.n_heads, 0);
    PLAN(TQ_E_HEADS, layer.n_heads, 7);
    PLAN(TQ_E_HEADS, layer.n_kv_heads, 0);
    PLAN(TQ_E_HEAD_DIM, layer.head_dim, 16);
    PLAN(TQ_E_HEAD_DIM, layer.head_dim, 100);
    PLAN(TQ_E_HEAD_DIM, layer.head_dim, 1040);
    PLAN(TQ_E_HEAD_DIM, layer.v_head_dim, 24);
    PLAN(TQ_E_HEAD_DIM, layer.k_format, TQ_TQ4_V1);
    PLAN(TQ_E_HEAD_DIM, layer.v_format, TQ_TQ8_V1);
    PLAN(TQ_E_FORMAT, layer.k_format, (tq_format)0);
    PLAN(TQ_E_FORMAT, layer.v_format, (tq_format)0);
    PLAN(TQ_E_FORMAT, layer.k_format, (tq_format)9);
    PLAN(TQ_E_FORMAT, layer.v_format, (tq_format)0x107);
    PLAN(TQ_E_FORMAT, layer.q_type, (tq_type)3);
    PLAN(TQ_E_FORMAT, layer.out_type, (tq_type)77);
    PLAN(TQ_E_FORMAT, accuracy, (tq_cuda_accuracy)2);
    PLAN(TQ_E_SCALE, layer.scale, 0.0f);
    PLAN(TQ_E_NOT_FINITE, layer.scale, NAN);
    PLAN(TQ_E_NOT_FINITE, layer.scale, INFINITY);
    PLAN(TQ_E_NOT_FINITE, layer.softcap, -1.0f);
    PLAN(TQ_E_NOT_FINITE, layer.softcap, INFINITY);
    PLAN(TQ_E_DOMAIN, layer.domain, (tq_domain)2);
    PLAN(TQ_E_OVERFLOW, layer.max_queries, SIZE_MAX);
    tq_cuda_attention_free(NULL);
}

/* A batch that is right, for one thing at a time to be made wrong. */
typedef struct trial {
    scene s;
    staged on;
    const tq_cuda_attention *plan;
    tq_cuda_attention_batch b;
    tq_view k, v;
    void *workspace;
    size_t bytes;
} trial;

static trial *again(trial *t) {
    t->b = t->on.batch, t->k = t->on.k, t->v = t->on.v;
    t->b.k = &t->k, t->b.v = &t->v;
    t->workspace = t->on.workspace, t->bytes = t->on.workspace_bytes;
    return t;
}

static void refuse_run(trial *t, tq_status status, const char *what) {
    const tq_status got = tq_cuda_attention_run(t->plan, &t->b, t->workspace, t->bytes, NULL);
    told(got, status, what);
    (void)again(t);
}

/* Sets something, and wants a status. */
#define RUN(status, what)                                                                                \
    do {                                                                                                 \
        t->what;                                                                                         \
        refuse_run(t, status, #what);                                                                    \
    } while (0)

static void refuse_pointers(trial *t) {
    told(tq_cuda_attention_run(NULL, &t->b, t->workspace, t->bytes, NULL), TQ_E_NULL, "no plan");
    told(tq_cuda_attention_run(t->plan, NULL, t->workspace, t->bytes, NULL), TQ_E_NULL, "no batch");
    if (t->bytes > 0) RUN(TQ_E_NULL, workspace = NULL);
    RUN(TQ_E_NULL, b.k = NULL);
    RUN(TQ_E_NULL, b.v = NULL);
    RUN(TQ_E_NULL, b.lengths = NULL);
    RUN(TQ_E_NULL, b.q = NULL);
    RUN(TQ_E_NULL, b.out = NULL);
    RUN(TQ_E_NULL, b.max = t->b.lse);
    RUN(TQ_E_NULL, b.sum = t->b.lse);
    RUN(TQ_E_NULL, k.data = NULL);
    RUN(TQ_E_NULL, v.norms = NULL);
    RUN(TQ_E_NULL, b.sink_v.data = NULL);
    RUN(TQ_E_NULL, b.recent_v.data = NULL);
    RUN(any, b.centre_tables = NULL);
}

static void refuse_sizes(trial *t) {
    RUN(TQ_E_SIZE, b.size = 0);
    if (t->bytes > 0) RUN(TQ_E_SIZE, bytes -= 1);
    if (t->bytes > 0) RUN(TQ_E_SIZE, bytes = 0);
    if (t->bytes > 0) RUN(TQ_E_SIZE, workspace = (uint8_t *)t->workspace + 128);
    RUN(TQ_E_SIZE, b.n_sequences = 6);
    RUN(TQ_E_SIZE, b.n_queries = 18);
    RUN(TQ_E_SIZE, b.n_q -= 1);
    RUN(TQ_E_SIZE, b.n_out -= 1);
    RUN(TQ_E_SIZE, b.n_lse -= 1);
    RUN(TQ_E_SIZE, k.data_bytes -= 1 + t->s.k.row);
    RUN(TQ_E_SIZE, v.n_norms -= 1);
    RUN(TQ_E_SIZE, k.pool_pages += 1);
    RUN(TQ_E_SIZE, b.sink_k.n /= 2);
    RUN(TQ_E_SIZE, b.recent_v.n /= 2);
    RUN(any, v.pool_pages = 0);
    RUN(any, b.q_token_stride = SIZE_MAX / 2);
    RUN(any, k.page_stride = SIZE_MAX / 2);
}

/* With more said to be there than is, so that only the stride is wrong. */
#define STRIDE(what)                                                                                     \
    do {                                                                                                 \
        t->k.data_bytes *= 4, t->v.data_bytes *= 4, t->k.n_norms *= 4, t->v.n_norms *= 4;                \
        t->b.sink_k.n *= 4, t->b.recent_k.n *= 4, t->b.recent_v.n *= 4;                                  \
        RUN(TQ_E_STRIDE, what);                                                                          \
    } while (0)

static void refuse_views(trial *t) {
    RUN(TQ_E_FORMAT, k.store = TQ_STORE_F16);
    RUN(TQ_E_FORMAT, k.codec.format = TQ_TQ5);
    RUN(TQ_E_FORMAT, v.codec.format = TQ_TQ3);
    RUN(TQ_E_HEAD_DIM, k.codec.head_dim = 112);
    RUN(TQ_E_HEAD_DIM, v.codec.head_dim = 256);
    STRIDE(k.row_stride = 48);
    STRIDE(v.row_stride = 72);
    STRIDE(k.head_stride = 64);
    STRIDE(v.page_stride = 256);
    STRIDE(k.norm_row_stride = 1);
    STRIDE(k.norm_row_stride = 4);
    STRIDE(k.data = (const uint8_t *)t->k.data + 8);
    STRIDE(v.norms = (const uint8_t *)t->v.norms + 2);
    t->k.page_rows = t->v.page_rows = 8;
    refuse_run(t, TQ_E_STRIDE, "pages of 8");
    STRIDE(b.q_head_stride = 127);
    STRIDE(b.out_head_stride = 100);
    STRIDE(b.q_token_stride = 128);
    STRIDE(b.sink_k.row_stride = 120);
    STRIDE(b.sink_k.row_stride = 132);
    STRIDE(b.recent_v.head_stride = t->b.recent_v.row_stride * 40 + 4);
    STRIDE(b.recent_k.data += 4);
}

static void refuse_positions(trial *t) {
    RUN(TQ_E_POSITION, b.recent_capacity = 0);
    RUN(TQ_E_POSITION, k.centre_stretch = 32);
    RUN(TQ_E_POSITION, k.centre_stretch = 0);
    RUN(TQ_E_NULL, k.centre = NULL);
    RUN(TQ_E_NULL, b.coded_lengths = NULL);
    RUN(any, k.n_centres = 0);
    RUN(any, v.centre = t->k.centre);
    RUN(TQ_E_MASK, b.n_tree = 0);
    RUN(TQ_E_MASK, b.slopes = t->b.sinks);
}

/* Of kinds that have something not: a bidirectional one, one without float16, and outputs in float16. */
static void refuse_kinds(trial *t) {
    for (int i = 0; i < 3; i++) {
        tq_cuda_attention_config config = t->s.config;
        config.layer.bidirectional = i == 0;
        config.dense = i != 1;
        config.layer.out_type = i == 2 ? TQ_F16 : TQ_F32;
        const planned p = plan_for(&config);
        const tq_cuda_attention *kept = t->plan;
        t->plan = p.plan;
        t->workspace = device(p.info.workspace_bytes), t->bytes = p.info.workspace_bytes;
        if (i == 2) t->b.max = t->b.lse, t->b.sum = t->b.lse + t->b.n_lse, t->b.lse = NULL;
        refuse_run(t,
                   i == 0   ? TQ_E_MASK
                   : i == 1 ? any
                            : TQ_E_FORMAT,
                   i == 0   ? "a tree and bidirectional"
                   : i == 1 ? "float16 positions that were not planned"
                            : "an open result in float16");
        t->plan = kept;
        tq_cuda_attention_free(p.plan);
    }
}

static void check_untouched(const trial *t) {
    answer a;
    size_t touched = 0;
    fetch(&t->on, 0xA5, &a);
    for (size_t i = 0; i < a.out_bytes; i++)
        touched += a.out[i] != 0xA5;
    for (size_t i = 0; i < a.stats_bytes; i++)
        touched += ((const uint8_t *)a.stats)[i] != 0xA5;
    expect(touched == 0, "calls that were refused wrote %zu bytes", touched);
    answer_free(&a);
}

/* Nothing to do is fine, and after all that the batch is as right as it was. */
static void check_right(trial *t) {
    answer a;
    t->b.n_sequences = 0;
    told(tq_cuda_attention_run(t->plan, &t->b, t->workspace, t->bytes, NULL), TQ_OK, "no sequences");
    (void)again(t);
    check_untouched(t);
    run(&t->on, t->plan, 0xA5, NULL, &a);
    compare(&t->s, &a, false);
    answer_free(&a);
}

static void check_runs(void) {
    tq_cuda_attention_config config = usual(TQ_CUDA_FAST);
    config.dense = 1, config.centre_stretch = 16;
    const planned p = plan_for(&config);
    trial t = {.s = plain("refusals", &config, 2), .plan = p.plan};
    for (size_t b = 0; b < 5; b++)
        t.s.lengths[b] = 30 + 7 * b, t.s.coded[b] = 25 + 5 * b;
    t.s.has_coded = true, t.s.n_sinks = 4, t.s.recent_capacity = 32, t.s.wide_dense = true;
    t.s.permuted_dense = true, t.s.centre = true, t.s.stretch = 16, t.s.n_tree = 2, t.s.logits = true;
    scene_build(&t.s);
    stage(&t.s, p.plan, &t.on);
    poison_outputs(&t.on, 0xA5, NULL);
    (void)again(&t);
    refuse_pointers(&t);
    refuse_sizes(&t);
    refuse_views(&t);
    refuse_positions(&t);
    refuse_kinds(&t);
    check_untouched(&t);
    size_t bytes;
    told(tq_cuda_attention_workspace(NULL, &t.b, &bytes), TQ_E_NULL, "workspace: no plan");
    told(tq_cuda_attention_workspace(p.plan, NULL, &bytes), TQ_E_NULL, "workspace: no batch");
    told(tq_cuda_attention_workspace(p.plan, &t.b, NULL), TQ_E_NULL, "workspace: no bytes");
    check_right(&t);
    device_reset();
    scene_free(&t.s);
    tq_cuda_attention_free(p.plan);
}

static void check_merges(void) {
    float *d = device(4096), *out = device(4096), back[1024];
    const float *const acc[] = {d, d}, *const stats[] = {d + 512, d + 512}, *const missing[] = {d, NULL};
    const float *many[65];
    for (size_t i = 0; i < 65; i++)
        many[i] = d;
    told(tq_cuda_attention_merge(NULL, 2, 2, 2, 32, acc, stats, stats, NULL, 0, TQ_F32, out, NULL, NULL),
         TQ_E_NULL, "merge: no handle");
    told(tq_cuda_attention_merge(cuda, 0, 2, 2, 32, acc, stats, stats, NULL, 0, TQ_F32, out, NULL, NULL),
         TQ_E_SIZE, "merge: no partials");
    told(tq_cuda_attention_merge(cuda, 65, 2, 2, 32, many, many, many, NULL, 0, TQ_F32, out, NULL, NULL),
         TQ_E_SIZE, "merge: 65 partials");
    told(tq_cuda_attention_merge(cuda, 2, 2, 2, 32, NULL, stats, stats, NULL, 0, TQ_F32, out, NULL, NULL),
         TQ_E_NULL, "merge: no acc");
    told(tq_cuda_attention_merge(cuda, 2, 2, 2, 32, acc, NULL, stats, NULL, 0, TQ_F32, out, NULL, NULL),
         TQ_E_NULL, "merge: no max");
    told(tq_cuda_attention_merge(cuda, 2, 2, 2, 32, missing, stats, stats, NULL, 0, TQ_F32, out, NULL,
                                 NULL),
         TQ_E_NULL, "merge: no acc[1]");
    told(tq_cuda_attention_merge(cuda, 2, 2, 2, 32, acc, stats, stats, NULL, 0, TQ_F32, NULL, NULL, NULL),
         TQ_E_NULL, "merge: no out");
    told(tq_cuda_attention_merge(cuda, 2, 2, 2, 0, acc, stats, stats, NULL, 0, TQ_F32, out, NULL, NULL),
         TQ_E_HEAD_DIM, "merge: head_dim 0");
    told(tq_cuda_attention_merge(cuda, 2, 2, 2, 32, acc, stats, stats, NULL, 0, (tq_type)5, out, NULL,
                                 NULL),
         TQ_E_FORMAT, "merge: a type that is none");
    told(tq_cuda_attention_merge(cuda, 2, 2, 0, 32, acc, stats, stats, d, 0, TQ_F32, out, NULL, NULL),
         any, "merge: sinks of no heads");
    told(tq_cuda_attention_merge(cuda, 2, 0, 2, 32, acc, stats, stats, NULL, 0, TQ_F32, out, NULL, NULL),
         TQ_OK, "merge: no rows");
    download(back, out, sizeof back);
    size_t touched = 0;
    for (size_t i = 0; i < sizeof back; i++)
        touched += ((const uint8_t *)back)[i] != 0xA5;
    expect(touched == 0, "merges that were refused wrote %zu bytes", touched);
    device_reset();
}

void check_refusals(void) {
    seed(9);
    check_plans();
    check_runs();
    check_merges();
}
