/* SPDX-License-Identifier: MIT
 * What the card reads and stores at most: every byte once, 16 at a time. */
#include "bandwidth.h"

static __device__ uint32_t mixed(uint4 v) {
    return v.x ^ v.y ^ v.z ^ v.w;
}

/* Several loads of a thread are under way at a time. */
static __global__ void __launch_bounds__(512) read_all(const uint4 *x, size_t n, uint32_t *sink) {
    const size_t step = (size_t)gridDim.x * blockDim.x;
    size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x;
    uint32_t seen = 0;
    for (; i + 7 * step < n; i += 8 * step) {
        uint4 v[8];
#pragma unroll
        for (int j = 0; j < 8; j++)
            v[j] = __ldcs(x + i + j * step);
#pragma unroll
        for (int j = 0; j < 8; j++)
            seen ^= mixed(v[j]);
    }
    for (; i < n; i += step)
        seen ^= mixed(x[i]);
    if (seen == 0x12345678) *sink = seen; /* or the compiler would leave the loads out */
}

static __global__ void __launch_bounds__(512) store_all(uint4 *x, size_t n, uint32_t value) {
    const size_t step = (size_t)gridDim.x * blockDim.x;
    for (size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x; i < n; i += step)
        x[i] = make_uint4(value, (uint32_t)i, ~value, (uint32_t)i * 2654435761u);
}

cudaError_t bandwidth_read(const void *x, size_t bytes, uint32_t *sink, unsigned blocks,
                           cudaStream_t stream) {
    read_all<<<blocks, 512, 0, stream>>>((const uint4 *)x, bytes / 16, sink);
    return cudaGetLastError();
}

cudaError_t bandwidth_store(void *x, size_t bytes, uint32_t value, unsigned blocks, cudaStream_t stream) {
    store_all<<<blocks, 512, 0, stream>>>((uint4 *)x, bytes / 16, value);
    return cudaGetLastError();
}
