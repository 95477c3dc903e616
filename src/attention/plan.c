/* SPDX-License-Identifier: MIT
 * Checks of a call, and how it is cut. */
#include "attention/plan.h"

#include <math.h>

#include "base/size.h"
#include "base/tasks.h"
#include "cpu/dispatch.h"

/* Rows of a task: enough that decoding keys once for all of them costs little beside using them. */
enum { ROW_BLOCK = 32 };

/* Positions of a task, where few rows leave it to them to make work for several threads. */
enum { SPLIT = 4096 };

static tq_status check_params(const tq_attention_params *p) {
    if (p == NULL) return tq_fail(TQ_E_NULL, 0, "params", "params is NULL");
    if (p->n_kv_heads == 0)
        return tq_fail(TQ_E_HEADS, 0, "n_kv_heads", "n_kv_heads is 0: there must be one at least");
    if (p->n_heads == 0 || p->n_heads % p->n_kv_heads != 0)
        return tq_fail(TQ_E_HEADS, 0, "n_heads", "%u query heads do not share out %u KV heads",
                       p->n_heads, p->n_kv_heads);
    if (p->head_dim < 32 || p->head_dim > TQ_MAX_DIM || p->head_dim % TQ_LANES != 0)
        return tq_fail(TQ_E_HEAD_DIM, 0, "head_dim",
                       "head_dim %u: multiples of 16 from 32 to 1024 are served", p->head_dim);
    if (!isfinite(p->scale))
        return tq_fail(TQ_E_NOT_FINITE, 0, "scale", "scale is %g: it must be finite", (double)p->scale);
    if (!(fabsf(p->scale) > 0.0f))
        return tq_fail(TQ_E_SCALE, 0, "scale",
                       "scale is 0: all scores would be; 1 / sqrt(head_dim) is usual");
    if (!(p->softcap >= 0.0f && isfinite(p->softcap)))
        return tq_fail(TQ_E_NOT_FINITE, 0, "softcap", "softcap is %g: it must be positive, or 0 for none",
                       (double)p->softcap);
    if (p->n_queries == 0)
        return tq_fail(TQ_E_SIZE, 0, "n_queries", "n_queries is 0: a decode step has 1");
    if (p->domain != TQ_ROTATED && p->domain != TQ_ORIGINAL)
        return tq_fail(TQ_E_DOMAIN, 0, "domain", "domain %d is neither TQ_ROTATED nor TQ_ORIGINAL",
                       (int)p->domain);
    return tq_check_parallel(p->parallel);
}

/* All encoded views of a kind must have one rotation, and dense ones the queries' domain. */
static tq_status note_view(const tq_view_reader *s, tq_domain domain, bool *dense, bool *encoded,
                           tq_rotation *rotation, bool *v1) {
    if (!tq_view_is_encoded(s)) {
        *dense = true;
        if (s->view.domain == domain) return TQ_OK;
        return tq_fail(TQ_E_DOMAIN, 0, s->name,
                       "%s: dense vectors in the %s domain, the call in the %s one", s->name,
                       s->view.domain == TQ_ROTATED ? "rotated" : "original",
                       domain == TQ_ROTATED ? "rotated" : "original");
    }
    if (*encoded && *v1 != s->plan.v1)
        return tq_fail(TQ_E_FORMAT, 0, s->name,
                       "%s: v1 and v2 formats do not mix, their rotations differ", s->name);
    *encoded = true;
    *rotation = s->plan.rotation;
    *v1 = s->plan.v1;
    return TQ_OK;
}

static tq_status check_centre(const tq_segment *s) {
    if (s->v.centre != NULL) return tq_fail(TQ_E_FORMAT, 0, "v", "v: values have no centre, keys may");
    if (s->k.centre != NULL && s->k.store != TQ_STORE_CODES)
        return tq_fail(TQ_E_FORMAT, 0, "k", "k: codes may have a centre, float16 and float32 do not");
    return TQ_OK;
}

/* Segments that follow each other often share a centre. */
static size_t number_of(tq_attend_plan *plan, const float *centre, const float **last) {
    if (centre == NULL) return TQ_NO_BIAS;
    plan->n_biases += centre != *last;
    *last = centre;
    return plan->n_biases - 1;
}

static tq_status check_positions(const tq_segment *segments, size_t i) {
    const uint64_t first = segments[i].first_position, length = segments[i].length;
    if (first > UINT64_MAX - length)
        return tq_fail(TQ_E_POSITION, i, "segments", "segments[%zu]: positions beyond 2^64", i);
    for (size_t j = 0; j < i && length > 0; j++)
        if (segments[j].first_position < first + length &&
            first < segments[j].first_position + segments[j].length)
            return tq_fail(
                TQ_E_POSITION, i, "segments",
                "segments[%zu] and segments[%zu] have positions in common: is a first_position "
                "missing?",
                j, i);
    return TQ_OK;
}

