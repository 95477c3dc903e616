/* SPDX-License-Identifier: MIT
 * The rotation on vectors of 16 lanes: one source for every instruction set. A pass loads as many vectors
 * as registers hold, runs all stages that stay among them, and stores; signs and scale ride on the first
 * pass or the last. The order of stages is the scalar one. */
#include <assert.h>
#include <stdbool.h>

#include "kernels/kernels.h"

/* How far ahead of the row at work the next ones are asked for, in bytes: what comes from memory is then
 * there in time. Encoding tq4 at D = 256 from memory gains 15 % by it. */
enum { AHEAD = 4096 };

/* What values are multiplied by, a factor a coordinate: before the first pass and after the last. NULL:
 * nothing. */
typedef struct factors {
    const float *before, *after;
} factors;

/* Vectors h values apart, from `at` on. */
V_INLINE void load_group(vf *x, const unsigned radix, const float *src, size_t at, size_t h,
                         const float *before) {
    V_FOR (i, radix)
        x[i] = v_load(src + at + h * i);
    if (before != NULL)
        V_FOR (i, radix)
            x[i] = v_mul(x[i], v_load(before + at + h * i));
}

V_INLINE void store_group(const vf *x, const unsigned radix, float *dst, size_t at, size_t h,
                          const float *after) {
    if (after != NULL)
        V_FOR (i, radix)
            v_store(dst + at + h * i, v_mul(x[i], v_load(after + at + h * i)));
    else
        V_FOR (i, radix)
            v_store(dst + at + h * i, x[i]);
}

/* Hadamard stages among the vectors of x. */
V_INLINE void butterflies(vf *x, const unsigned radix) {
    V_UNROLL
    for (unsigned h = 1; h < radix; h *= 2)
        V_FOR (i, radix) {
            if ((i & h) != 0) continue;
            const vf a = x[i], b = x[i + h];
            x[i] = v_add(a, b);
            x[i + h] = v_sub(a, b);
        }
}

/* Stages 1 to 8, within vectors. */
V_INLINE void lane_stages(vf *x, const unsigned radix, vf tilt) {
#ifdef V_LANE_STAGES2
    if (radix > 1) {
        V_FOR (i, radix / 2)
            v_lane_stages2(&x[2 * i], &x[2 * i + 1], tilt);
        return;
    }
#endif
    V_FOR (i, radix)
        x[i] = v_hadamard8(v_hadamard4(v_hadamard2(v_tilt(x[i], tilt))));
}

/* Stages 1 to 8, and 16 to 8 * radix among neighbours. */
V_INLINE void first_pass(const tq_rotation *r, const unsigned radix, const factors *f, const float *src,
                         float *dst) {
    const vf tilt = v_set(r->tilt);
    for (size_t at = 0; at < r->dim; at += TQ_LANES * radix) {
        vf x[V_RADIX];
        load_group(x, radix, src, at, TQ_LANES, f->before);
        lane_stages(x, radix, tilt);
        butterflies(x, radix);
        store_group(x, radix, dst, at, TQ_LANES, f->after);
    }
}

/* Stages h to h * radix / 2, h a multiple of 16, in place. */
V_INLINE void column_pass(const tq_rotation *r, const unsigned radix, size_t h, const float *after,
                          float *y) {
    for (size_t base = 0; base < r->dim; base += h * radix)
        for (size_t at = base; at < base + h; at += TQ_LANES) {
            vf x[V_RADIX];
            load_group(x, radix, y, at, h, NULL);
            butterflies(x, radix);
            store_group(x, radix, y, at, h, after);
        }
}

/* A factor of small odd order p, a constant, in registers: y_s = x_0 + sum of cas[s t mod p] x_t, t
 * ascending. */
V_INLINE void hartley_small(const tq_rotation *r, const unsigned p, const float *cas, size_t h,
                            const float *after, float *y) {
    for (size_t base = 0; base < r->dim; base += h * p)
        for (size_t at = base; at < base + h; at += TQ_LANES) {
            vf x[7], out[7];
            load_group(x, p, y, at, h, NULL);
            V_FOR (s, p) {
                out[s] = x[0];
                V_FOR (t, p - 1) {
                    const vf term = v_mul(v_set(cas[s * (t + 1) % p]), x[t + 1]);
                    out[s] = v_add(out[s], term);
                }
            }
            store_group(out, p, y, at, h, after);
        }
}

