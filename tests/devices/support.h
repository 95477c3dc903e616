/* SPDX-License-Identifier: MIT
 * What all checks of devices stand on: counts of what was right, device memory, random numbers. */
#ifndef TESTS_DEVICES_SUPPORT_H
#define TESTS_DEVICES_SUPPORT_H

#include <cuda_runtime_api.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tqkv/cuda.h"
#include "tqkv/tqkv.h"

extern tq_cuda *cuda;          /* the device at hand */
extern size_t failed, checked; /* by fail() and expect() */

/* Counts a check; of what failed the first twenty are printed. */
void expect(bool ok, const char *text, ...) __attribute__((format(printf, 2, 3)));

/* End the program where nothing sensible can follow. */
void need(cudaError_t error, const char *what);
void succeed(tq_status status);
void *host(size_t bytes); /* zeros; for free() */

/* Device memory, aligned to 256 bytes, poisoned, out of one block that device_reset() empties. With
 * TQKV_CHECK_MALLOC in the environment each is an allocation of its own, for compute-sanitizer. */
void *device(size_t bytes);
void *upload(const void *data, size_t bytes);
void download(void *to, const void *from, size_t bytes); /* waits for the device */
void device_reset(void);

void seed(uint64_t number);
uint32_t next(void);
size_t below(size_t n);                  /* 0 .. n - 1 */
size_t between(size_t low, size_t high); /* both included */
bool chance(unsigned percent);
float normal(void);
void normals(float *x, size_t n, float size); /* quick: a piece of a long table */

uint16_t to_bf16(float x);
uint16_t to_f16(float x); /* infinite beyond 65504; NaN stays NaN */
float from_bf16(uint16_t x);
float from_f16(uint16_t x);
size_t type_size(tq_type type);
void put(tq_type type, void *to, size_t index, float x); /* rounded to the type */
float get(tq_type type, const void *from, size_t index);

double seconds(void);

#endif
