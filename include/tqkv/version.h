/* SPDX-License-Identifier: MIT
 * The library's version. Formats carry a version of their own (docs/format.md). */
#ifndef TQKV_VERSION_H
#define TQKV_VERSION_H

#include "tqkv/types.h"

#define TQKV_VERSION_MAJOR 0
#define TQKV_VERSION_MINOR 1
#define TQKV_VERSION_PATCH 0
#define TQKV_VERSION       "0.1.0"

#ifdef __cplusplus
extern "C" {
#endif

/** The version of the library that is linked, as "MAJOR.MINOR.PATCH". Never NULL, static storage. */
TQ_API const char *tq_version(void);

#ifdef __cplusplus
}
#endif
#endif
