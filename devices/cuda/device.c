/* SPDX-License-Identifier: MIT
 * Devices, and the tables in their memory. */
#include "device.h"

#include <cuda_runtime_api.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "attend/tables.h"
#include "base/check.h"

/* The oldest that the kernels are built for. */
enum { LEAST_MAJOR = 8, TREE = 128, LEVELS = 256, MOST_CAS = 61 };

static const tq_format formats[TQ_CUDA_BOOKS] = {
    TQ_TQ2, TQ_TQ3, TQ_TQ4, TQ_TQ5, TQ_TQ6, TQ_TQ7, TQ_TQ8, TQ_TQ4_V1, TQ_TQ5_V1, TQ_TQ6_V1, TQ_TQ8_V1};

/* Odd factors of rotations: a slot for each number up to the largest prime. */
enum {
    BOOK_BYTES = (TREE + LEVELS) * sizeof(float),
    CAS_AT = TQ_CUDA_BOOKS * BOOK_BYTES,
    ENTRIES_AT = CAS_AT + (MOST_CAS + 1) * (MOST_CAS + 3) * sizeof(float),
    ENTRIES_BYTES = TQ_ATTEND_ENTRIES * TQ_ATTEND_WORDS * sizeof(uint32_t),
    TABLE_BYTES = ENTRIES_AT + TQ_CUDA_BOOKS * ENTRIES_BYTES
};

static size_t cas_at(unsigned p) {
    return CAS_AT + p * (MOST_CAS + 3) * sizeof(float);
}

static size_t book_of(tq_format format) {
    size_t i = 0;
    while (i + 1 < TQ_CUDA_BOOKS && formats[i] != format)
        i++;
    return i;
}

tq_status tq_cuda_fail(cudaError_t error, const char *what) {
    if (error == cudaSuccess) return TQ_OK;
    (void)cudaGetLastError(); /* or the next launch would find it */
    return tq_fail(error == cudaErrorMemoryAllocation ? TQ_E_NO_MEMORY : TQ_E_DEVICE, (uint64_t)error,
                   what, "%s: CUDA says: %s", what, cudaGetErrorString(error));
}

tq_status tq_cuda_enter(tq_cuda_scope *scope, const tq_cuda *cuda) {
    TRY(tq_check_not_null("cuda", cuda));
    TRY(tq_cuda_fail(cudaGetDevice(&scope->before), "device"));
    if (scope->before == cuda->device) return TQ_OK;
    return tq_cuda_fail(cudaSetDevice(cuda->device), "device");
}

tq_status tq_cuda_leave(const tq_cuda_scope *scope, int error) {
    int now;
    cudaError_t back = cudaGetDevice(&now);
    if (back == cudaSuccess && now != scope->before) back = cudaSetDevice(scope->before);
    TRY(tq_cuda_fail((cudaError_t)error, "launch"));
    return tq_cuda_fail(back, "device");
}

int tq_cuda_count(void) {
    int n = 0;
    if (cudaGetDeviceCount(&n) == cudaSuccess) return n;
    (void)cudaGetLastError();
    return 0;
}

static void fill_rotation(uint8_t *tables, const tq_rotation *r) {
    for (unsigned i = 0; i < r->n_odd; i++)
        memcpy(tables + cas_at(r->odd[i].p), r->odd[i].cas, r->odd[i].p * sizeof(float));
}

static tq_status fill_tables(tq_cuda *c, uint8_t *tables) {
    tq_plan plan;
    memset(tables, 0, TABLE_BYTES);
    for (size_t i = 0; i < TQ_CUDA_BOOKS; i++) {
        const tq_codebook_tables *book = tq_find_codebook(formats[i]);
        memcpy(tables + i * BOOK_BYTES, book->tree, sizeof(float) << (book->bits - 1));
        memcpy(tables + i * BOOK_BYTES + TREE * sizeof(float), book->levels, sizeof(float) << book->bits);
        c->factors[i] = tq_attend_fill_table(
            book, (uint32_t(*)[TQ_ATTEND_WORDS])(void *)(tables + ENTRIES_AT + i * ENTRIES_BYTES));
    }
    for (uint32_t dim = 32; dim <= TQ_MAX_DIM; dim += 16) {
        TRY(tq_plan_init(&plan, &(tq_codec){.format = TQ_TQ4, .head_dim = dim}));
        fill_rotation(tables, &plan.rotation);
    }
    return TQ_OK;
}

static tq_status upload(tq_cuda *c) {
    static const char *const what = "tables";
    uint8_t *tables = malloc(TABLE_BYTES);
    if (tables == NULL) return tq_fail(TQ_E_NO_MEMORY, TABLE_BYTES, what, "no memory for the tables");
    tq_status status = fill_tables(c, tables);
    if (status == TQ_OK) status = tq_cuda_fail(cudaMalloc((void **)&c->tables, TABLE_BYTES), what);
    if (status == TQ_OK)
        status = tq_cuda_fail(cudaMemcpy(c->tables, tables, TABLE_BYTES, cudaMemcpyHostToDevice), what);
    free(tables);
    return status;
}

