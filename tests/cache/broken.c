/* SPDX-License-Identifier: MIT
 * A broken promise fails the running test. */
#include "broken.h"

#include <stdio.h>
#include <stdlib.h>

#include "support/cm.h"

void broken(const char *format, ...) {
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    fail_msg("%s", text);
    abort(); /* fail_msg() jumps away, but its declaration does not say so */
}
