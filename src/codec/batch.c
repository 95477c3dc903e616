/* SPDX-License-Identifier: MIT
 * Encoding and decoding of batches: check everything, then cut heads and rows into tasks. What a task is
 * does not depend on the number of threads. */
#include <stdatomic.h>

#include "base/size.h"
#include "base/tasks.h"
#include "codec/centre.h"
#include "cpu/dispatch.h"

/* From here on decoded vectors bypass the caches, which they would only sweep: a plain store to memory
 * reads the line first. Decoding tq4 at D = 256 again and again to the same place, GB/s plain and
 * streamed: 8 MiB 24 and 13, 16 MiB 22 and 13, 24 MiB 9 and 20, 128 MiB 9 and 22 (a core's share of the
 * third-level cache ends between 16 and 24 MiB on that machine; on one with less, plain stores are the
 * slower ones earlier). */
static const size_t stream_bytes = (size_t)24 << 20;

/* An encode or decode call: its arrays, cut into pieces of rows of one head. */
typedef struct job {
    tq_plan plan;
    const tq_kernels *kernels;
    const tq_parallel *parallel;
    tq_rows dense, codes, norms,
        centre;     /* centre: a row a head and stretch, its data NULL if there is none */
    size_t stretch; /* positions that share one, 0: all */
    size_t centre_first;
    tq_domain domain;
    bool stream;
    atomic_size_t first_bad; /* index in dense of a value that cannot be encoded; SIZE_MAX */
    tq_pieces pieces;
    size_t pieces_per_task;
    void (*piece)(struct job *job, size_t head, size_t row, size_t n);
} job;

static bool is_empty(const tq_batch *batch) {
    return batch->heads == 0 || batch->rows == 0;
}

static tq_rows rows_of(const tq_batch *b, const char *name, const void *data, size_t size, size_t length,
                       size_t head_stride, size_t row_stride) {
    return (tq_rows){name, data, size, length, b->heads, b->rows, head_stride, row_stride};
}

/* Centres lie [stretches][G][D]. */
static tq_status check_centre(job *j, const tq_batch *b, const uint16_t *centre, size_t n_centre) {
    size_t last, row;
    j->stretch = b->centre_stretch;
    j->centre_first = b->centre_first;
    j->centre = (tq_rows){"centre", centre, sizeof *centre, j->plan.dim, b->heads, 1, j->plan.dim, 0};
    if (centre == NULL) return TQ_OK;
    if (!tq_size_add(b->centre_first, b->rows - 1, &last))
        return tq_fail(TQ_E_OVERFLOW, 0, "centre_first", "more positions than can be counted");
    TRY(tq_check_product("centre", b->heads, j->plan.dim, sizeof *centre, &row));
    j->centre.row_stride = row / sizeof *centre;
    j->centre.rows = (size_t)tq_stretch_of(last, j->stretch) + 1;
    if (j->stretch == 0 && n_centre > row / sizeof *centre)
        return tq_fail(
            TQ_E_SIZE, n_centre, "centre",
            "centre: %zu numbers are more than one for all positions: is centre_stretch missing?",
            n_centre);
    return tq_rows_check(&j->centre, n_centre);
}

/* Shapes and sizes of everything. */
static tq_status check_arrays(job *j, const tq_batch *b, const char *dense_name, const float *dense,
                              size_t n_dense, const uint8_t *codes, size_t n_codes, const void *norms,
                              size_t n_norms, const uint16_t *centre, size_t n_centre) {
    j->dense = rows_of(b, dense_name, dense, sizeof(float), j->plan.dim, b->dense_head_stride,
                       b->dense_row_stride);
    j->codes = rows_of(b, "codes", codes, 1, j->plan.row_bytes, b->code_head_stride, b->code_row_stride);
    j->norms = rows_of(b, "norms", norms, 1, j->plan.norm_bytes, b->norm_head_stride, b->norm_row_stride);
    TRY(tq_rows_check(&j->dense, n_dense));
    TRY(tq_rows_check(&j->codes, n_codes));
    TRY(tq_rows_check(&j->norms, n_norms));
    return check_centre(j, b, centre, n_centre);
}

