/* SPDX-License-Identifier: MIT
 * CUDA's words for g++: kernels' own text runs on the CPU, one thread of a block at a time. Included
 * before them by the command line.
 *
 * A thread of a block is a fiber: it runs until it meets a barrier of its warp or block, and goes on when
 * all have come; so do shuffles, votes, products and whatever else a warp does together. Between barriers
 * warps run one after the other, each as far as it gets, so that a barrier that is missing shows. Shared
 * memory is a thread_local array, which may be declared as CUDA's is; that whose size a launch tells
 * begins as NaNs. cp.async copies when it is waited for, no sooner. Addresses are checked against what
 * the launch asked for, and alignment where an instruction wants it.
 *
 * What it shows: indices, masks, swizzles, rounding to float16, barriers and waits. What it does not: the
 * order of writes as another SM sees it (blocks run one after the other, launches too), the last bits of
 * products and of functions that a card approximates, registers, banks and time. */
#ifndef TESTS_DEVICES_EMULATOR_H
#define TESTS_DEVICES_EMULATOR_H

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime_api.h>

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <vector>

#include "fault.h"

/* After NVIDIA's headers, which would take it for nvcc's. */
#define __CUDA_ARCH__ 900
#define TQ_EMULATED
#undef __launch_bounds__
#define __launch_bounds__(...)
#undef __grid_constant__
#define __grid_constant__
#undef __noinline__
#define __noinline__
#undef __forceinline__
#define __forceinline__ inline
#undef __shared__
#define __shared__ thread_local

namespace emulator {

enum { WARP_LANES = 32, MOST_WARPS = 32, MOST_SHARED = 227 * 1024 };

/* Where dynamic shared memory begins: behind the system's, and variables with names. */
enum : uint32_t { SHARED_BEGIN = 4096 };

struct copy {
    uint32_t to;
    const void *from;
    int bytes;
};

/* Of the thread at hand. */
struct thread_state {
    int turn; /* of meet()'s two arrays */
    std::vector<std::vector<copy>> groups;
    std::vector<copy> open;
};
thread_state &self();

void meet_warp();
void meet_block();
[[noreturn]] void complain(const char *what);
uint8_t *shared_at(uint32_t address, uint32_t bytes);

void launch(const cudaLaunchConfig_t &config, std::function<void()> kernel);

} // namespace emulator

extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;

namespace emulator {

inline unsigned lane() {
    return threadIdx.x % WARP_LANES;
}

/* Each lane shows something, and makes its own result of what all have shown. Of two arrays one is read
 * while the other is filled: nobody is two meetings ahead. */
template <class T, class F> auto meet(const T &mine, F make) {
    static T shown[MOST_WARPS][2][WARP_LANES];
    T *const all = shown[threadIdx.x / WARP_LANES][self().turn ^= 1];
    all[lane()] = mine;
    meet_warp();
    return make(all);
}

} // namespace emulator

inline void __syncwarp(unsigned = ~0u) {
    emulator::meet_warp();
}
inline void __syncthreads() {
    emulator::meet_block();
}
inline int __syncthreads_or(int x) {
    static int any;
    emulator::meet_block();
    any = 0;
    emulator::meet_block();
    any |= x != 0;
    emulator::meet_block();
    return any;
}

template <class T> T __shfl_sync(unsigned, T x, int from) {
    return emulator::meet(
        x, [&](const T *all) { return all[from % 32]; });
}
template <class T> T __shfl_xor_sync(unsigned mask, T x, int change) {
    return __shfl_sync(mask, x, (int)emulator::lane() ^ change);
}
template <class T> T __shfl_up_sync(unsigned mask, T x, int by) {
    const int lane = (int)emulator::lane();
    return __shfl_sync(mask, x, lane < by ? lane : lane - by);
}
inline unsigned __ballot_sync(unsigned, int x) {
    return emulator::meet(
        x,
        [](const int *all) {
            unsigned bits = 0;
            for (int i = 0; i < 32; i++)
                bits |= (unsigned)(all[i] != 0) << i;
            return bits;
        });
}
inline int __any_sync(unsigned mask, int x) {
    return __ballot_sync(mask, x) != 0;
}
inline int __all_sync(unsigned mask, int x) {
    return __ballot_sync(mask, x) == ~0u;
}
inline unsigned __reduce_min_sync(unsigned, unsigned x) {
    return emulator::meet(
        x, [](const unsigned *all) { return *std::min_element(all, all + 32); });
}
inline unsigned __reduce_max_sync(unsigned, unsigned x) {
    return emulator::meet(
        x, [](const unsigned *all) { return *std::max_element(all, all + 32); });
}

template <class To, class From> To emulator_bits(From x) {
    To y;
    static_assert(sizeof x == sizeof y, "the same bits");
    memcpy(&y, &x, sizeof y);
    return y;
}
inline float __int_as_float(int x) {
    return emulator_bits<float>(x);
}
inline unsigned __float_as_uint(float x) {
    return emulator_bits<unsigned>(x);
}
inline float __fadd_rn(float a, float b) {
    return a + b;
}
inline float __fsub_rn(float a, float b) {
    return a - b;
}
inline float __fmul_rn(float a, float b) {
    return a * b;
}
inline float __fmaf_rn(float a, float b, float c) {
    return fmaf(a, b, c);
}
inline unsigned __umulhi(unsigned x, unsigned y) {
    return (unsigned)((unsigned long long)x * y >> 32);
}
inline int __popc(unsigned x) {
    return __builtin_popcount(x);
}
inline unsigned __byte_perm(unsigned a, unsigned b, unsigned selector) {
    const uint64_t bytes = (uint64_t)b << 32 | a;
    unsigned x = 0;
    for (int i = 0; i < 4; i++) {
        const unsigned n = selector >> 4 * i & 15, byte = bytes >> 8 * (n & 7) & 255;
        x |= (n & 8 ? (byte & 128 ? 255u : 0u) : byte) << 8 * i;
    }
    return x;
}
inline size_t __cvta_generic_to_shared(const void *p) {
    extern thread_local uint8_t smem[];
    const size_t at = (size_t)((const uint8_t *)p - smem);
    if (at > emulator::MOST_SHARED) emulator::complain("no address of shared memory");
    return emulator::SHARED_BEGIN + at;
}
template <class T> void __stcs(T *to, T x) {
    *to = x;
}

using std::max;
using std::min;
inline unsigned min(unsigned a, int b) {
    return std::min(a, (unsigned)b);
}
inline unsigned min(int a, unsigned b) {
    return std::min((unsigned)a, b);
}
inline unsigned max(unsigned a, int b) {
    return std::max(a, (unsigned)b);
}

template <class A>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t *config, void (*kernel)(A), const A &arguments) {
    emulator::launch(*config, [=] { kernel(arguments); });
    return cudaSuccess;
}
template <class A> cudaError_t cudaFuncSetAttribute(void (*)(A), cudaFuncAttribute, int) {
    return cudaSuccess;
}

#include "instructions.h"

#endif
