/* SPDX-License-Identifier: MIT
 * Vectors into an encoded tensor and out of it, wherever a ring begins. */
#include "layout.h"
#include "report.h"

static const char name[] = "encoded tensor";

/* What a call works with. */
typedef struct plan {
    tqio_sizes sizes;
    size_t dim, stride; /* floats of a dense vector; from a head's dense vectors to the next */
} plan;

static tq_status check_tensor(const tq_encoded *e, plan *p) {
    const tq_status status = tqio_sizes_of(name, e, &p->sizes);
    if (status != TQ_OK) return status;
    if (e->n_codes != p->sizes.n_codes || e->n_norms != p->sizes.n_norms ||
        e->n_positions > e->capacity || (e->capacity > 0 && e->ring_start >= e->capacity))
        return tqio_fail_whole(name, TQ_E_FILE_SHAPE, 0, "capacity",
                               "sizes, positions and ring contradict heads and capacity");
    if (e->n_codes > 0 && (e->codes == NULL || e->norms == NULL))
        return tqio_fail_whole(name, TQ_E_NULL, 0, e->codes == NULL ? "codes" : "norms",
                               "a tensor is NULL");
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

/* Rows that lie side by side in every head. */
static tq_batch batch_of(const tq_encoded *e, const plan *p, size_t rows) {
    return (tq_batch){.heads = e->n_kv_heads,
                      .rows = rows,
                      .dense_head_stride = p->stride,
                      .code_head_stride = p->sizes.code_bytes * e->capacity,
                      .norm_head_stride = p->sizes.norms * e->capacity};
}

/* How many of n rows from a slot on lie before the ring's end. */
static size_t before_end(const tq_encoded *e, size_t slot, size_t n) {
    return n < e->capacity - slot ? n : e->capacity - slot;
}

/* Of a position held, 0 the oldest; of the next one, which takes the oldest's when all are full. */
static size_t slot_of(const tq_encoded *e, size_t position) {
    const size_t to_end = e->capacity - e->ring_start;
    return position < to_end ? e->ring_start + position : position - to_end;
}

tq_status tq_encoded_put(tq_encoded *e, size_t n, const float *src, size_t n_src, size_t head_stride) {
    plan p;
    tq_status status = check(e, src, "src", n, head_stride, &p);
    if (status != TQ_OK || n == 0 || e->n_kv_heads == 0) return status;
    if (n > e->capacity)
        return tqio_fail_whole(name, TQ_E_POSITION, n, "n", "%zu positions for %zu slots", n,
                               e->capacity);
    const size_t room = e->capacity - e->n_positions, lost = n > room ? n - room : 0;
    size_t slot = slot_of(e, e->n_positions);
    for (size_t done = 0, rows; done < n; done += rows, slot = 0) {
        const size_t at = done * p.dim, codes = slot * p.sizes.code_bytes, norms = slot * p.sizes.norms;
        rows = before_end(e, slot, n - done);
        const tq_batch batch = batch_of(e, &p, rows);
        if (at > n_src)
            return tqio_fail_whole(name, TQ_E_SIZE, n_src, "src", "%zu floats are too few", n_src);
        status = tq_encode(&e->codec, &batch, src + at, n_src - at, e->centre, e->codes + codes,
                           e->n_codes - codes, e->norms + norms, e->n_norms - norms);
        if (status != TQ_OK) return status;
    }
    e->n_positions += n - lost;
    e->ring_start = slot_of(e, lost);
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
    size_t slot = slot_of(e, first);
    for (size_t done = 0, rows; done < n; done += rows, slot = 0) {
        const size_t at = done * p.dim, codes = slot * p.sizes.code_bytes, norms = slot * p.sizes.norms;
        rows = before_end(e, slot, n - done);
        const tq_batch batch = batch_of(e, &p, rows);
        if (at > n_dst)
            return tqio_fail_whole(name, TQ_E_SIZE, n_dst, "dst", "%zu floats are too few", n_dst);
        status = tq_decode(&e->codec, &batch, domain, e->codes + codes, e->n_codes - codes,
                           e->norms + norms, e->n_norms - norms, e->centre, dst + at, n_dst - at);
        if (status != TQ_OK) return status;
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
                     .capacity = e->capacity,
                     .ring_start = e->ring_start};
}
