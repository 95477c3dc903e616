/* SPDX-License-Identifier: MIT
 * An allocator that counts, checks what comes back, and refuses when told to. */
#ifndef TESTS_CACHE_MEMORY_H
#define TESTS_CACHE_MEMORY_H

#include <stdbool.h>
#include <stddef.h>

#include "tqkv/cache.h"

enum { MEMORY_MOST_BLOCKS = 256 };

typedef struct memory {
    size_t held;     /* bytes given and not got back */
    size_t requests; /* so far, refused ones too */
    size_t refuse;   /* the number of the request to refuse, from 1; 0: none */
    bool refused;    /* it has been */
    struct {
        void *at;
        size_t bytes;
    } blocks[MEMORY_MOST_BLOCKS];
} memory;

/* Blocks end where an address sanitizer sees it, are full of NaN bytes when given, and spoilt when taken
 * back: uninitialised bytes and late reads show up in what a cache says. */
tq_allocator memory_allocator(memory *m);

/* The request after `more` further ones is refused. */
void memory_refuse_after(memory *m, size_t more);
void memory_refuse_none(memory *m);

/* Fails unless everything came back. */
void memory_assert_empty(const memory *m);

/* calloc() that does not return NULL. */
void *zeroed(size_t n, size_t size);

#endif
