/* SPDX-License-Identifier: MIT
 * Instructions that C++ has no words for, and what the texts of attention share. These texts include
 * nothing but each other: nvcc compiles them ahead, NVRTC one behind the other, after attend.h. */
#ifndef TQ_CUDA_INSTRUCTIONS_CUH
#define TQ_CUDA_INSTRUCTIONS_CUH

#ifndef __CUDACC_RTC__
#include "attend/attend.h"
#endif

#define TQ_INLINE __device__ __forceinline__

/* What a kernel's launch and registers are limited to. */
#if __CUDACC_VER_MAJOR__ * 100 + __CUDACC_VER_MINOR__ >= 1204
#define TQ_LIMITS(threads, registers) __maxnreg__(registers)
#else /* before CUDA 12.4 */
#define TQ_LIMITS(threads, registers) __launch_bounds__(threads, 1)
#endif

constexpr int COLUMNS = TQ_ATTEND_COLUMNS, TILE = TQ_ATTEND_TILE;
constexpr float LOG2_E = 1.44269504f;
#define INF __int_as_float(0x7f800000)

TQ_INLINE uint32_t shared_address(const void *p) {
    return (uint32_t)__cvta_generic_to_shared(p);
}
/* Asks for memory that will be read, and does not wait for it. */
TQ_INLINE void touch(const void *p) {
    const uint32_t x = *(const uint32_t *)p;
    asm volatile("" ::"r"(x));
}
TQ_INLINE uint32_t permute(uint32_t a, uint32_t b, uint32_t selector) {
    return __byte_perm(a, b, selector);
}
#ifndef TQ_EMULATED /* those of tests/devices/emulator */
/* Bits of a where the mask has ones, of b elsewhere: one instruction, which the compiler takes apart
 * where it knows bits of b. */
TQ_INLINE uint32_t select(uint32_t mask, uint32_t a, uint32_t b) {
    uint32_t d;
    asm("lop3.b32 %0, %1, %2, %3, 0xca;" : "=r"(d) : "r"(mask), "r"(a), "r"(b));
    return d;
}
/* Two float16: the low half is a. */
TQ_INLINE uint32_t pack(float a, float b) {
    uint32_t d;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(d) : "f"(b), "f"(a));
    return d;
}
TQ_INLINE float half_low(uint32_t x) {
    float f;
    asm("{.reg .b16 l, h;\n mov.b32 {l, h}, %1;\n cvt.f32.f16 %0, l;}" : "=f"(f) : "r"(x));
    return f;
}
TQ_INLINE float half_high(uint32_t x) {
    float f;
    asm("{.reg .b16 l, h;\n mov.b32 {l, h}, %1;\n cvt.f32.f16 %0, h;}" : "=f"(f) : "r"(x));
    return f;
}
TQ_INLINE uint16_t to_float16(float x) {
    uint16_t bits;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(x));
    return bits;
}
TQ_INLINE uint16_t to_bfloat16(float x) {
    uint16_t bits;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(x));
    return bits;
}
TQ_INLINE float power_of_2(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}
TQ_INLINE float log_of_2(float x) {
    float y;
    asm("lg2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}
TQ_INLINE float reciprocal(float x) {
    float y;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}
TQ_INLINE float quick_tanh(float x) {
    float y;
    asm("tanh.approx.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}
TQ_INLINE void product(float (&c)[4], uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3, uint32_t b0,
                       uint32_t b1) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
        "{%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},{%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}
TQ_INLINE uint32_t transpose(uint32_t a) {
    uint32_t d;
    asm("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(d) : "r"(a));
    return d;
}
/* Blocks of eight by eight float16, of rows that 8 lanes have the addresses of. */
TQ_INLINE void load_blocks(uint32_t (&x)[4], uint32_t at) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(x[0]), "=r"(x[1]), "=r"(x[2]), "=r"(x[3])
                 : "r"(at));
}
TQ_INLINE void load_turned(uint32_t (&x)[4], uint32_t at) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(x[0]), "=r"(x[1]), "=r"(x[2]), "=r"(x[3])
                 : "r"(at));
}
/* What the compiler may move: of memory that does not change from a barrier to the next. */
TQ_INLINE uint32_t load_shared(uint32_t at) {
    uint32_t x;
    asm("ld.shared.u32 %0, [%1];" : "=r"(x) : "r"(at));
    return x;
}
TQ_INLINE uint2 load_shared_2(uint32_t at) {
    uint2 x;
    asm("ld.shared.v2.u32 {%0, %1}, [%2];" : "=r"(x.x), "=r"(x.y) : "r"(at));
    return x;
}
TQ_INLINE void store_shared_byte(uint32_t at, uint8_t x) {
    asm volatile("st.shared.u8 [%0], %1;" ::"r"(at), "r"((uint32_t)x) : "memory");
}
template <int N> TQ_INLINE void copy_async(uint32_t to, const void *from) {
    if constexpr (N == 16)
        asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16;" ::"r"(to), "l"(from));
    else
        asm volatile("cp.async.ca.shared.global [%0], [%1], 4;" ::"r"(to), "l"(from));
}
/* Of memory that is read once: its lines are the first to leave L2, where operands and instructions,
 * which are wanted again, then stay. */
TQ_INLINE uint64_t once() {
    uint64_t policy;
    asm("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy));
    return policy;
}
TQ_INLINE void copy_once(uint32_t to, const void *from) {
    asm volatile("cp.async.cg.shared.global.L2::cache_hint.L2::128B [%0], [%1], 16, %2;" ::"r"(to),
                 "l"(from), "l"(once()));
}
/* The same, if so: without a branch. */
TQ_INLINE void copy_once_if(bool so, uint32_t to, const void *from) {
    asm volatile("{.reg .pred p;\n setp.ne.u32 p, %2, 0;\n"
                 " @p cp.async.cg.shared.global.L2::cache_hint.L2::128B [%0], [%1], 16, %3;}" ::"r"(to),
                 "l"(from), "r"((uint32_t)so), "l"(once()));
}
TQ_INLINE void copies_commit() {
    asm volatile("cp.async.commit_group;");
}
template <int N> TQ_INLINE void copies_wait() {
    asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}
/* Of what ran before in the stream with the programmatic attribute. */
TQ_INLINE void wait_for_launch_before() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
TQ_INLINE void let_next_launch() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;");
#endif
}
#endif

#endif
