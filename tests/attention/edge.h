/* SPDX-License-Identifier: MIT
 * Memory between unreadable pages, full of NaN: what reads outside its rows faults or poisons a result.
 */
#ifndef TESTS_ATTENTION_EDGE_H
#define TESTS_ATTENTION_EDGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct edge {
    uint8_t *map; /* readable pages; one unreadable page lies on either side */
    size_t map_bytes;
    uint8_t *data;
    size_t size;
} edge;

/* `size` bytes 0xFF (a NaN in every float type) that end where an unreadable page begins, or that begin
 * where one ends. */
edge edge_new(size_t size);
edge edge_new_front(size_t size);

void edge_free(edge *e);

size_t edge_page_size(void);

/* Makes pages unreadable, but for those whose entry in used[map_bytes / page size] is set. */
void edge_close_pages(const edge *e, const bool *used);

#endif
