/* SPDX-License-Identifier: MIT
 * rotate: every rotation there is, both ways, in place and apart. */
#include "check_kernels.h"
#include "format/rotation.h"
#include "values.h"

typedef struct rotate_data {
    const char *version;
    tq_rotation plain, edge;
    tq_direction direction;
    pattern pattern;
    float src[MOST_ROWS * TQ_MAX_DIM], want[MOST_ROWS * TQ_MAX_DIM];
} rotate_data;

static void rotate_case(run *r, const tq_kernels *kernel, const rotate_data *d, unsigned place) {
    const size_t dim = d->plain.dim, rows = some_rows(r);
    const size_t src_stride = dim + some_gap(r), other_stride = dim + some_gap(r);
    const bool in_place = rng_below(&r->rng, 4) == 0;
    const size_t dst_stride = in_place ? src_stride : other_stride;
    const unsigned dst_place = float_place(rng_below(&r->rng, FLOAT_PLACES));
    if (!run_case(r, "%s of %zu, %s%s, %s", d->version, dim, d->direction == TQ_ROTATE_IN ? "in" : "out",
                  in_place ? ", in place" : "", pattern_name(d->pattern)))
        return;
    slot *const in = &r->slots[0], *const out = in_place ? in : &r->slots[1];
    float *src = slot_place(in, "src", ELEMENT_FLOAT, place, rows, dim, src_stride), *dst = src;
    slot_write(in, d->src);
    if (!in_place) dst = slot_place(out, "dst", ELEMENT_FLOAT, dst_place, rows, dim, dst_stride);
    kernel->rotate(&d->edge, d->direction, rows, src, src_stride, dst, dst_stride);
    if (!in_place) run_expect(r, in, d->src, SAME_BYTES);
    run_expect(r, out, d->want, SAME_OR_NAN);
}

static void check_rotation(run *r, const tq_kernels *kernel, rotate_data *d) {
    const size_t dim = d->plain.dim;
    for (pattern p = 0; p < ALL_PATTERNS && !r->failed; p++) {
        d->pattern = p;
        d->direction = TQ_ROTATE_IN;
        d->edge = edge_rotation(r, &d->plain, rng_below(&r->rng, 2) ? PLACE_FIRST : PLACE_LAST);
        for (unsigned i = 0; i < 2; i++, d->direction = TQ_ROTATE_OUT) {
            for (unsigned t = 0; t < MOST_ROWS; t++)
                fill_values(p, &r->rng, NULL, d->src + t * dim, dim);
            tq_rotate_scalar(&d->plain, d->direction, MOST_ROWS, d->src, dim, d->want, dim);
            /* over three patterns, every place */
            for (unsigned place = p % 3; place < FLOAT_PLACES; place += 3)
                rotate_case(r, kernel, d, float_place(place));
        }
    }
}

void check_rotate(run *r, const tq_kernels *kernel) {
    static rotate_data d;
    d.version = "v1";
    for (unsigned dim = 256; dim <= 512; dim *= 2) {
        tq_rotation_v1(&d.plain, dim);
        check_rotation(r, kernel, &d);
    }
    d.version = "v2";
    for (unsigned dim = 32; dim <= TQ_MAX_DIM; dim += TQ_LANES) {
        tq_rotation_v2(&d.plain, dim);
        check_rotation(r, kernel, &d);
    }
}
