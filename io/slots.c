/* SPDX-License-Identifier: MIT
 * Vectors into an encoded tensor and out of it, wherever a ring begins. */
#include <math.h>
#include <string.h>

#include "layout.h"
#include "report.h"

static const char name[] = "encoded tensor";

/* What a call works with. */
typedef struct plan {
    tqio_sizes sizes;
    size_t dim, stride; /* floats of a dense vector; from a head's dense vectors to the next */
} plan;

static bool stretches_fit(const tq_encoded *e) {
    if (e->centre_stretch == 0) return e->n_centres <= 1 && e->first_position == 0;
    return e->first_position <= SIZE_MAX - e->capacity &&
           tqio_stretches(e->centre_stretch, e->first_position, e->n_positions) <= e->n_centres;
}

static tq_status check_tensor(const tq_encoded *e, plan *p) {
    const tq_status status = tqio_sizes_of(name, e, &p->sizes);
    if (status != TQ_OK) return status;
    if (e->n_codes != p->sizes.n_codes || e->n_norms != p->sizes.n_norms ||
        e->n_positions > e->capacity || (e->capacity > 0 && e->ring_start >= e->capacity) ||
        !stretches_fit(e))
        return tqio_fail_whole(name, TQ_E_FILE_SHAPE, 0, "capacity",
                               "sizes, positions, ring and centres contradict heads and capacity");
    if (e->n_codes > 0 && (e->codes == NULL || e->norms == NULL))
        return tqio_fail_whole(name, TQ_E_NULL, 0, e->codes == NULL ? "codes" : "norms",
                               "a tensor is NULL");
    if (p->sizes.n_centre > 0 && e->centre == NULL)
        return tqio_fail_whole(name, TQ_E_NULL, 0, "centre", "a tensor is NULL");
    return TQ_OK;
}

/* What both directions rely on: the tensor is whole, and n dense vectors a head keep apart. */
static tq_status check(const tq_encoded *e, const float *dense, const char *argument, size_t n,
                       size_t head_stride, plan *p) {
    if (e == NULL || dense == NULL)
        return tq_fail(TQ_E_NULL, 0, e == NULL ? "encoded" : argument, "an argument is NULL");
    const tq_status status = check_tensor(e, p);
    if (status != TQ_OK) return status;
    p->dim = e->codec.head_dim;
    if (n > SIZE_MAX / sizeof(float) / p->dim)
        return tqio_fail_whole(name, TQ_E_OVERFLOW, n, "n", "%zu positions of %zu floats", n, p->dim);
    p->stride = head_stride == 0 ? n * p->dim : head_stride;
    if (e->n_kv_heads > 1 && p->stride < n * p->dim)
        return tqio_fail_whole(name, TQ_E_STRIDE, head_stride, "head_stride",
                               "heads of %zu floats collide, %zu apart", n * p->dim, head_stride);
    return TQ_OK;
}

/* Rows that lie side by side in every head and lack the same centre. */
typedef struct run {
    tq_batch batch;
    size_t codes, norms; /* bytes before them */
    const uint16_t *centre;
    size_t n_centre;
} run;

/* Of a position held, 0 the oldest; of the next ones, which take the oldest's when all are full. */
static size_t slot_of(const tq_encoded *e, size_t position) {
    const size_t to_end = e->capacity - e->ring_start;
    position %= e->capacity;
    return position < to_end ? e->ring_start + position : position - to_end;
}

/* The longest of at most n rows from there on. */
static run run_at(const tq_encoded *e, const plan *p, size_t position, size_t n) {
    const size_t slot = slot_of(e, position), at = e->first_position + position;
    run r = {.codes = slot * p->sizes.code_bytes, .norms = slot * p->sizes.norm_bytes};
    size_t rows = n < e->capacity - slot ? n : e->capacity - slot, number = 0;
    if (e->centre_stretch != 0) {
        const size_t left = e->centre_stretch - at % e->centre_stretch;
        rows = rows < left ? rows : left;
        number = at / e->centre_stretch % e->n_centres;
    }
    if (e->n_centres != 0) {
        r.n_centre = p->sizes.n_centre / e->n_centres;
        r.centre = e->centre + number * r.n_centre;
    }
    r.batch = (tq_batch){.heads = e->n_kv_heads,
                         .rows = rows,
                         .dense_head_stride = p->stride,
                         .code_head_stride = p->sizes.code_bytes * e->capacity,
                         .norm_head_stride = p->sizes.norm_bytes * e->capacity};
    return r;
}

