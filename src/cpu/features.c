/* SPDX-License-Identifier: MIT
 * Feature detection: CPUID says what the processor knows, XGETBV which registers the operating system
 * keeps across a switch. Both must agree. */
#include "cpu/features.h"

#include "base/arch.h"

#ifdef TQ_X86_64
#include <cpuid.h>
#include <stdatomic.h>

/* CPUID leaf 1, ECX */
#define FMA     (1u << 12)
#define OSXSAVE (1u << 27)
#define AVX     (1u << 28)
#define F16C    (1u << 29)
/* CPUID leaf 7, EBX */
#define AVX2     (1u << 5)
#define BMI2     (1u << 8)
#define AVX512F  (1u << 16)
#define AVX512DQ (1u << 17)
#define AVX512BW (1u << 30)
#define AVX512VL (1u << 31)
/* CPUID leaf 7, ECX */
#define AVX512VBMI  (1u << 1)
#define AVX512VBMI2 (1u << 6)
#define AVX512VNNI  (1u << 11) /* no processor has VBMI2 without it */
/* XCR0 */
#define YMM_STATE 0x06u
#define ZMM_STATE 0xE6u

static bool has_all(unsigned word, unsigned bits) {
    return (word & bits) == bits;
}

/* The intrinsic wants a compiler flag that this file must do without. */
static unsigned saved_state(void) {
    unsigned low, high;
    __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low;
}

static tq_isa detect(void) {
    unsigned a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !has_all(c, FMA | OSXSAVE | AVX | F16C)) return TQ_ISA_SCALAR;
    const unsigned state = saved_state();
    if (!has_all(state, YMM_STATE) || !__get_cpuid_count(7, 0, &a, &b, &c, &d) ||
        !has_all(b, AVX2 | BMI2))
        return TQ_ISA_SCALAR;
    if (!has_all(state, ZMM_STATE) || !has_all(b, AVX512F | AVX512DQ | AVX512BW | AVX512VL))
        return TQ_ISA_AVX2;
    return has_all(c, AVX512VBMI | AVX512VBMI2 | AVX512VNNI) ? TQ_ISA_AVX512VBMI : TQ_ISA_AVX512;
}

/* CPUID is slow, and traps to the host in a virtual machine: asked once. Threads may do so side by side.
 */
bool tq_cpu_has(tq_isa isa) {
    static atomic_int known = -1;
    int best = atomic_load_explicit(&known, memory_order_relaxed);
    if (best < 0) {
        best = (int)detect();
        atomic_store_explicit(&known, best, memory_order_relaxed);
    }
    return (int)isa <= best;
}

#elif defined(TQ_AARCH64)

bool tq_cpu_has(tq_isa isa) {
    return isa == TQ_ISA_SCALAR || isa == TQ_ISA_NEON; /* NEON is part of the architecture */
}

#else

bool tq_cpu_has(tq_isa isa) {
    return isa == TQ_ISA_SCALAR;
}

#endif