/* Long heads are cut into pieces; pieces of short ones are bundled. */
static void cut(job *j, const tq_batch *batch) {
    const size_t rows = TQ_TASK_VALUES / j->plan.dim;
    j->parallel = batch->parallel;
    j->pieces = tq_cut(batch->heads, batch->rows, rows);
    j->pieces_per_task = rows / j->pieces.size;
}

static void run_task(void *work, size_t index) {
    job *j = work;
    const size_t first = index * j->pieces_per_task, n = j->pieces.n;
    const size_t last = n - first < j->pieces_per_task ? n : first + j->pieces_per_task;
    for (size_t i = first; i < last; i++) {
        const tq_piece piece = tq_piece_at(&j->pieces, i);
        j->piece(j, piece.head, piece.first, piece.rows);
    }
}

static void run(job *j, void (*piece)(job *j, size_t head, size_t row, size_t n)) {
    const size_t tasks = (j->pieces.n - 1) / j->pieces_per_task + 1;
    j->piece = piece;
    tq_run_tasks(j->parallel, tasks, run_task, j);
}

/* How many of the next n rows share a centre, and that centre as float32; NULL if there is none. */
static const float *centre_of(const job *j, size_t head, size_t row, size_t *n, float *wide) {
    const size_t position = j->centre_first + row;
    if (j->centre.data == NULL) return NULL;
    if (j->stretch != 0 && j->stretch - position % j->stretch < *n)
        *n = j->stretch - position % j->stretch;
    const size_t at = tq_rows_at(&j->centre, head, (size_t)tq_stretch_of(position, j->stretch));
    tq_widen(j->kernels, TQ_F16, j->plan.dim, (const uint16_t *)j->centre.data + at, wide);
    return wide;
}

static tq_row_set row_set(const job *j, size_t n) {
    return (tq_row_set){n, j->dense.row_stride, j->codes.row_stride, j->norms.row_stride};
}

/* Arrays are const in a job so that inputs and outputs are described alike; the pieces alone write, each
 * to its own rows of the outputs. */
static void encode_rows(job *j, size_t head, size_t row, size_t n, const float *centre) {
    const tq_row_set set = row_set(j, n);
    const size_t start = tq_rows_at(&j->dense, head, row);
    const size_t bad = tq_encode_rows(j->kernels, &j->plan, &set, (const float *)j->dense.data + start,
                                      centre, (uint8_t *)j->codes.data + tq_rows_at(&j->codes, head, row),
                                      (uint8_t *)j->norms.data + tq_rows_at(&j->norms, head, row));
    if (bad == SIZE_MAX) return;
    /* The lowest index, so that the value named does not depend on the order of tasks. */
    size_t lowest = atomic_load(&j->first_bad);
    while (start + bad < lowest && !atomic_compare_exchange_weak(&j->first_bad, &lowest, start + bad))
        continue;
}

static void decode_rows(job *j, size_t head, size_t row, size_t n, const float *centre) {
    const tq_row_set set = row_set(j, n);
    tq_decode_rows(j->kernels, &j->plan, &set, j->domain,
                   (const uint8_t *)j->codes.data + tq_rows_at(&j->codes, head, row),
                   (const uint8_t *)j->norms.data + tq_rows_at(&j->norms, head, row), centre,
                   (float *)j->dense.data + tq_rows_at(&j->dense, head, row), j->stream);
}

static void encode_piece(job *j, size_t head, size_t row, size_t rows) {
    float wide[TQ_MAX_DIM];
    for (size_t done = 0, n; done < rows; done += n) {
        n = rows - done;
        const float *centre = centre_of(j, head, row + done, &n, wide);
        encode_rows(j, head, row + done, n, centre);
    }
}

static void decode_piece(job *j, size_t head, size_t row, size_t rows) {
    float wide[TQ_MAX_DIM];
    for (size_t done = 0, n; done < rows; done += n) {
        n = rows - done;
        const float *centre = centre_of(j, head, row + done, &n, wide);
        if (centre != NULL && j->domain == TQ_ROTATED)
            j->kernels->rotate(&j->plan.rotation, TQ_ROTATE_IN, 1, wide, j->plan.dim, wide, j->plan.dim);
        decode_rows(j, head, row + done, n, centre);
    }
}

