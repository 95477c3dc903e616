/* SPDX-License-Identifier: MIT
 * A prompt's positions go into a file, and come back into another cache, as they would in another
 * process: with the same bits. What comes back damaged is refused, and changes nothing.
 *
 *     cc -std=c11 save.c -o save -ltqkv && ./save */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tqkv/tqkv.h>

enum { G = 2, D = 128, PROMPT = 400, CAPACITY = 4096 };

/* In place of a model. */
static void draw(float *x, size_t n) {
    for (size_t i = 0; i < n; i++)
        x[i] = (float)rand() / (float)RAND_MAX * 2 - 1;
}

static tq_status fill(tq_cache *cache) {
    static float k[PROMPT * G * D], v[PROMPT * G * D];
    draw(k, PROMPT * G * D);
    draw(v, PROMPT * G * D);
    return tq_cache_append(cache, PROMPT, k, v);
}

/* All of a cache as bytes, for free(). */
static tq_status save(const tq_cache *cache, void **block, size_t *bytes) {
    const uint64_t end = tq_cache_length(cache);
    tq_status status = tq_cache_export_size(cache, 0, end, bytes);
    if (status != TQ_OK) return status;
    *block = malloc(*bytes);
    if (*block == NULL) return tq_fail(TQ_E_NO_MEMORY, 0, "block", "no memory for a block");
    return tq_cache_export(cache, 0, end, *block, *bytes);
}

/* Through a file, in place of a store or a socket. */
static tq_status carry(void *block, size_t bytes) {
    FILE *file = tmpfile();
    const int written = file != NULL && fwrite(block, 1, bytes, file) == bytes;
    memset(block, 0, bytes);
    if (written) rewind(file);
    const int read = written && fread(block, 1, bytes, file) == bytes;
    if (file != NULL) fclose(file);
    return read ? TQ_OK : tq_fail(TQ_E_IO, 0, "file", "a file could not be written and read");
}

static tq_status work(tq_cache *from, tq_cache *to, void **block) {
    size_t bytes;
    tq_cache_block info = {.size = sizeof info};
    tq_status status = fill(from);
    if (status == TQ_OK) status = save(from, block, &bytes);
    if (status == TQ_OK) status = carry(*block, bytes);
    if (status == TQ_OK) status = tq_cache_block_info(*block, bytes, &info);
    if (status == TQ_OK) status = tq_cache_import(to, *block, bytes);
    if (status == TQ_OK)
        printf("%llu positions in a block of %zu bytes, %llu of them encoded\n",
               (unsigned long long)tq_cache_length(to), bytes,
               (unsigned long long)(info.codes_end - info.codes_first));
    return status;
}

int main(void) {
    const tq_cache_config config = tq_cache_config_default(G, D, CAPACITY);
    tq_cache *from = NULL, *to = NULL;
    void *block = NULL;
    tq_status status = tq_cache_create(&config, &from);
    if (status == TQ_OK) status = tq_cache_create(&config, &to);
    if (status == TQ_OK) status = work(from, to, &block);
    if (status != TQ_OK) fprintf(stderr, "%s: %s\n", tq_status_name(status), tq_last_error()->message);
    free(block);
    tq_cache_destroy(from);
    tq_cache_destroy(to);
    return status == TQ_OK ? 0 : 1;
}
