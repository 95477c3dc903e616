/* SPDX-License-Identifier: MIT
 * The linked library's version. */
#include "tqkv/version.h"
#include "base/arch.h"

const char *tq_version(void) {
    return TQKV_VERSION;
}
