/* SPDX-License-Identifier: MIT
 * Vectors into an encoded tensor and out of it, wherever a ring begins. */
#include "layout.h"
#include "report.h"

static const char name[] = "encoded tensor";

/* What the calls below rely on. */
static tq_status check(const tq_encoded *e, const float *dense, const char *argument, tqio_sizes *sizes) {
    if (e == NULL || dense == NULL)
        return tq_fail(TQ_E_NULL, 0, e == NULL ? "encoded" : argument, "an argument is NULL");
    const tq_status status = tqio_sizes_of(name, e, sizes);
    if (status != TQ_OK) return status;
    if (e->n_codes != sizes->n_codes || e->n_norms != sizes->n_norms || e->n_positions > e->capacity ||
        (e->capacity > 0 && e->ring_start >= e->capacity))
        return tqio_fail_whole(name, TQ_E_FILE_SHAPE, 0, "capacity",
                               "sizes, positions and ring contradict heads and capacity");
    return TQ_OK;
}

/* Rows that lie side by side in every head, against dense ones whose heads lie dense_stride apart. */
static tq_batch batch_of(const tq_encoded *e, const tqio_sizes *sizes, size_t rows, size_t dense_stride) {
    return (tq_batch){.heads = e->n_kv_heads,
                      .rows = rows,
                      .dense_head_stride = dense_stride,
                      .code_head_stride = sizes->code_bytes * e->capacity,
                      .norm_head_stride = sizes->norms * e->capacity};
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
    tqio_sizes s;
    tq_status status = check(e, src, "src", &s);
    if (status != TQ_OK || n == 0 || e->n_kv_heads == 0) return status;
    if (n > e->capacity)
        return tqio_fail_whole(name, TQ_E_POSITION, n, "n", "%zu positions for %zu slots", n,
                               e->capacity);
    const size_t dim = e->codec.head_dim, stride = head_stride == 0 ? n * dim : head_stride;
    const size_t room = e->capacity - e->n_positions, lost = n > room ? n - room : 0;
    const size_t first = slot_of(e, e->n_positions);
    for (size_t done = 0, rows; done < n; done += rows) {
        const size_t slot = done == 0 ? first : 0, at = done * dim;
        rows = before_end(e, slot, n - done);
        const tq_batch batch = batch_of(e, &s, rows, stride);
        if (at > n_src)
            return tqio_fail_whole(name, TQ_E_SIZE, n_src, "src", "%zu floats are too few", n_src);
        status = tq_encode(&e->codec, &batch, src + at, n_src - at, e->centre,
                           e->codes + slot * s.code_bytes, e->n_codes - slot * s.code_bytes,
                           e->norms + slot * s.norms, e->n_norms - slot * s.norms);
        if (status != TQ_OK) return status;
    }
    e->n_positions += n - lost;
    e->ring_start = slot_of(e, lost);
    return TQ_OK;
}

tq_status tq_encoded_get(const tq_encoded *e, size_t first, size_t n, tq_domain domain, float *dst,
                         size_t n_dst, size_t head_stride) {
    tqio_sizes s;
    tq_status status = check(e, dst, "dst", &s);
    if (status != TQ_OK || n == 0 || e->n_kv_heads == 0) return status;
    if (first > e->n_positions || n > e->n_positions - first)
        return tqio_fail_whole(name, TQ_E_POSITION, first, "first",
                               "%zu positions from %zu on; %zu are there", n, first, e->n_positions);
    const size_t dim = e->codec.head_dim, stride = head_stride == 0 ? n * dim : head_stride;
    for (size_t done = 0, rows; done < n; done += rows) {
        const size_t slot = slot_of(e, first + done), at = done * dim;
        rows = before_end(e, slot, n - done);
        const tq_batch batch = batch_of(e, &s, rows, stride);
        if (at > n_dst)
            return tqio_fail_whole(name, TQ_E_SIZE, n_dst, "dst", "%zu floats are too few", n_dst);
        status = tq_decode(&e->codec, &batch, domain, e->codes + slot * s.code_bytes,
                           e->n_codes - slot * s.code_bytes, e->norms + slot * s.norms,
                           e->n_norms - slot * s.norms, e->centre, dst + at, n_dst - at);
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
