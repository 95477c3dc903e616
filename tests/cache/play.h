/* SPDX-License-Identifier: MIT
 * Bytes as a sequence of calls on caches with their models beside them. */
#ifndef TESTS_CACHE_PLAY_H
#define TESTS_CACHE_PLAY_H

#include <stddef.h>
#include <stdint.h>

/* The first bytes say what the caches are, each further one or two what is done next. Ends in broken() if
 * a cache is not what its model says; gives all memory back and checks that. */
void play(const uint8_t *bytes, size_t size);

#endif
