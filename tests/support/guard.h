/* SPDX-License-Identifier: MIT
 * Buffers that tell what a call has written: canaries on both sides and a copy of the content. */
#ifndef TESTS_SUPPORT_GUARD_H
#define TESTS_SUPPORT_GUARD_H

#include <stddef.h>
#include <stdint.h>

typedef struct guard {
    uint8_t *base;  /* canary, data, canary */
    uint8_t *saved; /* the whole as it was at the last guard_save() */
    void *data;
    size_t size; /* bytes of data */
} guard;

/* Memory full of a pattern that is neither zero nor a plausible code or norm. */
guard guard_new(size_t size);
void guard_free(guard *g);

/* Takes the present content as the one to compare with. */
void guard_save(guard *g);

/* Both fail the running test when a byte has changed: anywhere, or outside [offset, offset + length). */
void guard_assert_untouched(const guard *g);
void guard_assert_only(const guard *g, size_t offset, size_t length);

/* Accepts the bytes in [offset, offset + length) as they are now. */
void guard_accept(guard *g, size_t offset, size_t length);

/* Fails unless both arrays hold the same bits; a NaN equals any other NaN. */
void assert_same_floats(const float *got, const float *want, size_t n, const char *what);

/* malloc() that fails the test instead of returning NULL. */
void *test_alloc(size_t size);

#endif
