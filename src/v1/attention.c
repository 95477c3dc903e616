/* SPDX-License-Identifier: MIT
 * The attention calls of tqkv/v1.h: parameter blocks, and checks of what they are called with. */
#include <stddef.h>

#include "base/check.h"
#include "v1/attend.h"

/* The blocks are those that GPU kernels read. */
#define AT(type, field, offset)                                                                          \
    _Static_assert(offsetof(type, field) == (offset), #type "." #field " has left its place")
#define SHARED_FIELDS(type)                                                                              \
    AT(type, n_heads, 0);                                                                                \
    AT(type, n_kv_heads, 4);                                                                             \
    AT(type, head_dim, 8);                                                                               \
    AT(type, kv_seq_len, 12);                                                                            \
    AT(type, kv_capacity, 16);                                                                           \
    AT(type, scale, 20);                                                                                 \
    AT(type, mask_type, 24);                                                                             \
    AT(type, sliding_window, 28);                                                                        \
    AT(type, softcap, 32);                                                                               \
    AT(type, nwg, 36)
SHARED_FIELDS(tq_flash_attn_vec_params);
SHARED_FIELDS(tq_flash_attn_vec_tq_params);
SHARED_FIELDS(tq_flash_attn_vec_tq_hb_params);
AT(tq_flash_attn_vec_tq_params, ring_start, 40);
AT(tq_flash_attn_vec_tq_params, scale_factor_d512, 44);
AT(tq_flash_attn_vec_tq_hb_params, ring_start, 40);
AT(tq_flash_attn_vec_tq_hb_params, scale_factor_d512, 44);
AT(tq_flash_attn_vec_tq_hb_params, codebook_bits, 48);
_Static_assert(sizeof(tq_flash_attn_vec_params) == 40, "ten fields");
_Static_assert(sizeof(tq_flash_attn_vec_tq_params) == 48, "twelve fields");
_Static_assert(sizeof(tq_flash_attn_vec_tq_hb_params) == 52, "thirteen fields");

/* Arguments of a call beside its parameter block. */
typedef struct buffer {
    const char *name;
    const void *data;
    size_t n, size; /* elements there, and bytes of one */
} buffer;

typedef struct arguments {
    buffer q, k, k_norms, v, v_norms; /* norms have no name where there are none */
    float *dst;
    size_t n_dst;
    void *workspace;
    size_t workspace_bytes;
} arguments;

enum { Q, K, K_NORMS, V, V_NORMS, DST, WORKSPACE, ALL };

static tq_status check_size(const buffer *b, size_t needed_bytes) {
    if (b->n < needed_bytes / b->size)
        return tq_fail(TQ_E_SIZE, 0, b->name, "%s: %zu elements are needed, %zu are there", b->name,
                       needed_bytes / b->size, b->n);
    return needed_bytes == 0 ? TQ_OK : tq_check_not_null(b->name, b->data);
}

/* Large enough all of them, and what is written apart from everything else. */
static tq_status check_buffers(const tq_v1_attend *a, const arguments *args) {
    const size_t cache = a->cache_rows * a->row_bytes, rows = a->values * sizeof(float);
    const size_t norms = a->cache_rows * a->norm_bytes;
    const buffer all[ALL] = {[Q] = args->q,
                             [K] = args->k,
                             [K_NORMS] = args->k_norms,
                             [V] = args->v,
                             [V_NORMS] = args->v_norms,
                             [DST] = {"dst", args->dst, args->n_dst, sizeof(float)},
                             [WORKSPACE] = {"workspace", args->workspace, args->workspace_bytes, 1}};
    const size_t bytes[ALL] = {rows, cache, norms, cache, norms, rows, a->at.total};
    for (size_t i = 0; i < ALL; i++)
        TRY(check_size(&all[i], bytes[i]));
    if ((uintptr_t)args->workspace % 64 != 0)
        return tq_fail(TQ_E_SIZE, 0, "workspace", "workspace: %zu bytes aligned to 64 are needed",
                       a->at.total);
    for (size_t written = DST; written < ALL; written++)
        for (size_t i = 0; i < written; i++)
            TRY(tq_check_apart(all[written].name, all[written].data, bytes[written], all[i].name,
                               all[i].data, bytes[i]));
    return TQ_OK;
}

static tq_view view_of(const tq_v1_attend *a, const buffer *data, const buffer *norms) {
    return (tq_view){.store = a->dense ? TQ_STORE_F32 : TQ_STORE_CODES,
                     .domain = TQ_ROTATED,
                     .codec = a->codec,
                     .data = data->data,
                     .data_bytes = a->cache_rows * a->row_bytes,
                     .norms = norms->data,
                     .n_norms = a->cache_rows * a->norm_bytes,
                     .capacity = a->capacity};
}

static tq_status attend(const tq_flash_attn_vec_tq_hb_params *p, size_t n_queries,
                        const arguments *args) {
    tq_v1_attend a;
    TRY(tq_v1_attend_init(&a, p, n_queries));
    if (n_queries == 0) return TQ_OK;
    TRY(check_buffers(&a, args));
    const tq_view k = view_of(&a, &args->k, &args->k_norms), v = view_of(&a, &args->v, &args->v_norms);
    return tq_v1_attend_run(&a, &k, &v, args->q.data, args->dst, args->workspace);
}

/* The block of dense vectors as the widest one. */
static tq_flash_attn_vec_tq_hb_params widen(const tq_flash_attn_vec_params *p) {
    return (tq_flash_attn_vec_tq_hb_params){.n_heads = p->n_heads,
                                            .n_kv_heads = p->n_kv_heads,
                                            .head_dim = p->head_dim,
                                            .kv_seq_len = p->kv_seq_len,
                                            .kv_capacity = p->kv_capacity,
                                            .scale = p->scale,
                                            .mask_type = p->mask_type,
                                            .sliding_window = p->sliding_window,
                                            .softcap = p->softcap,
                                            .nwg = p->nwg};
}

tq_status tq_flash_attn_vec_workspace(const tq_flash_attn_vec_params *params, size_t n_queries,
                                      size_t *bytes) {
    tq_v1_attend a;
    TRY(tq_check_not_null("params", params));
    TRY(tq_check_not_null("bytes", bytes));
    const tq_flash_attn_vec_tq_hb_params p = widen(params);
    TRY(tq_v1_attend_init(&a, &p, n_queries));
    *bytes = a.at.total;
    return TQ_OK;
}

tq_status tq_flash_attn_vec(const tq_flash_attn_vec_params *params, size_t n_queries, const float *q,
                            size_t n_q, const float *k, size_t n_k, const float *v, size_t n_v,
                            float *dst, size_t n_dst, void *workspace, size_t workspace_bytes) {
    TRY(tq_check_not_null("params", params));
    const tq_flash_attn_vec_tq_hb_params p = widen(params);
    const buffer none = {"", NULL, 0, sizeof(float)};
    const arguments args = {{"q", q, n_q, sizeof *q},
                            {"k", k, n_k, sizeof *k},
                            none,
                            {"v", v, n_v, sizeof *v},
                            none,
                            dst,
                            n_dst,
                            workspace,
                            workspace_bytes};
    return attend(&p, n_queries, &args);
}

/* Bits are in order. */
static tq_status attend_codes(const tq_flash_attn_vec_tq_hb_params *p, size_t n_queries, const float *q,
                              size_t n_q, const uint8_t *k_packed, size_t k_bytes, const float *k_norms,
                              size_t n_k_norms, const uint8_t *v_packed, size_t v_bytes,
                              const float *v_norms, size_t n_v_norms, float *dst, size_t n_dst,
                              void *workspace, size_t workspace_bytes) {
    const arguments args = {{"q", q, n_q, sizeof *q},
                            {"k_packed", k_packed, k_bytes, 1},
                            {"k_norms", k_norms, n_k_norms, sizeof *k_norms},
                            {"v_packed", v_packed, v_bytes, 1},
                            {"v_norms", v_norms, n_v_norms, sizeof *v_norms},
                            dst,
                            n_dst,
                            workspace,
                            workspace_bytes};
    return attend(p, n_queries, &args);
}

tq_status tq_flash_attn_vec_tq(const tq_flash_attn_vec_tq_params *params, size_t n_queries,
                               const float *q, size_t n_q, const uint8_t *k_packed, size_t k_bytes,
                               const float *k_norms, size_t n_k_norms, const uint8_t *v_packed,
                               size_t v_bytes, const float *v_norms, size_t n_v_norms, float *dst,
                               size_t n_dst, void *workspace, size_t workspace_bytes) {
    TRY(tq_check_not_null("params", params));
    const tq_flash_attn_vec_tq_hb_params p = {params->n_heads,
                                              params->n_kv_heads,
                                              params->head_dim,
                                              params->kv_seq_len,
                                              params->kv_capacity,
                                              params->scale,
                                              params->mask_type,
                                              params->sliding_window,
                                              params->softcap,
                                              params->nwg,
                                              params->ring_start,
                                              params->scale_factor_d512,
                                              4};
    return attend_codes(&p, n_queries, q, n_q, k_packed, k_bytes, k_norms, n_k_norms, v_packed, v_bytes,
                        v_norms, n_v_norms, dst, n_dst, workspace, workspace_bytes);
}

tq_status tq_flash_attn_vec_tq_hb(const tq_flash_attn_vec_tq_hb_params *params, size_t n_queries,
                                  const float *q, size_t n_q, const uint8_t *k_packed, size_t k_bytes,
                                  const float *k_norms, size_t n_k_norms, const uint8_t *v_packed,
                                  size_t v_bytes, const float *v_norms, size_t n_v_norms, float *dst,
                                  size_t n_dst, void *workspace, size_t workspace_bytes) {
    TRY(tq_check_not_null("params", params));
    const unsigned bits = params->codebook_bits;
    if (bits != 5 && bits != 6 && bits != 8)
        return tq_fail(TQ_E_BITS, 0, "codebook_bits", "codebook_bits %u: there are 5, 6 and 8", bits);
    return attend_codes(params, n_queries, q, n_q, k_packed, k_bytes, k_norms, n_k_norms, v_packed,
                        v_bytes, v_norms, n_v_norms, dst, n_dst, workspace, workspace_bytes);
}
