/* SPDX-License-Identifier: MIT
 * An allocator that counts, checks what comes back, and refuses when told to. */
#include "memory.h"

#include <stdlib.h>
#include <string.h>

#include "broken.h"

static size_t find(const memory *m, const void *at) {
    for (size_t i = 0; i < MEMORY_MOST_BLOCKS; i++)
        if (m->blocks[i].at == at) return i;
    broken("the allocator gets %p, which it has not given or has no room for", at);
}

static void *give(void *context, size_t bytes) {
    memory *m = context;
    void *at = NULL;
    if (++m->requests == m->refuse) {
        m->refused = true;
        return NULL;
    }
    if (bytes == 0) broken("the allocator is asked for nothing");
    if (bytes > (size_t)1 << 30) return NULL;
    if (posix_memalign(&at, 64, bytes) != 0) broken("no memory for %zu bytes", bytes);
    memset(at, 0xFF, bytes);
    const size_t i = find(m, NULL);
    m->blocks[i].at = at;
    m->blocks[i].bytes = bytes;
    m->held += bytes;
    return at;
}

static void take(void *context, void *at, size_t bytes) {
    memory *m = context;
    if (at == NULL) broken("the allocator gets NULL back");
    const size_t i = find(m, at);
    if (m->blocks[i].bytes != bytes)
        broken("a block of %zu bytes comes back as one of %zu", m->blocks[i].bytes, bytes);
    memset(at, 0xDD, bytes);
    free(at);
    m->blocks[i].at = NULL;
    m->held -= bytes;
}

tq_allocator memory_allocator(memory *m) {
    return (tq_allocator){give, take, m};
}

void memory_refuse_after(memory *m, size_t more) {
    m->refuse = m->requests + more + 1;
    m->refused = false;
}

void memory_refuse_none(memory *m) {
    m->refuse = 0;
    m->refused = false;
}

void memory_assert_empty(const memory *m) {
    if (m->held != 0) broken("%zu bytes are not given back", m->held);
}

void *zeroed(size_t n, size_t size) {
    void *at = calloc(n == 0 ? 1 : n, size);
    if (at == NULL) broken("no memory for %zu times %zu bytes", n, size);
    return at;
}