/* A ring of centres holds those of n more positions, `lost` of the oldest being given up for them. */
static tq_status check_stretches(const tq_encoded *e, size_t n, size_t lost) {
    if (e->centre_stretch == 0) return TQ_OK;
    if (n > SIZE_MAX - e->capacity - e->first_position)
        return tqio_fail_whole(name, TQ_E_OVERFLOW, n, "n", "%zu positions from %zu on", n,
                               e->first_position);
    const size_t stretches =
        tqio_stretches(e->centre_stretch, e->first_position + lost, e->n_positions + n - lost);
    if (stretches <= e->n_centres) return TQ_OK;
    return tqio_fail_whole(name, TQ_E_POSITION, n, "n",
                           "the positions then held lie in %zu stretches; there are %zu centres",
                           stretches, e->n_centres);
}

/* What a value of a part is refused for, with its index in all of src. */
static tq_status fail_in_part(tq_status status, const float *src, size_t at) {
    const tq_error *error = tq_last_error();
    if (at == 0 || (status != TQ_E_NOT_FINITE && status != TQ_E_RANGE) ||
        strcmp(error->field, "src") != 0)
        return status;
    const size_t index = at + (size_t)error->index;
    const char *why = fabsf(src[index]) <= TQ_MAX_ABS
                          ? "the vector that begins there has too large a norm"
                          : "it cannot be encoded";
    return tqio_fail_whole(name, status, index, "src", "src[%zu] is %g: %s", index, (double)src[index],
                           why);
}

tq_status tq_encoded_put(tq_encoded *e, size_t n, const float *src, size_t n_src, size_t head_stride) {
    plan p;
    tq_status status = check(e, src, "src", n, head_stride, &p);
    if (status != TQ_OK || n == 0 || e->n_kv_heads == 0) return status;
    if (n > e->capacity)
        return tqio_fail_whole(name, TQ_E_POSITION, n, "n", "%zu positions for %zu slots", n,
                               e->capacity);
    const size_t room = e->capacity - e->n_positions, lost = n > room ? n - room : 0;
    status = check_stretches(e, n, lost);
    for (size_t done = 0; status == TQ_OK && done < n;) {
        const run r = run_at(e, &p, e->n_positions + done, n - done);
        const size_t at = done * p.dim;
        if (at > n_src)
            return tqio_fail_whole(name, TQ_E_SIZE, n_src, "src", "%zu floats are too few", n_src);
        status =
            tq_encode(&e->codec, &r.batch, src + at, n_src - at, r.centre, r.n_centre, e->codes + r.codes,
                      e->n_codes - r.codes, (uint8_t *)e->norms + r.norms, e->n_norms - r.norms);
        if (status != TQ_OK) return fail_in_part(status, src, at);
        done += r.batch.rows;
    }
    if (status != TQ_OK) return status;
    e->n_positions += n - lost;
    e->ring_start = slot_of(e, lost);
    if (e->centre_stretch != 0) e->first_position += lost;
    return TQ_OK;
}

tq_status tq_encoded_get(const tq_encoded *e, size_t first, size_t n, tq_domain domain, float *dst,
                         size_t n_dst, size_t head_stride) {
    plan p;
    tq_status status = check(e, dst, "dst", n, head_stride, &p);
    if (status != TQ_OK || n == 0 || e->n_kv_heads == 0) return status;
    if (first > e->n_positions || n > e->n_positions - first)
        return tqio_fail_whole(name, TQ_E_POSITION, first, "first",
                               "%zu positions from %zu on; %zu are there", n, first, e->n_positions);
    for (size_t done = 0; done < n;) {
        const run r = run_at(e, &p, first + done, n - done);
        const size_t at = done * p.dim;
        if (at > n_dst)
            return tqio_fail_whole(name, TQ_E_SIZE, n_dst, "dst", "%zu floats are too few", n_dst);
        status = tq_decode(&e->codec, &r.batch, domain, e->codes + r.codes, e->n_codes - r.codes,
                           (const uint8_t *)e->norms + r.norms, e->n_norms - r.norms, r.centre,
                           r.n_centre, dst + at, n_dst - at);
        if (status != TQ_OK) return status;
        done += r.batch.rows;
    }
    return TQ_OK;
}

tq_view tq_encoded_view(const tq_encoded *e) {
    return (tq_view){.store = TQ_STORE_CODES,
                     .codec = e->codec,
                     .data = e->codes,
                     .data_bytes = e->n_codes,
                     .norms = e->norms,
                     .n_norms = e->n_norms,
                     .n_centres = e->n_centres,
                     .centre_stretch = e->centre_stretch,
                     .capacity = e->capacity,
                     .ring_start = e->ring_start};
}
