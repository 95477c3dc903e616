/* SPDX-License-Identifier: MIT
 * A cache and its model side by side. */
#include "beside.h"

#include <stdlib.h>
#include <string.h>

#include "attention/half.h"
#include "broken.h"

void beside_check(const beside *b) {
    size_t pages;
    check_cache(b->model, b->cache);
    const size_t held = check_bytes(b->model, b->cache, &pages).held;
    if (b->alone && held - pages != b->memory->held)
        broken("the cache counts %zu bytes, the allocator %zu", held - pages, b->memory->held);
}

void check_record(tq_status got, tq_status want, const char *field) {
    const tq_error *e = tq_last_error();
    if (got != want || e->status != want || (field != NULL && strcmp(e->field, field) != 0))
        broken("%s of \"%s\" wanted; got %s, record: %s of \"%s\": %s", tq_status_name(want),
               field == NULL ? "any" : field, tq_status_name(got), tq_status_name(e->status), e->field,
               e->message);
    if (strlen(e->message) == 0 || strchr(e->message, '\n') != NULL) broken("no message in one line");
}

void beside_refused(const beside *b, tq_status got, tq_status want, const char *field) {
    check_record(got, want, field);
    beside_check(b);
}

void beside_open(beside *b, const tq_cache_config *config, memory *mem, pool_model *pool) {
    tq_cache_config c = *config;
    const tq_allocator a = memory_allocator(mem);
    c.allocator = &a;
    *b = (beside){.memory = mem, .alone = mem->held == 0};
    if (tq_cache_create(&c, &b->cache) != TQ_OK) broken("%s", tq_last_error()->message);
    b->model = model_new(config, pool);
    beside_check(b);
}

void beside_close(beside *b) {
    tq_cache_destroy(b->cache);
    model_free(b->model);
    if (b->alone) memory_assert_empty(b->memory);
    *b = (beside){0};
}

/* k and v go to the model; the cache takes them from the input, or by the short call. */
static tq_status append(beside *b, size_t n, const float *k, const float *v,
                        const tq_cache_input *input) {
    const size_t requests = b->memory->requests;
    b->memory->refused = false;
    const tq_status got =
        input == NULL ? tq_cache_append(b->cache, n, k, v) : tq_cache_append_input(b->cache, n, input);
    if (b->memory->requests != requests && b->model->length + n <= b->model->reserved)
        broken("appending to %llu allocates, %llu are reserved", (unsigned long long)b->model->length + n,
               (unsigned long long)b->model->reserved);
    if (got == TQ_E_NO_MEMORY && b->memory->refused) {
        beside_refused(b, got, TQ_E_NO_MEMORY, NULL);
        return got;
    }
    const tq_status want = model_append(b->model, n, k, v);
    if (got != want)
        broken("appending %zu to %llu: %s, %s wanted", n, (unsigned long long)b->model->length,
               tq_status_name(got), tq_status_name(want));
    if (got != TQ_OK) check_record(got, want, NULL);
    beside_check(b);
    return got;
}

tq_status beside_append(beside *b, size_t n, const float *k, const float *v) {
    return append(b, n, k, v, NULL);
}

static void put(tq_type type, float *x, void *out, size_t at) {
    const uint16_t half = type == TQ_BF16 ? bf16_from(*x) : half_from((double)*x);
    if (type == TQ_F32) {
        ((float *)out)[at] = *x;
        return;
    }
    ((uint16_t *)out)[at] = half;
    *x = (float)(type == TQ_BF16 ? bf16_to(half) : half_to(half));
}

static void scatter(tq_type type, size_t n, size_t heads, size_t dim, float *x, void *out,
                    size_t position_stride, size_t head_stride) {
    for (size_t p = 0; p < n; p++)
        for (size_t h = 0; h < heads; h++)
            for (size_t i = 0; i < dim; i++)
                put(type, x++, out, p * position_stride + h * head_stride + i);
}

/* A side's vectors and where they are put. */
typedef struct spread {
    size_t position_stride, head_stride, n_elements;
    bool said; /* the strides are given, not left 0 */
    void *at;
} spread;

/* [n][G][D] with the strides left 0; [n][..][D] with something between positions, as in a fused
 * projection; or [G][n][D] with gaps. Takes memory. */
static spread spread_side(tq_type type, unsigned order, size_t n, size_t heads, size_t dim, float *x) {
    const size_t gapped = n * (dim + 4) + 8;
    const size_t strides[BESIDE_ORDERS][2] = {
        {heads * dim, dim}, {(1 + 2 * heads) * dim, dim}, {dim + 4, gapped}};
    spread s = {
        .position_stride = strides[order][0], .head_stride = strides[order][1], .said = order != 0};
    s.n_elements = n == 0 ? 0 : (n - 1) * s.position_stride + (heads - 1) * s.head_stride + dim;
    s.at = zeroed(s.n_elements, type == TQ_F32 ? sizeof(float) : sizeof(uint16_t));
    scatter(type, n, heads, dim, x, s.at, s.position_stride, s.head_stride);
    return s;
}

