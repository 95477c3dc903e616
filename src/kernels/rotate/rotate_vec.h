/* SPDX-License-Identifier: MIT
 * The rotation on vectors of 16 lanes: one source for every instruction set. A pass loads as many vectors
 * as registers hold, runs all stages that stay among them, and stores; sign flips and the scale ride on
 * the first and the last pass. The order of stages is the scalar one. */
#include <stdbool.h>

#include "kernels/kernels.h"

typedef struct pass {
    const tq_rotation *r;
    bool flip_first, last, flip_last;
} pass;

V_INLINE unsigned sign_bits(const tq_rotation *r, size_t at) {
    return v_word_load(r->signs + at / 8);
}

V_INLINE vf finish(const pass *p, vf x, size_t at) {
    x = v_mul(x, v_set(p->r->scale));
    return p->flip_last ? v_flip(x, sign_bits(p->r, at)) : x;
}

/* Hadamard stages among the vectors of x. */
V_INLINE void butterflies(vf *x, const unsigned radix) {
    V_UNROLL for (unsigned h = 1; h < radix; h *= 2)
        V_UNROLL for (unsigned i = 0; i < radix; i++) if ((i & h) == 0) {
        const vf a = x[i], b = x[i + h];
        x[i] = v_add(a, b);
        x[i + h] = v_sub(a, b);
    }
}

/* Stages 1 to 8 within vectors, and 16 to 8 * radix among neighbours. */
V_INLINE void first_pass(const pass *p, const unsigned radix, const float *src, float *dst) {
    const vf tilt = v_set(p->r->tilt);
    for (size_t at = 0; at < p->r->dim; at += TQ_LANES * radix) {
        vf x[V_RADIX];
        V_UNROLL for (unsigned i = 0; i < radix; i++) {
            x[i] = v_load(src + at + TQ_LANES * i);
            if (p->flip_first) x[i] = v_flip(x[i], sign_bits(p->r, at + TQ_LANES * i));
            x[i] = v_hadamard8(v_hadamard4(v_hadamard2(v_tilt(x[i], tilt))));
        }
        butterflies(x, radix);
        V_UNROLL for (unsigned i = 0; i < radix; i++)
            v_store(dst + at + TQ_LANES * i, p->last ? finish(p, x[i], at + TQ_LANES * i) : x[i]);
    }
}

/* Stages h to h * radix / 2, h a multiple of 16, in place. */
V_INLINE void column_pass(const pass *p, const unsigned radix, size_t h, float *y) {
    for (size_t base = 0; base < p->r->dim; base += h * radix)
        for (size_t at = base; at < base + h; at += TQ_LANES) {
            vf x[V_RADIX];
            V_UNROLL for (unsigned i = 0; i < radix; i++) x[i] = v_load(y + at + h * i);
            butterflies(x, radix);
            V_UNROLL for (unsigned i = 0; i < radix; i++)
                v_store(y + at + h * i, p->last ? finish(p, x[i], at + h * i) : x[i]);
        }
}

/* A factor of small odd order p, a constant, in registers: y_r = x_0 + sum of cas[r s mod p] x_s, s
 * ascending. */
V_INLINE void hartley_pass(const pass *ps, const float *cas, const unsigned p, size_t h, float *y) {
    for (size_t base = 0; base < ps->r->dim; base += h * p)
        for (size_t at = base; at < base + h; at += TQ_LANES) {
            vf in[TQ_MAX_DIM / TQ_LANES];
            V_UNROLL for (unsigned s = 0; s < p; s++) in[s] = v_load(y + at + h * s);
            V_UNROLL for (unsigned r = 0; r < p; r++) {
                vf sum = in[0];
                V_UNROLL for (unsigned s = 1; s < p; s++) sum =
                    v_add(sum, v_mul(v_set(cas[r * s % p]), in[s]));
                v_store(y + at + h * r, ps->last ? finish(ps, sum, at + h * r) : sum);
            }
        }
}

/* Any order, for the rare ones. */
static void hartley_any(const pass *ps, const tq_odd_factor *f, size_t h, float *y) {
    const unsigned p = f->p;
    for (size_t base = 0; base < ps->r->dim; base += h * p)
        for (size_t at = base; at < base + h; at += TQ_LANES) {
            vf in[TQ_MAX_DIM / TQ_LANES];
            for (unsigned s = 0; s < p; s++)
                in[s] = v_load(y + at + h * s);
            for (unsigned r = 0; r < p; r++) {
                vf sum = in[0];
                for (unsigned s = 1, c = r; s < p; s++, c = c + r < p ? c + r : c + r - p)
                    sum = v_add(sum, v_mul(v_set(f->cas[c]), in[s]));
                v_store(y + at + h * r, ps->last ? finish(ps, sum, at + h * r) : sum);
            }
        }
}

static void hartley(const pass *ps, const tq_odd_factor *f, size_t h, float *y) {
    switch (f->p) {
    case 3:
        hartley_pass(ps, f->cas, 3, h, y);
        break;
    case 5:
        hartley_pass(ps, f->cas, 5, h, y);
        break;
    case 7:
        hartley_pass(ps, f->cas, 7, h, y);
        break;
    default:
        hartley_any(ps, f, h, y);
        break;
    }
}

V_INLINE unsigned pass_radix(size_t stages) {
    return stages < V_RADIX ? (unsigned)stages : V_RADIX;
}

static void rotate_row(const tq_rotation *r, tq_direction direction, const float *src, float *dst) {
    unsigned radix = pass_radix(r->pow2 / TQ_LANES);
    size_t h = (size_t)TQ_LANES * radix;
    pass p = {r, direction == TQ_ROTATE_IN, h == r->dim, direction == TQ_ROTATE_OUT};
    switch (radix) {
#if V_RADIX >= 16
    case 16:
        first_pass(&p, 16, src, dst);
        break;
    case 8:
        first_pass(&p, 8, src, dst);
        break;
#endif
    case 4:
        first_pass(&p, 4, src, dst);
        break;
    case 2:
        first_pass(&p, 2, src, dst);
        break;
    default:
        first_pass(&p, 1, src, dst);
        break;
    }
    for (; h < r->pow2; h *= radix) {
        radix = pass_radix(r->pow2 / h);
        p.last = h * radix == r->dim;
        switch (radix) {
#if V_RADIX >= 16
        case 16: /* at most 1024 / 256 = 4 are left then */
        case 8:
            column_pass(&p, 8, h, dst);
            break;
#endif
        case 4:
            column_pass(&p, 4, h, dst);
            break;
        default:
            column_pass(&p, 2, h, dst);
            break;
        }
    }
    for (unsigned i = 0; i < r->n_odd; h *= r->odd[i++].p) {
        p.last = h * r->odd[i].p == r->dim;
        hartley(&p, &r->odd[i], h, dst);
    }
}

void V_NAME(rotate)(const tq_rotation *r, tq_direction direction, size_t rows, const float *src,
                    size_t src_stride, float *dst, size_t dst_stride) {
    for (size_t t = 0; t < rows; t++)
        rotate_row(r, direction, src + t * src_stride, dst + t * dst_stride);
}
