/* SPDX-License-Identifier: MIT
 * What the fuzz targets share. */
#ifndef FUZZ_FUZZ_H
#define FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>

/* libFuzzer calls this, and so does replay.c. A broken promise aborts. */
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

/* abort() with a word about what broke; unlike assert() it is there in every build. */
#define REQUIRE(condition) ((condition) ? (void)0 : fuzz_broken(#condition, __FILE__, __LINE__))
_Noreturn void fuzz_broken(const char *condition, const char *file, int line);

/* A path for files that a target writes; the same for the whole run, removed at exit. TMPDIR says where:
 * a folder in memory makes a fuzzer ten times as fast. */
const char *fuzz_path(void);

#endif
