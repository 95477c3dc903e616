/* SPDX-License-Identifier: MIT
 * Encoding and decoding of batches: check everything, then cut heads and rows into tasks. What a task is
 * does not depend on the number of threads. */
#include <stdatomic.h>

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
    tq_batch_arrays a;
    size_t stretch; /* positions that share a centre, 0: all */
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

/* Long heads are cut into pieces; pieces of short ones are bundled. */
static void cut(job *j, const tq_batch *batch) {
    const size_t rows = TQ_TASK_VALUES / j->plan.dim;
    j->stretch = batch->centre_stretch;
    j->centre_first = batch->centre_first;
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
    if (j->a.centre.data == NULL) return NULL;
    if (j->stretch != 0 && j->stretch - position % j->stretch < *n)
        *n = j->stretch - position % j->stretch;
    const size_t at = tq_rows_at(&j->a.centre, head, (size_t)tq_stretch_of(position, j->stretch));
    tq_widen(j->kernels, TQ_F16, j->plan.dim, (const uint16_t *)j->a.centre.data + at, wide);
    return wide;
}

static tq_row_set row_set(const job *j, size_t n) {
    return (tq_row_set){n, j->a.dense.row_stride, j->a.codes.row_stride, j->a.norms.row_stride};
}

/* Arrays are const in a job so that inputs and outputs are described alike; the pieces alone write, each
 * to its own rows of the outputs. */
static void encode_rows(job *j, size_t head, size_t row, size_t n, const float *centre) {
    const tq_row_set set = row_set(j, n);
    const size_t start = tq_rows_at(&j->a.dense, head, row);
    const size_t bad =
        tq_encode_rows(j->kernels, &j->plan, &set, (const float *)j->a.dense.data + start, centre,
                       (uint8_t *)j->a.codes.data + tq_rows_at(&j->a.codes, head, row),
                       (uint8_t *)j->a.norms.data + tq_rows_at(&j->a.norms, head, row));
    if (bad == SIZE_MAX) return;
    /* The lowest index, so that the value named does not depend on the order of tasks. */
    size_t lowest = atomic_load(&j->first_bad);
    while (start + bad < lowest && !atomic_compare_exchange_weak(&j->first_bad, &lowest, start + bad))
        continue;
}

static void decode_rows(job *j, size_t head, size_t row, size_t n, const float *centre) {
    const tq_row_set set = row_set(j, n);
    tq_decode_rows(j->kernels, &j->plan, &set, j->domain,
                   (const uint8_t *)j->a.codes.data + tq_rows_at(&j->a.codes, head, row),
                   (const uint8_t *)j->a.norms.data + tq_rows_at(&j->a.norms, head, row), centre,
                   (float *)j->a.dense.data + tq_rows_at(&j->a.dense, head, row), j->stream);
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
    for (size_t s = 0; s < j->a.centre.rows; s++)
        for (size_t h = 0; h < j->a.centre.heads; h++) {
            const size_t at = tq_rows_at(&j->a.centre, h, s);
            tq_widen(j->kernels, TQ_F16, j->plan.dim, (const uint16_t *)j->a.centre.data + at, wide);
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
    TRY(tq_batch_arrays_init(&j.a, &j.plan, batch, (tq_array){"src", src, sizeof *src, n_src},
                             (tq_array){"codes", codes, 1, n_codes},
                             (tq_array){"norms", norms, 1, n_norms},
                             (tq_array){"centre", centre, sizeof *centre, n_centre}));
    TRY(tq_rows_check_apart(&j.a.codes, &j.a.norms));
    TRY(tq_rows_check_apart(&j.a.codes, &j.a.dense));
    TRY(tq_rows_check_apart(&j.a.norms, &j.a.dense));
    if (centre != NULL) {
        TRY(tq_rows_check_apart(&j.a.codes, &j.a.centre));
        TRY(tq_rows_check_apart(&j.a.norms, &j.a.centre));
        TRY(check_centres(&j));
    }
    cut(&j, batch);
    atomic_init(&j.first_bad, SIZE_MAX);
    run(&j, encode_piece);
    return tq_rows_fail_value(&j.a.dense, atomic_load(&j.first_bad));
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
    TRY(tq_batch_arrays_init(&j.a, &j.plan, batch, (tq_array){"dst", dst, sizeof *dst, n_dst},
                             (tq_array){"codes", codes, 1, n_codes},
                             (tq_array){"norms", norms, 1, n_norms},
                             (tq_array){"centre", centre, sizeof *centre, n_centre}));
    TRY(tq_rows_check_apart(&j.a.dense, &j.a.codes));
    TRY(tq_rows_check_apart(&j.a.dense, &j.a.norms));
    if (centre != NULL) TRY(tq_rows_check_apart(&j.a.dense, &j.a.centre));
    cut(&j, batch);
    j.domain = domain;
    j.stream = past_caches(&j.a.dense);
    run(&j, decode_piece);
    return TQ_OK;
}
