/* SPDX-License-Identifier: MIT
 * Feature detection. On x86-64 CPUID says what the processor knows, XGETBV which registers the operating
 * system keeps across a switch: both must agree. On AArch64 the operating system says it. */
#ifdef __APPLE__
#define _DARWIN_C_SOURCE /* sysctlbyname() */
#endif
#ifdef __linux__
#define _DEFAULT_SOURCE /* syscall() */
#endif
#include "cpu/features.h"

#include <stdatomic.h>

#include "base/arch.h"

#define BIT(isa) (1u << (isa))

#ifdef TQ_X86_64
#include <cpuid.h>

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
/* CPUID leaf 7, subleaf 1, EAX */
#define AVX_VNNI (1u << 4)
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

static bool has_avxvnni(void) {
    unsigned a, b, c, d;
    return __get_cpuid_count(7, 1, &a, &b, &c, &d) && has_all(a, AVX_VNNI);
}

#ifdef __linux__
#include <sys/syscall.h>
#include <unistd.h>

/* CPUID leaf 7, EDX; XCR0 */
#define AMX_TILE   (1u << 24)
#define AMX_INT8   (1u << 25)
#define TILE_STATE 0x60000u

/* Threads have no room for tiles until the process asks for it, once for all of them. */
static bool has_amx(unsigned words, unsigned state) {
    enum { REQUEST_STATE = 0x1023, TILE_DATA = 18 };
    return has_all(words, AMX_TILE | AMX_INT8) && has_all(state, TILE_STATE) &&
           syscall(SYS_arch_prctl, REQUEST_STATE, TILE_DATA) == 0;
}
#else
static bool has_amx(unsigned words, unsigned state) {
    (void)words, (void)state;
    return false;
}
#endif

static unsigned detect(void) {
    unsigned a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !has_all(c, FMA | OSXSAVE | AVX | F16C)) return 0;
    const unsigned state = saved_state();
    if (!has_all(state, YMM_STATE) || !__get_cpuid_count(7, 0, &a, &b, &c, &d) ||
        !has_all(b, AVX2 | BMI2))
        return 0;
    const unsigned levels = BIT(TQ_ISA_AVX2) | (has_avxvnni() ? BIT(TQ_ISA_AVXVNNI) : 0);
    if (!has_all(state, ZMM_STATE) || !has_all(b, AVX512F | AVX512DQ | AVX512BW | AVX512VL))
        return levels;
    const bool vbmi = has_all(c, AVX512VBMI | AVX512VBMI2 | AVX512VNNI);
    return levels | BIT(TQ_ISA_AVX512) | (vbmi ? BIT(TQ_ISA_AVX512VBMI) : 0) |
           (vbmi && has_amx(d, state) ? BIT(TQ_ISA_AMX) : 0);
}

#elif defined(TQ_AARCH64)

#if defined(__linux__)
#include <sys/auxv.h>
#define ASIMDDP (1ul << 20) /* of AT_HWCAP; older headers lack its name */

static bool has_dotprod(void) {
    return (getauxval(AT_HWCAP) & ASIMDDP) != 0;
}

#elif defined(__APPLE__)
#include <sys/sysctl.h>

static bool has_dotprod(void) {
    int has = 0;
    size_t size = sizeof has;
    return sysctlbyname("hw.optional.arm.FEAT_DotProd", &has, &size, NULL, 0) == 0 && has != 0;
}

#else

static bool has_dotprod(void) {
#ifdef __ARM_FEATURE_DOTPROD /* whoever compiled this relies on it */
    return true;
#else
    return false;
#endif
}

#endif

static unsigned detect(void) {
    return BIT(TQ_ISA_NEON) | (has_dotprod() ? BIT(TQ_ISA_NEONDOTPROD) : 0); /* NEON is always there */
}

#else

static unsigned detect(void) {
    return 0;
}

#endif

/* CPUID is slow, and traps to the host in a virtual machine: asked once. Threads may do so side by side.
 */
bool tq_cpu_has(tq_isa isa) {
    static atomic_uint known; /* a bit a level; scalar's is always set */
    unsigned levels = atomic_load_explicit(&known, memory_order_relaxed);
    if (levels == 0) {
        levels = BIT(TQ_ISA_SCALAR) | detect();
        atomic_store_explicit(&known, levels, memory_order_relaxed);
    }
    return (levels & BIT(isa)) != 0;
}
