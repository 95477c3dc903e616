/* SPDX-License-Identifier: MIT
 * Calls of v1's attention and their memory. */
#include "attend.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "model.h"
#include "support/cm.h"

const unsigned attend_kinds[KINDS] = {4, 5, 6, 8, DENSE};

static tq_flash_attn_vec_params dense_params(const attend_call *c) {
    const tq_flash_attn_vec_tq_hb_params *p = &c->p;
    return (tq_flash_attn_vec_params){p->n_heads,     p->n_kv_heads, p->head_dim,  p->kv_seq_len,
                                      p->kv_capacity, p->scale,      p->mask_type, p->sliding_window,
                                      p->softcap,     p->nwg};
}

tq_status attend(const attend_call *c) {
    const tq_flash_attn_vec_params dense = dense_params(c);
    const tq_flash_attn_vec_tq_params codes = {
        c->p.n_heads,     c->p.n_kv_heads, c->p.head_dim,   c->p.kv_seq_len,
        c->p.kv_capacity, c->p.scale,      c->p.mask_type,  c->p.sliding_window,
        c->p.softcap,     c->p.nwg,        c->p.ring_start, c->p.scale_factor_d512};
    switch (c->bits) {
    case DENSE:
        return tq_flash_attn_vec(c->null_params ? NULL : &dense, c->n_queries, c->q, c->n_q, c->k, c->n_k,
                                 c->v, c->n_v, c->dst, c->n_dst, c->workspace, c->workspace_bytes);
    case 4:
        return tq_flash_attn_vec_tq(c->null_params ? NULL : &codes, c->n_queries, c->q, c->n_q, c->k,
                                    c->n_k, c->k_norms, c->n_k_norms, c->v, c->n_v, c->v_norms,
                                    c->n_v_norms, c->dst, c->n_dst, c->workspace, c->workspace_bytes);
    default:
        return tq_flash_attn_vec_tq_hb(c->null_params ? NULL : &c->p, c->n_queries, c->q, c->n_q, c->k,
                                       c->n_k, c->k_norms, c->n_k_norms, c->v, c->n_v, c->v_norms,
                                       c->n_v_norms, c->dst, c->n_dst, c->workspace, c->workspace_bytes);
    }
}

tq_status attend_workspace(const attend_call *c, size_t *bytes) {
    const tq_flash_attn_vec_params p = dense_params(c);
    return tq_flash_attn_vec_workspace(c->null_params ? NULL : &p, c->n_queries, bytes);
}

tq_flash_attn_vec_tq_hb_params attend_params(unsigned bits, uint32_t head_dim, uint32_t positions) {
    return (tq_flash_attn_vec_tq_hb_params){.n_heads = 4,
                                            .n_kv_heads = 2,
                                            .head_dim = head_dim,
                                            .kv_seq_len = positions,
                                            .kv_capacity = positions == 0 ? 1 : positions,
                                            .scale = 1 / sqrtf((float)head_dim),
                                            .nwg = 1,
                                            .scale_factor_d512 = 1,
                                            .codebook_bits = bits};
}

size_t attend_row_bytes(const attend_call *c) {
    return c->bits == DENSE ? c->p.head_dim * sizeof(float) : model_row_bytes(c->bits, c->p.head_dim);
}

size_t attend_row_norms(const attend_call *c) {
    return c->bits == DENSE ? 0 : c->p.head_dim / 256;
}

size_t attend_cache_rows(const attend_call *c) {
    return (size_t)c->p.n_kv_heads * c->p.kv_capacity;
}

size_t attend_rows(const attend_call *c) {
    return c->p.n_heads * c->n_queries;
}

/* The slot of logical position j of head g, of all heads' slots. */
static size_t slot_of(const attend_call *c, size_t g, size_t j) {
    const size_t start = c->bits == DENSE ? 0 : c->p.ring_start;
    return g * c->p.kv_capacity + (start + j) % c->p.kv_capacity;
}

/* A row of the cache whose decoded values have at most the standard deviation `size`. */
static void draw_row(const attend_call *c, double size, uint8_t *row, float *norms, rng *r) {
    const double unit = c->p.head_dim == 256 ? 16 : (double)c->p.scale_factor_d512;
    if (c->bits != DENSE) rng_bytes(r, row, attend_row_bytes(c)); /* unused high bits too */
    for (size_t b = 0; b < attend_row_norms(c); b++)
        norms[b] = (float)(size * unit * (0.5 + rng_uniform(r) / 2));
    for (size_t d = 0; d < c->p.head_dim && c->bits == DENSE; d++)
        ((float *)(void *)row)[d] = (float)(size * rng_gauss(r));
}

/* The last of the sizes is that of most rows. */
static void draw_side(const attend_call *c, const double sizes[5], edge *data, edge *norms, rng *r) {
    float *n = (float *)(void *)norms->data;
    for (size_t g = 0; g < c->p.n_kv_heads; g++)
        for (size_t j = 0; j < c->p.kv_seq_len; j++) {
            const size_t slot = slot_of(c, g, j);
            draw_row(c, sizes[rng_below(r, 2) == 0 ? 4 : rng_below(r, 4)],
                     data->data + slot * attend_row_bytes(c), n + slot * attend_row_norms(c), r);
        }
}

