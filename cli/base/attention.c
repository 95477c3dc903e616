/* SPDX-License-Identifier: MIT
 * What commands that attend share: their options, shapes, views, and calls with a workspace. */
#include "base/attention.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/heads.h"
#include "base/message.h"

int cli_take_attention(cli_attention_request *request, const cli_option *scale, const cli_option *causal,
                       const cli_option *window, const cli_option *softcap) {
    request->causal = causal->given;
    request->scale_given = scale->given;
    TRY(cli_take_float(scale, &request->scale));
    if (!isfinite(request->scale)) return cli_misuse("--scale: '%s' is not finite", scale->value);
    TRY(cli_take_count(window, 0, SIZE_MAX, &request->window));
    if (window->given && request->window == 0)
        return cli_misuse("--window: a window of 0 positions sees nothing; give 1 or more");
    TRY(cli_take_float(softcap, &request->softcap));
    if (softcap->given && !(request->softcap > 0.0f && isfinite(request->softcap)))
        return cli_misuse("--softcap: '%s' is not above 0 and finite; leave the option away for none",
                          softcap->value);
    return CLI_DONE;
}

static const char *const arithmetics[] = {"default", "float", "integer"}; /* by tq_arithmetic */

int cli_take_arithmetic(const cli_option *option, tq_arithmetic *arithmetic) {
    size_t i = TQ_ARITHMETIC_DEFAULT;
    TRY(cli_take_word(option, arithmetics, 3, &i));
    *arithmetic = (tq_arithmetic)i;
    return CLI_DONE;
}

const char *cli_arithmetic_name(tq_arithmetic arithmetic) {
    return arithmetics[arithmetic];
}

static int check_shapes(const cli_shape *q, const cli_shape *k, const cli_shape *v) {
    if (k->n_heads != v->n_heads || k->n_rows != v->n_rows) {
        return cli_fail("%s: %zu heads of %zu positions; %s has %zu of %zu, and keys and values must "
                        "have the same",
                        v->path, v->n_heads, v->n_rows, k->path, k->n_heads, k->n_rows);
    }
    if (k->head_dim != v->head_dim || q->head_dim != k->head_dim) {
        const cli_shape *other = q->head_dim != k->head_dim ? q : v;
        return cli_fail("%s: head dimension %zu; that of %s is %zu, and all must have the same",
                        other->path, other->head_dim, k->path, k->head_dim);
    }
    if (k->n_heads == 0 || k->n_rows == 0)
        return cli_fail("%s: holds no positions to attend to", k->path);
    if (q->n_heads % k->n_heads != 0) {
        return cli_fail("%s: %zu query heads cannot be shared out over the %zu heads of %s: give a "
                        "multiple of them",
                        q->path, q->n_heads, k->n_heads, k->path);
    }
    if (q->n_heads > UINT32_MAX || k->head_dim > UINT32_MAX)
        return cli_fail("%s: more than 2^32 heads or values a vector", q->path);
    return CLI_DONE;
}

int cli_attention_params(const cli_attention_request *request, const cli_shape *q, const cli_shape *k,
                         const cli_shape *v, tq_attention_params *params) {
    TRY(check_shapes(q, k, v));
    const size_t n = q->n_rows, t = k->n_rows;
    if (n > t && (request->causal || request->window > 0)) {
        return cli_fail("%s: %zu queries a head, but %s holds %zu positions: with --causal or --window "
                        "query i stands at position %zu - %zu + i, and none lies before 0",
                        q->path, n, k->path, t, t, n);
    }
    *params = (tq_attention_params){
        .size = sizeof(tq_attention_params),
        .n_heads = (uint32_t)q->n_heads,
        .n_kv_heads = (uint32_t)k->n_heads,
        .head_dim = (uint32_t)k->head_dim,
        .n_queries = n,
        .query_end = t,
        .scale = request->scale_given ? request->scale : (float)(1.0 / sqrt((double)k->head_dim)),
        .softcap = request->softcap,
        .bidirectional = !request->causal,
        .window = request->window,
        .domain = TQ_ORIGINAL,
        .arithmetic = request->arithmetic,
    };
    return CLI_DONE;
}

