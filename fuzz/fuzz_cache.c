/* SPDX-License-Identifier: MIT
 * Any bytes as a sequence of calls on caches: each must be what a model of it says after every call. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "cache/broken.h"
#include "cache/play.h"
#include "fuzz.h"

void broken(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    play(bytes, size);
    return 0;
}