/* Any order, for the rare ones. */
static void hartley_any(const tq_rotation *r, const tq_odd_factor *f, size_t h, const float *after,
                        float *y) {
    const unsigned p = f->p;
    for (size_t base = 0; base < r->dim; base += h * p)
        for (size_t at = base; at < base + h; at += TQ_LANES) {
            vf x[TQ_MAX_DIM / TQ_LANES];
            for (unsigned s = 0; s < p; s++)
                x[s] = v_load(y + at + h * s);
            for (unsigned s = 0; s < p; s++) {
                vf sum = x[0];
                for (unsigned t = 1, turn = s; t < p; t++, turn = turn + s < p ? turn + s : turn + s - p)
                    sum = v_add(sum, v_mul(v_set(f->cas[turn]), x[t]));
                store_group(&sum, 1, y, at + h * s, 0, after);
            }
        }
}

static void hartley(const tq_rotation *r, const tq_odd_factor *f, size_t h, const float *after,
                    float *y) {
    switch (f->p) {
    case 3:
        hartley_small(r, 3, f->cas, h, after, y);
        break;
    case 5:
        hartley_small(r, 5, f->cas, h, after, y);
        break;
    case 7:
        hartley_small(r, 7, f->cas, h, after, y);
        break;
    default:
        hartley_any(r, f, h, after, y);
        break;
    }
}

V_INLINE unsigned pass_radix(size_t stages) {
    return stages < V_RADIX ? (unsigned)stages : V_RADIX;
}

static void first(const tq_rotation *r, unsigned radix, const factors *f, const float *src, float *dst) {
    switch (radix) {
#if V_RADIX >= 16
    case 16:
        first_pass(r, 16, f, src, dst);
        break;
    case 8:
        first_pass(r, 8, f, src, dst);
        break;
#endif
    case 4:
        first_pass(r, 4, f, src, dst);
        break;
    case 2:
        first_pass(r, 2, f, src, dst);
        break;
    default:
        first_pass(r, 1, f, src, dst);
        break;
    }
}

static void columns(const tq_rotation *r, unsigned radix, size_t h, const float *after, float *y) {
    switch (radix) {
    case 4:
        column_pass(r, 4, h, after, y);
        break;
    default:
        column_pass(r, 2, h, after, y);
        break;
    }
}

static void rotate_row(const tq_rotation *r, const factors *f, const float *src, size_t ahead,
                       float *dst) {
    for (size_t j = 0; j < r->dim * sizeof *src; j += 64)
        __builtin_prefetch(
            (const void *)((uintptr_t)src + ahead + j)); /* no pointer may leave its array */
    unsigned radix = pass_radix(r->pow2 / TQ_LANES);
    size_t h = (size_t)TQ_LANES * radix;
    const factors only_before = {f->before, NULL};
    first(r, radix, h == r->dim ? f : &only_before, src, dst);
    for (; h < r->pow2; h *= radix) {
        radix = r->pow2 / h >= 4 ? 4 : 2; /* 1024 / 256 is the most that 16 registers leave */
        columns(r, radix, h, h * radix == r->dim ? f->after : NULL, dst);
    }
    for (unsigned i = 0; i < r->n_odd; h *= r->odd[i++].p)
        hartley(r, &r->odd[i], h, h * r->odd[i].p == r->dim ? f->after : NULL, dst);
}

/* `scale` with the sign of each coordinate. */
V_INLINE void signed_factors(const tq_rotation *r, float scale, float *out) {
    for (size_t j = 0; j < r->dim; j += TQ_LANES)
        v_store(out + j, v_flip(v_set(scale), v_word_load(r->signs + j / 8)));
}

void V_NAME(rotate)(const tq_rotation *r, tq_direction direction, size_t rows, const float *src,
                    size_t src_stride, float *dst, size_t dst_stride) {
    assert(r->dim % TQ_LANES == 0 && r->dim <= TQ_MAX_DIM);
    _Alignas(64) float with_signs[TQ_MAX_DIM], last[TQ_MAX_DIM];
    factors f = {NULL, with_signs};
    signed_factors(r, direction == TQ_ROTATE_IN && r->scale_last ? 1.0f : r->scale, with_signs);
    if (direction == TQ_ROTATE_IN) {
        f.before = with_signs;
        f.after = r->scale_last ? last : NULL;
        for (size_t j = 0; j < r->dim && r->scale_last; j += TQ_LANES)
            v_store(last + j, v_set(r->scale));
    }
    const size_t row_bytes = r->dim * sizeof *src;
    const size_t ahead = (AHEAD / row_bytes + 1) * src_stride * sizeof *src;
    for (size_t t = 0; t < rows; t++)
        rotate_row(r, &f, src + t * src_stride, ahead, dst + t * dst_stride);
}
