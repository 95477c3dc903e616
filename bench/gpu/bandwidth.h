/* SPDX-License-Identifier: MIT
 * Kernels that do nothing but read, or store, `bytes` bytes from a multiple of 16 on. */
#ifndef TQKV_BENCH_GPU_BANDWIDTH_H
#define TQKV_BENCH_GPU_BANDWIDTH_H

#include <cuda_runtime_api.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* sink: a word that is hardly ever written. */
cudaError_t bandwidth_read(const void *x, size_t bytes, uint32_t *sink, unsigned blocks,
                           cudaStream_t stream);
cudaError_t bandwidth_store(void *x, size_t bytes, uint32_t value, unsigned blocks, cudaStream_t stream);

#ifdef __cplusplus
}
#endif
#endif