tq_status beside_append_way(beside *b, size_t n, float *k, float *v, unsigned way) {
    const model *m = b->model;
    const tq_type type = (tq_type)(way % BESIDE_TYPES);
    const unsigned order = way / BESIDE_TYPES;
    const spread ks = spread_side(type, order, n, m->heads, m->k.dim, k);
    const spread vs = spread_side(type, order, n, m->heads, m->v.dim, v);
    tq_cache_input input = {.size = sizeof input,
                            .type = type,
                            .k = ks.at,
                            .v = vs.at,
                            .n_k = ks.n_elements,
                            .n_v = vs.n_elements};
    if (ks.said) {
        input.k_position_stride = ks.position_stride;
        input.k_head_stride = ks.head_stride;
        input.v_position_stride = vs.position_stride;
        input.v_head_stride = vs.head_stride;
    }
    const tq_status status = append(b, n, k, v, &input);
    free(ks.at);
    free(vs.at);
    return status;
}

tq_status beside_truncate(beside *b, uint64_t length) {
    const size_t requests = b->memory->requests;
    const tq_status got = tq_cache_truncate(b->cache, length);
    const tq_status want = model_truncate(b->model, length);
    if (got != want)
        broken("truncating %llu to %llu: %s, %s wanted", (unsigned long long)b->model->length,
               (unsigned long long)length, tq_status_name(got), tq_status_name(want));
    if (got != TQ_OK) check_record(got, want, "length");
    if (b->memory->requests != requests) broken("truncating allocates");
    beside_check(b);
    return got;
}

tq_status beside_reserve(beside *b, uint64_t positions) {
    b->memory->refused = false;
    const tq_status got = tq_cache_reserve(b->cache, positions);
    if (got == TQ_E_NO_MEMORY && b->memory->refused) {
        beside_refused(b, got, TQ_E_NO_MEMORY, NULL);
        return got;
    }
    const tq_status want = model_reserve(b->model, positions);
    if (got != want)
        broken("reserving %llu at %llu: %s, %s wanted", (unsigned long long)positions,
               (unsigned long long)b->model->length, tq_status_name(got), tq_status_name(want));
    if (got != TQ_OK) check_record(got, want, got == TQ_E_POSITION ? "positions" : NULL);
    beside_check(b);
    return got;
}

void beside_clear(beside *b) {
    const size_t held = b->memory->held;
    tq_cache_clear(b->cache);
    model_clear(b->model);
    if (b->memory->held != held) broken("clearing gives memory back");
    beside_check(b);
}

tq_status beside_fork(beside *from, uint64_t length, beside *to) {
    *to = (beside){.memory = from->memory};
    to->cache = from->cache; /* to see it set to NULL on failure */
    from->memory->refused = false;
    const tq_status got = tq_cache_fork(from->cache, length, &to->cache);
    if (got != TQ_OK) {
        if (to->cache != NULL) broken("a fork that failed");
        const bool refused = got == TQ_E_NO_MEMORY && from->memory->refused;
        if (!refused && model_can_go_back(from->model, length)) broken("%s", tq_last_error()->message);
        beside_refused(from, got, refused ? TQ_E_NO_MEMORY : TQ_E_POSITION, NULL);
        return got;
    }
    if (!model_can_go_back(from->model, length)) broken("a fork of what is not there");
    from->alone = false;
    to->model = model_fork(from->model, length);
    beside_check(from);
    beside_check(to);
    return got;
}

void draw_vectors(const model *m, size_t n, rng *r, float *k, float *v) {
    /* Uniform numbers: cheaper than the normal law, and rounding to float16 is what they are for. Keys of
     * even heads share most of themselves, those of odd ones too little to learn a centre from, unless it
     * is from two. */
    for (size_t i = 0; i < n * m->heads * m->k.dim; i++) {
        const double common = i / m->k.dim % m->heads % 2 == 0 ? 3 : 0.5;
        k[i] = (float)(common + 4 * (rng_uniform(r) - 0.5));
    }
    for (size_t i = 0; i < n * m->heads * m->v.dim; i++)
        v[i] = (float)(4 * (rng_uniform(r) - 0.5));
}

void new_vectors(const model *m, size_t n, float **k, float **v) {
    *k = zeroed(n * m->heads * m->k.dim, sizeof **k);
    *v = zeroed(n * m->heads * m->v.dim, sizeof **v);
}

tq_status beside_append_drawn(beside *b, size_t n, rng *r) {
    float *k, *v;
    new_vectors(b->model, n, &k, &v);
    draw_vectors(b->model, n, r, k, v);
    const tq_status status = beside_append(b, n, k, v);
    free(k);
    free(v);
    return status;
}

tq_status beside_append_any(beside *b, size_t n, rng *r) {
    float *k, *v;
    new_vectors(b->model, n, &k, &v);
    draw_vectors(b->model, n, r, k, v);
    const tq_status status = beside_append_way(b, n, k, v, rng_below(r, BESIDE_WAYS));
    free(k);
    free(v);
    return status;
}