/* Centres are finite. */
static tq_status check_centres(const job *j) {
    float wide[TQ_MAX_DIM];
    for (size_t s = 0; s < j->centre.rows; s++)
        for (size_t h = 0; h < j->centre.heads; h++) {
            const size_t at = tq_rows_at(&j->centre, h, s);
            tq_widen(j->kernels, TQ_F16, j->plan.dim, (const uint16_t *)j->centre.data + at, wide);
            const size_t bad = j->kernels->scan(j->plan.dim, wide, TQ_MAX_HALF);
            if (bad < j->plan.dim) return tq_fail_value("centre", at + bad, wide[bad], TQ_MAX_HALF);
        }
    return TQ_OK;
}

tq_status tq_encode(const tq_codec *codec, const tq_batch *batch, const float *src, size_t n_src,
                    const uint16_t *centre, size_t n_centre, uint8_t *codes, size_t n_codes, void *norms,
                    size_t n_norms) {
    job j;
    TRY(tq_plan_init(&j.plan, codec));
    TRY(tq_active_kernels(&j.kernels));
    TRY(tq_plan_check_norm_rule(codec));
    TRY(tq_plan_check_scale_factor(&j.plan, codec->scale_factor_d512));
    TRY(tq_check_not_null("batch", batch));
    TRY(tq_check_parallel(batch->parallel));
    if (is_empty(batch)) return TQ_OK;
    TRY(check_arrays(&j, batch, "src", src, n_src, codes, n_codes, norms, n_norms, centre, n_centre));
    TRY(tq_rows_check_apart(&j.codes, &j.norms));
    TRY(tq_rows_check_apart(&j.codes, &j.dense));
    TRY(tq_rows_check_apart(&j.norms, &j.dense));
    if (centre != NULL) {
        TRY(tq_rows_check_apart(&j.codes, &j.centre));
        TRY(tq_rows_check_apart(&j.norms, &j.centre));
        TRY(check_centres(&j));
    }
    cut(&j, batch);
    atomic_init(&j.first_bad, SIZE_MAX);
    run(&j, encode_piece);
    return tq_rows_fail_value(&j.dense, atomic_load(&j.first_bad));
}

/* Whether decoded vectors are better stored past the caches: they are far more than a cache holds, and
 * whole vectors of 64 bytes. */
static bool past_caches(const tq_rows *dense) {
    return dense->heads * dense->rows * dense->length * sizeof(float) >= stream_bytes &&
           (uintptr_t)dense->data % 64 == 0 && dense->row_stride % 16 == 0 &&
           dense->head_stride % 16 == 0;
}

tq_status tq_decode(const tq_codec *codec, const tq_batch *batch, tq_domain domain, const uint8_t *codes,
                    size_t n_codes, const void *norms, size_t n_norms, const uint16_t *centre,
                    size_t n_centre, float *dst, size_t n_dst) {
    job j;
    TRY(tq_plan_init(&j.plan, codec));
    TRY(tq_active_kernels(&j.kernels));
    TRY(tq_plan_check_scale_factor(&j.plan, codec->scale_factor_d512));
    TRY(tq_check_domain(domain));
    TRY(tq_check_not_null("batch", batch));
    TRY(tq_check_parallel(batch->parallel));
    if (is_empty(batch)) return TQ_OK;
    TRY(check_arrays(&j, batch, "dst", dst, n_dst, codes, n_codes, norms, n_norms, centre, n_centre));
    TRY(tq_rows_check_apart(&j.dense, &j.codes));
    TRY(tq_rows_check_apart(&j.dense, &j.norms));
    if (centre != NULL) TRY(tq_rows_check_apart(&j.dense, &j.centre));
    cut(&j, batch);
    j.domain = domain;
    j.stream = past_caches(&j.dense);
    run(&j, decode_piece);
    return TQ_OK;
}
