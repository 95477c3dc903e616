/* SPDX-License-Identifier: MIT
 * Device memory of a call, what is copied there and back, and what is said where that fails. */
#include "base/cuda_room.h"

#include <assert.h>

tq_status cli_check_cuda(const cli_device *device, cudaError_t error, const char *what) {
    if (error == cudaSuccess) return TQ_OK;
    (void)cudaGetLastError();
    return tq_fail(TQ_E_DEVICE, (uint64_t)error, "device", "cuda:%d: %s: CUDA says: %s", device->number,
                   what, cudaGetErrorString(error));
}

tq_status cli_check_library(const cli_device *device, tq_status status) {
    if (status != TQ_E_DEVICE && status != TQ_E_NO_MEMORY) return status;
    return tq_fail(TQ_E_DEVICE, tq_last_error()->index, "device", "cuda:%d: %s", device->number,
                   tq_last_error()->message);
}

tq_status cli_room_take(cli_room *r, size_t bytes, void **to) {
    size_t left = 0, all = 0;
    assert(r->n < CLI_ROOM_PARTS);
    const cudaError_t error = cudaMalloc(to, bytes ? bytes : 1);
    if (error == cudaSuccess) {
        r->parts[r->n++] = *to;
        return cli_check_cuda(r->device, cudaMemset(*to, 0, bytes), "clearing memory");
    }
    if (error != cudaErrorMemoryAllocation) return cli_check_cuda(r->device, error, "taking memory");
    (void)cudaGetLastError();
    (void)cudaMemGetInfo(&left, &all);
    return tq_fail(TQ_E_DEVICE, bytes, "device",
                   "cuda:%d is out of memory: %zu bytes are wanted, %zu of %zu are free",
                   r->device->number, bytes, left, all);
}

void cli_room_free(cli_room *r) {
    for (size_t i = 0; i < r->n; i++)
        (void)cudaFree(r->parts[i]);
}

tq_status cli_room_copy_in(const cli_room *r, void *to, const void *from, size_t bytes) {
    return cli_check_cuda(r->device, cudaMemcpy(to, from, bytes, cudaMemcpyHostToDevice),
                          "copying to it");
}

tq_status cli_room_copy_out(const cli_room *r, void *to, const void *from, size_t bytes) {
    return cli_check_cuda(r->device, cudaMemcpy(to, from, bytes, cudaMemcpyDeviceToHost),
                          "working on it");
}

tq_status cli_room_upload(cli_room *r, const void *from, size_t bytes, void **to) {
    *to = NULL;
    if (!from) return TQ_OK;
    TRY_STATUS(cli_room_take(r, bytes, to));
    return cli_room_copy_in(r, *to, from, bytes);
}

size_t cli_stretch_of(const tq_encoded *e, size_t position) {
    return e->centre_stretch == 0 ? 0 : (e->first_position + position) / e->centre_stretch;
}

tq_status cli_room_centres(cli_room *r, const tq_encoded *e, size_t *n, void **to) {
    const size_t first = cli_stretch_of(e, 0), each = e->n_kv_heads * e->codec.head_dim;
    *to = NULL;
    *n = 0;
    if (!e->centre) return TQ_OK;
    *n = (cli_stretch_of(e, e->n_positions - 1) - first + 1) * each;
    TRY_STATUS(cli_room_take(r, *n * sizeof *e->centre, to));
    for (size_t i = 0; i * each < *n; i++)
        TRY_STATUS(cli_room_copy_in(r, (uint16_t *)*to + i * each,
                                    e->centre + (first + i) % e->n_centres * each,
                                    each * sizeof *e->centre));
    return TQ_OK;
}
