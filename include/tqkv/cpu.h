/* SPDX-License-Identifier: MIT
 * Instruction sets: list them, ask for them, force one. */
#ifndef TQKV_CPU_H
#define TQKV_CPU_H

#include <stddef.h>

#include "tqkv/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/** A level of instruction sets. It includes scalar and what it says; of a processor's levels the last one
 * is the best. */
typedef enum tq_isa {
    TQ_ISA_SCALAR = 0,     /**< any processor */
    TQ_ISA_AVX2 = 1,       /**< x86-64: AVX2, FMA, F16C, BMI2 */
    TQ_ISA_AVXVNNI = 2,    /**< AVX2's, and AVX-VNNI, the dot product of bytes without AVX-512 */
    TQ_ISA_AVX512 = 3,     /**< AVX2's, and AVX-512 F, BW, DQ, VL */
    TQ_ISA_AVX512VBMI = 4, /**< and AVX-512 VBMI, VBMI2, VNNI */
    TQ_ISA_AMX = 5,  /**< and AMX-TILE, AMX-INT8, on Linux, whose leave for the process is asked for when
                          levels are */
    TQ_ISA_NEON = 6, /**< AArch64 */
    TQ_ISA_NEONDOTPROD = 7 /**< and the dot product of bytes (FEAT_DotProd) */
} tq_isa;

/** All levels, worst to best, also those that this machine lacks. Static storage; *count tells how many.
 */
TQ_API const tq_isa *tq_isas(size_t *count);

/** "scalar", "avx2", "avxvnni", "avx512", "avx512vbmi", "amx", "neon" or "neondotprod"; NULL for a value
 * that is none. */
TQ_API const char *tq_isa_name(tq_isa isa);

/** The level of that name. TQ_E_NULL, TQ_E_ISA; *isa is untouched on failure. */
TQ_API tq_status tq_isa_from_name(const char *name, tq_isa *isa);

/** 1 if this library has kernels of the level and this machine can run them, else 0. */
TQ_API int tq_isa_available(tq_isa isa);

/** The level in use: the best available one, unless tq_isa_set() or the environment variable TQKV_ISA (a
 * name) chose another.
 *
 * isa   out
 *
 * TQ_E_NULL; TQ_E_ISA if TQKV_ISA names no level, or one that is not available. Every call that needs
 * kernels fails likewise then, until tq_isa_set() has chosen. */
TQ_API tq_status tq_isa_active(tq_isa *isa);

/** Chooses a level for the whole process, whatever TQKV_ISA says. Results do not depend on it.
 *
 * TQ_E_ISA if it is not available; the level in use is unchanged then.
 * Thread safety: calls under way on other threads may end on the level they began with. */
TQ_API tq_status tq_isa_set(tq_isa isa);

/** An operation, and the instruction set of the kernel that serves it. */
typedef struct tq_kernel_info {
    const char *operation; /**< such as "quantize"; static storage */
    tq_isa isa;
} tq_kernel_info;

/** The kernels in use, an entry per operation.
 *
 * info      [capacity] out; may be NULL if capacity is 0
 * capacity  entries that info has room for; no more are written
 * count     out: how many operations there are
 *
 * TQ_E_NULL; TQ_E_ISA as for tq_isa_active(). Outputs untouched on failure. */
TQ_API tq_status tq_kernels_in_use(tq_kernel_info *info, size_t capacity, size_t *count);

#ifdef __cplusplus
}
#endif
#endif