tq_segment cli_stretch(const tq_segment *whole, size_t first, size_t length) {
    tq_segment part = *whole;
    part.k.ring_start = (whole->k.ring_start + first) % whole->k.capacity;
    part.v.ring_start = (whole->v.ring_start + first) % whole->v.capacity;
    part.first_position += first;
    part.length = length;
    return part;
}

tq_status cli_partial_new(const tq_attention_params *params, cli_partial *partial) {
    partial->acc = cli_new_floats(params->n_heads, params->n_queries, params->head_dim);
    partial->max = cli_new_floats(params->n_heads, params->n_queries, 1);
    partial->sum = cli_new_floats(params->n_heads, params->n_queries, 1);
    return partial->acc && partial->max && partial->sum ? TQ_OK : TQ_E_NO_MEMORY;
}

void cli_partial_free(cli_partial *partial) {
    free(partial->acc);
    free(partial->max);
    free(partial->sum);
    *partial = (cli_partial){0};
}

/* A workspace for a call; *memory is to be freed. */
static tq_status new_workspace(const tq_attention_params *params, const tq_segment *segment,
                               void **memory, size_t *bytes) {
    TRY_STATUS(tq_attention_workspace(params, segment, 1, bytes));
    *bytes = *bytes / 64 * 64 + 64;
    *memory = aligned_alloc(64, *bytes);
    return *memory ? TQ_OK : TQ_E_NO_MEMORY;
}

tq_status cli_attend(const tq_attention_params *params, const tq_segment *segment, const float *q,
                     float *out, float *lse) {
    void *memory = NULL;
    size_t bytes;
    tq_status status = new_workspace(params, segment, &memory, &bytes);
    const size_t rows = (size_t)params->n_heads * params->n_queries, values = rows * params->head_dim;
    if (status == TQ_OK)
        status = tq_attention(params, segment, 1, q, values, out, values, lse, rows, memory, bytes);
    free(memory);
    return status;
}

tq_status cli_attend_partial(const tq_attention_params *params, const tq_segment *segment, const float *q,
                             const cli_partial *partial) {
    void *memory = NULL;
    size_t bytes;
    tq_status status = new_workspace(params, segment, &memory, &bytes);
    const size_t rows = (size_t)params->n_heads * params->n_queries, values = rows * params->head_dim;
    if (status == TQ_OK)
        status = tq_attention_partial(params, segment, 1, q, values, partial->acc, values, partial->max,
                                      partial->sum, rows, memory, bytes);
    free(memory);
    return status;
}

static tq_status merge(const tq_attention_params *params, const cli_partial *parts, size_t n, float *out,
                       float *lse) {
    const float **pointers =
        n > SIZE_MAX / (3 * sizeof *pointers) ? NULL : (const float **)malloc(3 * n * sizeof *pointers);
    if (!pointers) return TQ_E_NO_MEMORY;
    for (size_t i = 0; i < n; i++) {
        pointers[i] = parts[i].acc;
        pointers[n + i] = parts[i].max;
        pointers[2 * n + i] = parts[i].sum;
    }
    const tq_status status = tq_attention_merge(n, params->n_heads, params->n_queries, params->head_dim,
                                                pointers, pointers + n, pointers + 2 * n, NULL, out, lse);
    free((void *)pointers);
    return status;
}

tq_status cli_attend_split(const tq_attention_params *params, const tq_segment *segment, size_t splits,
                           const float *q, float *out, float *lse) {
    cli_partial *parts = calloc(splits, sizeof *parts);
    tq_status status = parts ? TQ_OK : TQ_E_NO_MEMORY;
    /* The first stretches are one longer where the positions do not divide evenly. */
    const size_t each = segment->length / splits, longer = segment->length % splits;
    size_t first = 0;
    for (size_t i = 0; status == TQ_OK && i < splits; i++) {
        const tq_segment part = cli_stretch(segment, first, each + (i < longer));
        status = cli_partial_new(params, &parts[i]);
        if (status == TQ_OK) status = cli_attend_partial(params, &part, q, &parts[i]);
        first += part.length;
    }
    if (status == TQ_OK) status = merge(params, parts, splits, out, lse);
    for (size_t i = 0; parts && i < splits; i++)
        cli_partial_free(&parts[i]);
    free(parts);
    return status;
}
