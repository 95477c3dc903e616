/* SPDX-License-Identifier: MIT
 * Times work on a CUDA device by events, beside copies within its memory: a sample of each in turn. */
#include "base/cuda_time.h"

#include <stdlib.h>

#include "measure/timing.h"

enum { MOST_LAUNCHES = 4096, WARM_UPS = 3, COPY_BYTES = 128 << 20 };

static const double least_seconds = 2e-3; /* of a sample: an event is good to a microsecond */

tq_status cli_count_sets(const cli_device *device, size_t bytes, size_t *n) {
    int l2 = 0;
    TRY_STATUS(cli_check_cuda(device, cudaDeviceGetAttribute(&l2, cudaDevAttrL2CacheSize, device->number),
                              "asking for its cache"));
    const size_t together = 4 * (size_t)l2, sets = bytes == 0 ? 1 : (together + bytes - 1) / bytes;
    *n = sets < 1 ? 1 : sets > CLI_MOST_SETS ? CLI_MOST_SETS : sets;
    return TQ_OK;
}

/* What is timed, ours or the copy. */
typedef struct subject {
    cli_launch *launch;
    void *work;
    size_t n_sets, next, launches;
    double *seconds; /* [samples] */
} subject;

typedef struct stopwatch {
    const cli_device *device;
    cudaEvent_t from, to;
} stopwatch;

static tq_status run(const stopwatch *w, subject *s, double *seconds) {
    float ms = 0.0f;
    TRY_STATUS(cli_check_cuda(w->device, cudaEventRecord(w->from, NULL), "timing"));
    for (size_t i = 0; i < s->launches; i++, s->next = (s->next + 1) % s->n_sets)
        TRY_STATUS(cli_check_library(w->device, s->launch(s->work, s->next)));
    TRY_STATUS(cli_check_cuda(w->device, cudaEventRecord(w->to, NULL), "timing"));
    TRY_STATUS(cli_check_cuda(w->device, cudaEventSynchronize(w->to), "working on it"));
    TRY_STATUS(cli_check_cuda(w->device, cudaEventElapsedTime(&ms, w->from, w->to), "timing"));
    *seconds = 1e-3 * (double)ms / (double)s->launches;
    return TQ_OK;
}

static tq_status warm_up(const stopwatch *w, subject *s) {
    double once = 0.0;
    s->launches = WARM_UPS;
    TRY_STATUS(run(w, s, &once));
    TRY_STATUS(run(w, s, &once));
    const double wanted = once > 0.0 ? least_seconds / once : MOST_LAUNCHES;
    s->launches = wanted >= MOST_LAUNCHES ? MOST_LAUNCHES : (size_t)wanted + 1;
    return TQ_OK;
}

/* subjects: ours, and the copy; seconds: room for the ratios too. */
static tq_status measure(const stopwatch *w, subject subjects[2], double *ratios, cli_device_timing *t) {
    const size_t n = t->samples;
    for (size_t k = 0; k < 2; k++)
        TRY_STATUS(warm_up(w, &subjects[k]));
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < 2; k++)
            TRY_STATUS(run(w, &subjects[k], &subjects[k].seconds[i]));
    for (size_t i = 0; i < n; i++)
        ratios[i] = subjects[1].seconds[i] / subjects[0].seconds[i];
    t->spread = measure_summarise(ratios, n).spread;
    t->seconds = measure_summarise(subjects[0].seconds, n).median;
    t->bytes_per_s = 2.0 * COPY_BYTES / measure_summarise(subjects[1].seconds, n).median;
    t->launches = subjects[0].launches;
    t->sets = subjects[0].n_sets;
    return TQ_OK;
}

typedef struct copying {
    const cli_device *device;
    void *from, *to;
} copying;

static tq_status copy(void *work, size_t set) {
    const copying *c = work;
    (void)set;
    return cli_check_cuda(c->device,
                          cudaMemcpyAsync(c->to, c->from, COPY_BYTES, cudaMemcpyDeviceToDevice, NULL),
                          "copying within it");
}

tq_status cli_time_launches(cli_room *r, cli_launch *launch, void *work, size_t n_sets) {
    cli_device_timing *t = r->device->timing;
    stopwatch w = {.device = r->device};
    copying c = {.device = r->device};
    if (!t) return TQ_OK;
    TRY_STATUS(cli_room_take(r, COPY_BYTES, &c.from));
    TRY_STATUS(cli_room_take(r, COPY_BYTES, &c.to));
    double *seconds = calloc(t->samples, 3 * sizeof *seconds);
    if (!seconds) return tq_fail(TQ_E_NO_MEMORY, 0, "samples", "no memory");
    subject subjects[] = {{launch, work, n_sets, 0, 1, seconds},
                          {copy, &c, 1, 0, 1, seconds + t->samples}};
    tq_status status = cli_check_cuda(r->device, cudaEventCreate(&w.from), "timing");
    if (status == TQ_OK) status = cli_check_cuda(r->device, cudaEventCreate(&w.to), "timing");
    if (status == TQ_OK) status = measure(&w, subjects, seconds + 2 * t->samples, t);
    if (w.from) (void)cudaEventDestroy(w.from);
    if (w.to) (void)cudaEventDestroy(w.to);
    free(seconds);
    return status;
}