/* Why there is none the driver knows best: it may be missing, too old, or told to hide them. */
static tq_status check_device(int device) {
    int n = 0;
    const cudaError_t error = cudaGetDeviceCount(&n);
    if (error == cudaSuccess && device >= 0 && device < n) return TQ_OK;
    (void)cudaGetLastError();
    if (error == cudaSuccess && n > 0)
        return tq_fail(TQ_E_DEVICE, (uint64_t)n, "device", "device %d: CUDA has %d, numbered from 0",
                       device, n);
    return tq_fail(TQ_E_DEVICE, 0, "device", "device %d: CUDA has none (is there a driver?) and says: %s",
                   device, cudaGetErrorString(error == cudaSuccess ? cudaErrorNoDevice : error));
}

static tq_status look_at(int device, tq_cuda_info *info) {
    struct cudaDeviceProp properties;
    TRY(check_device(device));
    TRY(tq_cuda_fail(cudaGetDeviceProperties(&properties, device), "device"));
    *info = (tq_cuda_info){.major = properties.major,
                           .minor = properties.minor,
                           .served = properties.major >= LEAST_MAJOR,
                           .memory_bytes = properties.totalGlobalMem};
    snprintf(info->name, sizeof info->name, "%s", properties.name);
    return TQ_OK;
}

tq_status tq_cuda_describe(int device, tq_cuda_info *info) {
    tq_cuda_info found;
    TRY(tq_check_not_null("info", info));
    TRY(look_at(device, &found));
    return tq_give_struct("info", &found, sizeof found, info);
}

static tq_status check_served(int device, const tq_cuda_info *info) {
    if (info->served) return TQ_OK;
    return tq_fail(TQ_E_DEVICE, (uint64_t)info->major, "device",
                   "device %d, %s, has compute capability %d.%d: 8.0 is wanted at least", device,
                   info->name, info->major, info->minor);
}

/* What plans of attention ask for. */
static tq_status measure(tq_cuda *c) {
    int shared = 0;
    TRY(tq_cuda_fail(
        cudaDeviceGetAttribute(&c->multiprocessors, cudaDevAttrMultiProcessorCount, c->device),
        "device"));
    TRY(tq_cuda_fail(cudaDeviceGetAttribute(&shared, cudaDevAttrMaxSharedMemoryPerBlockOptin, c->device),
                     "device"));
    c->shared_bytes = (size_t)shared;
    return TQ_OK;
}

tq_status tq_cuda_open(int device, tq_cuda **cuda) {
    tq_cuda_scope scope;
    tq_cuda_info info;
    TRY(tq_check_not_null("cuda", cuda));
    *cuda = NULL;
    TRY(look_at(device, &info));
    TRY(check_served(device, &info));
    tq_cuda *c = calloc(1, sizeof *c);
    if (c == NULL) return tq_fail(TQ_E_NO_MEMORY, sizeof *c, "cuda", "no memory for the device's handle");
    c->device = device;
    c->major = info.major, c->minor = info.minor;
    snprintf(c->name, sizeof c->name, "%s", info.name);
    tq_status status = tq_cuda_enter(&scope, c);
    if (status == TQ_OK) {
        status = measure(c);
        if (status == TQ_OK) status = upload(c);
        (void)tq_cuda_leave(&scope, cudaSuccess);
    }
    if (status != TQ_OK) {
        tq_cuda_close(c);
        return status;
    }
    *cuda = c;
    return TQ_OK;
}

void tq_cuda_close(tq_cuda *c) {
    if (c == NULL) return;
    if (c->tables != NULL) (void)cudaFree(c->tables);
    free(c);
}

const char *tq_cuda_name(const tq_cuda *c) {
    return c == NULL ? "" : c->name;
}

tq_status tq_cuda_plan_init(const tq_cuda *c, const tq_codec *codec, tq_plan *plan, tq_cuda_plan *out) {
    TRY(tq_plan_init(plan, codec));
    const uint8_t *book = c->tables + book_of(codec->format) * BOOK_BYTES;
    const tq_rotation *r = &plan->rotation;
    *out = (tq_cuda_plan){.dim = codec->head_dim,
                          .bits = plan->book->bits,
                          .ranked = plan->book->ranked != 0,
                          .packing = plan->book->packing,
                          .v1 = plan->v1,
                          .n_norms = (uint32_t)plan->n_norms,
                          .norm_rule = plan->norm_rule,
                          .unit = plan->unit,
                          .norm_scale = plan->norm_scale,
                          .tree = (const float *)(const void *)book,
                          .levels = (const float *)(const void *)book + TREE,
                          .scale_last = r->scale_last != 0,
                          .n_odd = r->n_odd,
                          .tilt = r->tilt,
                          .scale = r->scale};
    memcpy(out->signs, r->signs, codec->head_dim / 8);
    if (plan->book->bits <= 4)
        memcpy(out->few, plan->book->tree, sizeof(float) << (plan->book->bits - 1));
    for (unsigned i = 0; i < r->n_odd; i++) {
        out->odd[i] = r->odd[i].p;
        out->cas[i] = (const float *)(const void *)(c->tables + cas_at(r->odd[i].p));
    }
    return TQ_OK;
}

const uint32_t *tq_cuda_entries(const tq_cuda *c, tq_format format, float *factor) {
    const size_t i = book_of(format);
    *factor = c->factors[i];
    return (const uint32_t *)(const void *)(c->tables + ENTRIES_AT + i * ENTRIES_BYTES);
}
