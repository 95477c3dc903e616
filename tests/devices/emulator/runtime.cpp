/* SPDX-License-Identifier: MIT
 * As much of CUDA's runtime as attention and its checks call: a card whose memory is the host's. */
#include "kernels.h"

#include <cstdlib>

enum { MULTIPROCESSORS = 3, COMPUTE_CAPABILITY = 9, STATIC_SHARED = 3072 };
static_assert(1024 + STATIC_SHARED == emulator::SHARED_BEGIN, "the system's, and a kernel's own");

static cudaError_t copy_bytes(void *to, const void *from, size_t n) {
    if (n > 0) memcpy(to, from, n);
    return cudaSuccess;
}

extern "C" {

cudaError_t cudaMalloc(void **p, size_t n) {
    return posix_memalign(p, 256, n) == 0 ? cudaSuccess : cudaErrorMemoryAllocation;
}
cudaError_t cudaFree(void *p) {
    free(p);
    return cudaSuccess;
}
cudaError_t cudaMemcpy(void *to, const void *from, size_t n, cudaMemcpyKind) {
    return copy_bytes(to, from, n);
}
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t n, cudaMemcpyKind, cudaStream_t) {
    return copy_bytes(to, from, n);
}
cudaError_t cudaMemset(void *to, int x, size_t n) {
    memset(to, x, n);
    return cudaSuccess;
}
cudaError_t cudaMemsetAsync(void *to, int x, size_t n, cudaStream_t) {
    return cudaMemset(to, x, n);
}
cudaError_t cudaDeviceSynchronize() {
    return cudaSuccess;
}
cudaError_t cudaGetDeviceCount(int *n) {
    *n = 1;
    return cudaSuccess;
}
cudaError_t cudaGetDevice(int *device) {
    *device = 0;
    return cudaSuccess;
}
cudaError_t cudaSetDevice(int) {
    return cudaSuccess;
}
cudaError_t cudaGetLastError() {
    return cudaSuccess;
}
const char *cudaGetErrorString(cudaError_t) {
    return "an emulated card knows no errors";
}
cudaError_t cudaDriverGetVersion(int *version) {
    *version = CUDART_VERSION;
    return cudaSuccess;
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp *p, int) {
    *p = cudaDeviceProp();
    strcpy(p->name, "emulated");
    p->major = COMPUTE_CAPABILITY;
    p->multiProcessorCount = MULTIPROCESSORS;
    p->sharedMemPerBlockOptin = emulator::MOST_SHARED;
    return cudaSuccess;
}
cudaError_t cudaDeviceGetAttribute(int *x, cudaDeviceAttr attribute, int) {
    *x = attribute == cudaDevAttrComputeCapabilityMajor         ? COMPUTE_CAPABILITY
         : attribute == cudaDevAttrMultiProcessorCount          ? MULTIPROCESSORS
         : attribute == cudaDevAttrMaxSharedMemoryPerBlockOptin ? emulator::MOST_SHARED
                                                                : 0;
    return cudaSuccess;
}
cudaError_t cudaFuncGetAttributes(cudaFuncAttributes *a, const void *kernel) {
    *a = cudaFuncAttributes();
    a->maxThreadsPerBlock = (int)emulator::threads_of(kernel);
    a->sharedSizeBytes = STATIC_SHARED;
    a->ptxVersion = 90;
    return cudaSuccess;
}
cudaError_t cudaFuncSetAttribute(const void *, cudaFuncAttribute, int) {
    return cudaSuccess;
}
cudaError_t cudaLaunchKernelExC(const cudaLaunchConfig_t *config, const void *kernel, void **arguments) {
    const tq_attend_args a = *(const tq_attend_args *)arguments[0];
    const auto call = (void (*)(tq_attend_args))kernel;
    emulator::launch(*config, [=] { call(a); });
    return cudaSuccess;
}

/* What NVRTC compiled is no text any more. */
cudaError_t cudaLibraryLoadData(cudaLibrary_t *, const void *, cudaJitOption *, void **, unsigned,
                                cudaLibraryOption *, void **, unsigned) {
    return cudaErrorNotSupported;
}
cudaError_t cudaLibraryGetKernel(cudaKernel_t *, cudaLibrary_t, const char *) {
    return cudaErrorNotSupported;
}
cudaError_t cudaLibraryUnload(cudaLibrary_t) {
    return cudaSuccess;
}
}
