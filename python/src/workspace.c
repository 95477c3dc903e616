/* SPDX-License-Identifier: MIT
 * A workspace for each thread that calls, kept from call to call and given back when the thread ends. */
#include <pthread.h>
#include <stdlib.h>

#include "core.h"

static pthread_key_t key;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static bool have_key;
static _Thread_local struct {
    void *memory;
    size_t bytes;
} own;

static void make_key(void) {
    have_key = pthread_key_create(&key, free) == 0;
}

void *core_workspace(size_t bytes) {
    if (own.memory != NULL && own.bytes >= bytes) return own.memory;
    pthread_once(&once, make_key);
    if (!have_key || bytes > SIZE_MAX - 64) return NULL;
    const size_t whole = bytes > 0 ? (bytes + 63) / 64 * 64 : 64;
    void *memory = aligned_alloc(64, whole);
    if (memory == NULL || pthread_setspecific(key, memory) != 0) {
        free(memory);
        return NULL;
    }
    free(own.memory);
    own.memory = memory;
    own.bytes = whole;
    return memory;
}