/* Logical positions in order, as the definition decodes them. */
static float *decode_side(const attend_call *c, const edge *data, const edge *norms) {
    const size_t dim = c->p.head_dim, n = c->p.kv_seq_len;
    float *values = test_alloc(c->p.n_kv_heads * n * dim * sizeof *values);
    for (size_t i = 0; i < c->p.n_kv_heads * n; i++) {
        const size_t slot = slot_of(c, i / n, i % n);
        const uint8_t *row = data->data + slot * attend_row_bytes(c);
        const float *norm = (const float *)(const void *)norms->data + slot * attend_row_norms(c);
        for (uint32_t d = 0; d < dim; d++)
            values[i * dim + d] = c->bits == DENSE ? ((const float *)(const void *)row)[d]
                                                   : model_decode(c->bits, c->p.head_dim,
                                                                  c->p.scale_factor_d512, row, norm, d);
    }
    return values;
}

static void protect(const edge *e) {
    if (e->map_bytes > 0) assert_int_equal(mprotect(e->map, e->map_bytes, PROT_READ), 0);
}

static void open_inputs(attend_case *c) {
    const size_t rows = attend_cache_rows(&c->call);
    c->q = edge_new(attend_rows(&c->call) * c->call.p.head_dim * sizeof(float));
    c->k = edge_new(rows * attend_row_bytes(&c->call));
    c->v = edge_new(rows * attend_row_bytes(&c->call));
    c->k_norms = edge_new(rows * attend_row_norms(&c->call) * sizeof(float));
    c->v_norms = edge_new(rows * attend_row_norms(&c->call) * sizeof(float));
}

/* Inputs are complete: decodes them, locks them, and makes room for what is written. */
static void close_inputs(attend_case *c) {
    attend_call *call = &c->call;
    const edge *const inputs[] = {&c->q, &c->k, &c->v, &c->k_norms, &c->v_norms};
    c->k_values = decode_side(call, &c->k, &c->k_norms);
    c->v_values = decode_side(call, &c->v, &c->v_norms);
    for (size_t i = 0; i < 5; i++)
        protect(inputs[i]);
    const size_t unit = call->bits == DENSE ? sizeof(float) : 1;
    call->q = (const float *)(const void *)c->q.data;
    call->k = c->k.data;
    call->v = c->v.data;
    call->k_norms = (const float *)(const void *)c->k_norms.data;
    call->v_norms = (const float *)(const void *)c->v_norms.data;
    call->n_q = c->q.size / sizeof(float);
    call->n_k = call->n_v = c->k.size / unit;
    call->n_k_norms = call->n_v_norms = c->k_norms.size / sizeof(float);
    assert_int_equal(attend_workspace(call, &call->workspace_bytes), TQ_OK);
    c->dst = guard_new(c->q.size);
    c->workspace = guard_new(call->workspace_bytes + 64);
    c->workspace_at = (64 - (uintptr_t)c->workspace.data % 64) % 64;
    call->workspace = (uint8_t *)c->workspace.data + c->workspace_at;
    call->dst = c->dst.data;
    call->n_dst = call->n_q;
}

attend_case attend_case_new(unsigned bits, const tq_flash_attn_vec_tq_hb_params *p, size_t n_queries,
                            rng *r) {
    /* Keys give scores of a few units: their last bit, and with it the weights', is what the bound is
     * about. Values may be of any size. */
    static const double key_sizes[] = {0, 1e-12, 0.1, 0.5, 1}, value_sizes[] = {0, 1e-12, 0.1, 30, 1};
    attend_case c = {.call = {.bits = bits, .p = *p, .n_queries = n_queries}};
    open_inputs(&c);
    rng_gauss_fill(r, (float *)(void *)c.q.data, c.q.size / sizeof(float));
    draw_side(&c.call, key_sizes, &c.k, &c.k_norms, r);
    draw_side(&c.call, value_sizes, &c.v, &c.v_norms, r);
    close_inputs(&c);
    return c;
}

attend_case attend_case_of(const attend_call *made) {
    attend_case c = {.call = *made};
    open_inputs(&c);
    memcpy(c.q.data, made->q, c.q.size);
    memcpy(c.k.data, made->k, c.k.size);
    memcpy(c.v.data, made->v, c.v.size);
    if (made->bits != DENSE) {
        memcpy(c.k_norms.data, made->k_norms, c.k_norms.size);
        memcpy(c.v_norms.data, made->v_norms, c.v_norms.size);
    }
    close_inputs(&c);
    return c;
}

void attend_case_free(attend_case *c) {
    edge *const inputs[] = {&c->q, &c->k, &c->v, &c->k_norms, &c->v_norms};
    for (size_t i = 0; i < 5; i++)
        edge_free(inputs[i]);
    guard_free(&c->dst);
    guard_free(&c->workspace);
    free(c->k_values);
    free(c->v_values);
}

void attend_case_run(attend_case *c) {
    const tq_status status = attend(&c->call);
    if (status != TQ_OK)
        fail_msg("%s of \"%s\": %s", tq_status_name(status), tq_last_error()->field,
                 tq_last_error()->message);
    guard_assert_only(&c->dst, 0, c->dst.size);
    guard_assert_only(&c->workspace, c->workspace_at, c->call.workspace_bytes);
}
