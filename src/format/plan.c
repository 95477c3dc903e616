/* SPDX-License-Identifier: MIT
 * Checks a codec and prepares it. */
#include "format/plan.h"

#include <math.h>

#include "format/rotation.h"

static tq_status check_dim(tq_format format, uint32_t dim) {
    if (TQ_IS_V1(format)) {
        if (dim != 256 && dim != 512)
            return tq_fail(TQ_E_HEAD_DIM, 0, "head_dim", "head_dim %u: %s serves 256 and 512", dim,
                           tq_format_name(format));
    } else if (dim < 32 || dim > TQ_MAX_DIM || dim % 16 != 0) {
        return tq_fail(TQ_E_HEAD_DIM, 0, "head_dim",
                       "head_dim %u: %s serves the multiples of 16 from 32 to 1024", dim,
                       tq_format_name(format));
    }
    return TQ_OK;
}

tq_status tq_plan_init(tq_plan *plan, const tq_codec *codec) {
    if (codec == NULL) return tq_fail(TQ_E_NULL, 0, "codec", "codec is NULL");
    plan->book = tq_find_codebook(codec->format);
    if (plan->book == NULL) return tq_fail_format(codec->format);
    const tq_status status = check_dim(codec->format, codec->head_dim);
    if (status != TQ_OK) return status;
    plan->v1 = TQ_IS_V1(codec->format);
    plan->norm_rule = tq_norm_rule_of(codec->format, codec->norm_rule);
    plan->dim = codec->head_dim;
    plan->n_norms = plan->v1 && plan->dim == 512 ? 2 : 1;
    plan->norm_bytes = plan->n_norms * (plan->v1 ? sizeof(float) : sizeof(uint16_t));
    plan->block = plan->dim / plan->n_norms;
    plan->block_bytes =
        plan->book->packing == TQ_PACK_BYTES ? plan->block : plan->block * plan->book->bits / 8;
    plan->row_bytes = plan->n_norms * plan->block_bytes;
    plan->unit = plan->n_norms == 2 ? codec->scale_factor_d512 : (float)sqrt((double)plan->dim);
    plan->norm_scale = (float)(1.0 / sqrt((double)plan->dim));
    (plan->v1 ? tq_rotation_v1 : tq_rotation_v2)(&plan->rotation, codec->head_dim);
    return TQ_OK;
}

tq_status tq_plan_check_norm_rule(const tq_codec *codec) {
    const int rule = (int)codec->norm_rule;
    if (rule < TQ_NORM_DEFAULT || rule > TQ_NORM_UNBIASED)
        return tq_fail(TQ_E_NORM_RULE, 0, "norm_rule", "no norm rule has the number %d", rule);
    if (TQ_IS_V1(codec->format) && rule != TQ_NORM_DEFAULT && rule != TQ_NORM_PLAIN)
        return tq_fail(TQ_E_NORM_RULE, 0, "norm_rule", "%s knows the plain norm rule alone",
                       tq_format_name(codec->format));
    return TQ_OK;
}

tq_status tq_plan_check_scale_factor(const tq_plan *plan, float scale_factor) {
    if (plan->n_norms == 2 && !(scale_factor > 0.0f && isfinite(scale_factor)))
        return tq_fail(TQ_E_SCALE_FACTOR, 0, "scale_factor_d512",
                       "scale_factor_d512 is %g: it must be positive and finite; 1 is usual",
                       (double)scale_factor);
    return TQ_OK;
}
