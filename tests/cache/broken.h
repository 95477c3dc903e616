/* SPDX-License-Identifier: MIT
 * How a check of this folder fails: cmocka's way in tests, abort() in the fuzz target. */
#ifndef TESTS_CACHE_BROKEN_H
#define TESTS_CACHE_BROKEN_H

#include "tqkv/status.h"

/* Says what is wrong and does not return. Whoever links the model defines it. */
_Noreturn void broken(const char *format, ...) TQ_PRINTF(1, 2);

#endif
