/* SPDX-License-Identifier: MIT
 * Devices, and the tables in their memory. */
#include "device.h"

#include <assert.h>
#include <cuda_runtime_api.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "attend/tables.h"
#include "base/check.h"

/* The oldest that the kernels are built for. */
enum { LEAST_MAJOR = 8, TREE = 128, LEVELS = 256, MOST_CAS = 61, LONGEST = 32 /* sqrt(TQ_MAX_DIM) */ };

static const tq_format formats[TQ_CUDA_BOOKS] = {
    TQ_TQ2, TQ_TQ3, TQ_TQ4, TQ_TQ5, TQ_TQ6, TQ_TQ7, TQ_TQ8, TQ_TQ4_V1, TQ_TQ5_V1, TQ_TQ6_V1, TQ_TQ8_V1};

/* Cells of a format of that many bits: 2^(bits-2) a unit, so that no boundaries share one. There are even
 * numbers of them: 16 bytes are copied at once. */
#define CELLS_PER_UNIT(bits) (1u << ((bits)-2))
#define CELLS(bits)          ((LONGEST + 2) * CELLS_PER_UNIT(bits))

/* A book: boundaries as a tree, levels, squares of the positive ones. Odd factors of rotations: a slot
 * for each number up to the largest prime. */
enum {
    BOOK_BYTES = (TREE + LEVELS + TQ_CUDA_WEIGHTS) * sizeof(float),
    CELLS_AT = TQ_CUDA_BOOKS * BOOK_BYTES,
    /* bits 2 to 8, and v1's 4, 5, 6 and 8 */
    CAS_AT = CELLS_AT + (LONGEST + 2) * (127 + 4 + 8 + 16 + 64) * sizeof(tq_cuda_cell),
    ENTRIES_AT = CAS_AT + (MOST_CAS + 1) * (MOST_CAS + 3) * sizeof(float),
    ENTRIES_BYTES = TQ_ATTEND_ENTRIES * TQ_ATTEND_WORDS * sizeof(uint32_t),
    TABLE_BYTES = ENTRIES_AT + TQ_CUDA_BOOKS * ENTRIES_BYTES
};

static size_t cas_at(unsigned p) {
    return CAS_AT + p * (MOST_CAS + 3) * sizeof(float);
}

static size_t number_of(tq_format format) {
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

static size_t cells_at(size_t number) {
    size_t before = 0;
    for (size_t i = 0; i < number; i++)
        before += CELLS(tq_find_codebook(formats[i])->bits);
    return CELLS_AT + before * sizeof(tq_cuda_cell);
}

/* Cell i has what is nearest to i cells, as a multiplication rounds it. */
static void fill_cells(tq_cuda_cell *cells, const tq_codebook_tables *book) {
    const unsigned n_bounds = (1u << (book->bits - 1)) - 1;
    unsigned below = 0;
    for (unsigned i = 0; i < CELLS(book->bits); i++) {
        float boundary = INFINITY;
        cells[i].below = below;
        if (below < n_bounds && rint((double)book->bounds[below] * CELLS_PER_UNIT(book->bits)) == i)
            boundary = book->bounds[below++];
        memcpy(&cells[i].boundary, &boundary, sizeof boundary);
    }
    assert(below == n_bounds); /* none lies in the cell of another */
}

static void fill_book(uint8_t *tables, size_t number) {
    const tq_codebook_tables *book = tq_find_codebook(formats[number]);
    const unsigned half = 1u << (book->bits - 1);
    float *to = (float *)(void *)(tables + number * BOOK_BYTES);
    memcpy(to, book->tree, sizeof(float) * half);
    memcpy(to + TREE, book->levels, sizeof(float) * 2 * half);
    for (unsigned i = 0; i < half; i++)
        to[TREE + LEVELS + i] = book->levels[i] * book->levels[i];
    fill_cells((tq_cuda_cell *)(void *)(tables + cells_at(number)), book);
}

static void fill_rotation(uint8_t *tables, const tq_rotation *r) {
    for (unsigned i = 0; i < r->n_odd; i++)
        memcpy(tables + cas_at(r->odd[i].p), r->odd[i].cas, r->odd[i].p * sizeof(float));
}

static tq_status fill_tables(tq_cuda *c, uint8_t *tables) {
    tq_plan plan;
    memset(tables, 0, TABLE_BYTES);
    for (size_t i = 0; i < TQ_CUDA_BOOKS; i++) {
        fill_book(tables, i);
        c->factors[i] = tq_attend_fill_table(
            tq_find_codebook(formats[i]),
            (uint32_t(*)[TQ_ATTEND_WORDS])(void *)(tables + ENTRIES_AT + i * ENTRIES_BYTES));
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
    int processors = 0, shared = 0;
    TRY(tq_cuda_fail(cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, c->device),
                     "device"));
    TRY(tq_cuda_fail(cudaDeviceGetAttribute(&shared, cudaDevAttrMaxSharedMemoryPerBlockOptin, c->device),
                     "device"));
    c->multiprocessors = (unsigned)processors;
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

/* v2: no |u| is beyond sqrt(dim) but for roundings of its parts. v1: all beyond the last boundary are as
 * good as one another. */
static void set_book(const tq_cuda *c, const tq_plan *plan, size_t number, tq_cuda_plan *out) {
    const unsigned per_unit = CELLS_PER_UNIT(plan->book->bits);
    const double most = plan->v1 ? TQ_CUDA_V1_MOST : 1.001 * plan->unit;
    const float *book = (const float *)(const void *)(c->tables + number * BOOK_BYTES);
    out->tree = book;
    out->levels = book + TREE;
    out->weights = plan->norm_rule == TQ_NORM_UNBIASED ? out->levels : book + TREE + LEVELS;
    out->cells = (const tq_cuda_cell *)(const void *)(c->tables + cells_at(number));
    out->cells_per_unit = per_unit;
    out->n_cells = ((uint32_t)(most * per_unit) + 3) / 2 * 2;
}

tq_status tq_cuda_plan_init(const tq_cuda *c, const tq_codec *codec, tq_plan *plan, tq_cuda_plan *out) {
    TRY(tq_plan_init(plan, codec));
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
                          .scale_last = r->scale_last != 0,
                          .n_odd = r->n_odd,
                          .tilt = r->tilt,
                          .scale = r->scale};
    set_book(c, plan, number_of(codec->format), out);
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
    const size_t i = number_of(format);
    *factor = c->factors[i];
    return (const uint32_t *)(const void *)(c->tables + ENTRIES_AT + i * ENTRIES_BYTES);
}
