/* SPDX-License-Identifier: MIT
 * The processor family that this is compiled for. */
#ifndef TQ_BASE_ARCH_H
#define TQ_BASE_ARCH_H

#if defined(__x86_64__)
#define TQ_X86_64
#elif defined(__aarch64__)
#define TQ_AARCH64
#endif

#endif