static tq_status take_segments(tq_attend_plan *plan, const tq_segment *segments, tq_attend_segment *out) {
    const tq_attention_params *p = plan->params;
    bool v1_k = false, v1_v = false;
    const float *centre = NULL;
    if (segments == NULL && plan->n_segments > 0)
        return tq_fail(TQ_E_NULL, 0, "segments", "segments is NULL");
    for (size_t i = 0; i < plan->n_segments; i++) {
        tq_attend_segment s = {.length = segments[i].length,
                               .first_position = segments[i].first_position,
                               .start = plan->positions,
                               .bias = TQ_NO_BIAS};
        if (s.length > 0) {
            tq_status status =
                tq_view_reader_init(&s.k, "k", &segments[i].k, p->n_kv_heads, s.length, p->head_dim);
            if (status == TQ_OK)
                status =
                    tq_view_reader_init(&s.v, "v", &segments[i].v, p->n_kv_heads, s.length, p->head_dim);
            if (status == TQ_OK)
                status = note_view(&s.k, p->domain, &plan->dense_k, &plan->encoded_k, &plan->k_rotation,
                                   &v1_k);
            if (status == TQ_OK)
                status = note_view(&s.v, p->domain, &plan->dense_v, &plan->encoded_v, &plan->v_rotation,
                                   &v1_v);
            if (status == TQ_OK) status = check_centre(&segments[i]);
            if (status != TQ_OK) return status;
            s.bias = number_of(plan, segments[i].k.centre, &centre);
        }
        const tq_status status = check_positions(segments, i);
        if (status != TQ_OK) return status;
        if (!tq_size_add(plan->positions, s.length, &plan->positions))
            return tq_fail(TQ_E_OVERFLOW, i, "segments", "more positions than can be counted");
        if (out != NULL) out[i] = s;
    }
    return TQ_OK;
}

/* Where the queries stand. What no mask asks for may be left open. */
static tq_status place_queries(tq_attend_plan *plan, const tq_segment *segments) {
    const tq_attention_params *p = plan->params;
    uint64_t end = p->query_end;
    for (size_t i = 0; i < plan->n_segments && p->query_end == 0; i++) {
        const uint64_t stop = segments[i].first_position + segments[i].length;
        if (segments[i].length > 0 && stop > end) end = stop;
    }
    plan->first_query = end - p->n_queries;
    if (p->n_queries <= end || (p->bidirectional && p->window == 0)) return TQ_OK;
    return tq_fail(
        TQ_E_POSITION, end, "query_end",
        "%zu queries before position %llu: their own keys are appended first, or query_end says "
        "where they stand",
        p->n_queries, (unsigned long long)end);
}

static tq_status lay_out(tq_attend_plan *plan) {
    const tq_attention_params *p = plan->params;
    size_t rows, values, biases, partials;
    plan->group_rows = 0;
    bool fits = tq_size_mul(p->n_heads, p->n_queries, &rows) && tq_size_mul(rows, plan->dim, &values);
    if (fits) {
        plan->group_rows = p->n_heads / p->n_kv_heads * p->n_queries;
        plan->row_block = plan->group_rows < ROW_BLOCK ? plan->group_rows : ROW_BLOCK;
        plan->row_blocks = plan->group_rows == 0 ? 0 : (plan->group_rows - 1) / plan->row_block + 1;
        plan->split = plan->group_rows < ROW_BLOCK ? SPLIT : SIZE_MAX;
        plan->splits = plan->positions == 0 ? 1 : (plan->positions - 1) / plan->split + 1;
        plan->acc_floats = plan->dim * ((plan->encoded_v ? 1u : 0u) + (plan->dense_v ? 1u : 0u));
        plan->folds = plan->positions > TQ_ATTEND_FOLD;
        plan->partial_floats = plan->acc_floats * (plan->folds ? 2 : 1) + TQ_LANES;
    }
    fits =
        fits && tq_size_mul(rows, plan->n_biases, &biases) &&
        tq_size_mul(rows, plan->splits, &partials) &&
        tq_size_mul(partials, plan->partial_floats, &partials) &&
        tq_size_place(&plan->at.total, &plan->at.segments, plan->n_segments, sizeof(tq_attend_segment)) &&
        tq_size_place(&plan->at.total, &plan->at.plain, values, sizeof(float)) &&
        tq_size_place(&plan->at.total, &plan->at.rotated, values, sizeof(float)) &&
        tq_size_place(&plan->at.total, &plan->at.bias, biases, sizeof(float)) &&
        tq_size_place(&plan->at.total, &plan->at.partials, partials, sizeof(float)) &&
        plan->at.total <= PTRDIFF_MAX;
    if (!fits)
        return tq_fail(TQ_E_OVERFLOW, 0, "n_queries", "%u heads of %zu queries do not fit in memory",
                       p->n_heads, p->n_queries);
    return TQ_OK;
}

tq_status tq_attend_plan_init(tq_attend_plan *plan, const tq_attention_params *params,
                              const tq_segment *segments, size_t n_segments,
                              tq_attend_segment *segments_out) {
    tq_status status = check_params(params);
    if (status != TQ_OK) return status;
    *plan = (tq_attend_plan){.params = params, .dim = params->head_dim, .n_segments = n_segments};
    status = tq_active_kernels(&plan->kernels);
    if (status == TQ_OK) status = take_segments(plan, segments, segments_out);
    if (status == TQ_OK) status = place_queries(plan, segments);
    return status == TQ_OK ? lay_out(plan) : status;
}

tq_status tq_attend_check_sinks(const tq_kernels *kernels, const float *sinks, size_t n_heads) {
    return sinks == NULL ? TQ_OK : tq_check_finite(kernels, "sinks", sinks, n_heads);
}
