/* SPDX-License-Identifier: MIT
 * Formats, norm rules and domains: the vocabulary of the other headers. */
#ifndef TQKV_TYPES_H
#define TQKV_TYPES_H

#if defined(_WIN32)
#define TQ_API
#elif defined(__GNUC__)
#define TQ_API __attribute__((visibility("default")))
#else
#define TQ_API
#endif

/** Largest magnitude an encoder accepts, 2^57: the sum of 1024 squares then stays inside float32. */
#define TQ_MAX_ABS 144115188075855872.0f

/** Largest norm that v2 stores: the largest finite float16. */
#define TQ_MAX_NORM 65504.0f

/** How a vector is stored. The low byte is the number of bits of a code. v1 formats have 0x100 set. */
typedef enum tq_format {
    TQ_TQ2 = 2,
    TQ_TQ3 = 3,
    TQ_TQ4 = 4,
    TQ_TQ5 = 5,
    TQ_TQ6 = 6,
    TQ_TQ7 = 7,
    TQ_TQ8 = 8,
    TQ_TQ4_V1 = 0x104,
    TQ_TQ5_V1 = 0x105,
    TQ_TQ6_V1 = 0x106,
    TQ_TQ8_V1 = 0x108
} tq_format;

/** Whether a format is one of v1's: frozen, with plain norms alone. */
#define TQ_IS_V1(format) (((unsigned)(format)&0x100u) != 0)

/** What the stored norm of a v2 vector is. Decoding does not depend on it; v1 knows plain alone. */
typedef enum tq_norm_rule {
    TQ_NORM_DEFAULT = 0, /**< the format's own: matched for v2 (docs/choosing.md), plain for v1 */
    TQ_NORM_PLAIN = 1,   /**< the length of x */
    TQ_NORM_MATCHED = 2, /**< such that the reconstruction has the length of x */
    TQ_NORM_UNBIASED = 3 /**< such that <reconstruction, x> = <x, x>: inner products are unbiased */
} tq_norm_rule;

/** How a number is stored that is not a code. */
typedef enum tq_type {
    TQ_F32 = 0,
    TQ_F16 = 1, /**< IEEE binary16 */
    TQ_BF16 = 2 /**< bfloat16: the upper half of a float32 */
} tq_type;

/** Where decoded vectors live: as the model wrote them, or as codes hold them and attention reads them.
 */
typedef enum tq_domain { TQ_ORIGINAL = 0, TQ_ROTATED = 1 } tq_domain;

#endif
