/* SPDX-License-Identifier: MIT
 * Memory between unreadable pages. */
#include "edge.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "support/cm.h"

size_t edge_page_size(void) {
    return (size_t)sysconf(_SC_PAGESIZE);
}

/* Private mappings of one file that stays empty: POSIX has no anonymous ones. */
static uint8_t *map_pages(size_t bytes) {
    static FILE *nothing;
    static size_t longest;
    if (nothing == NULL) nothing = tmpfile();
    if (nothing == NULL) fail_msg("no temporary file to map");
    if (bytes > longest) {
        assert_int_equal(ftruncate(fileno(nothing), (off_t)bytes), 0);
        longest = bytes;
    }
    void *map = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE, fileno(nothing), 0);
    if (map == MAP_FAILED) fail_msg("no memory for %zu bytes", bytes);
    return map;
}

edge edge_new_front(size_t size) {
    const size_t page = edge_page_size();
    edge e = {.size = size, .map_bytes = (size + page - 1) / page * page};
    uint8_t *all = map_pages(e.map_bytes + 2 * page);
    e.data = e.map = all + page;
    memset(e.map, 0xFF, e.map_bytes);
    assert_int_equal(mprotect(all, page, PROT_NONE), 0);
    assert_int_equal(mprotect(e.map + e.map_bytes, page, PROT_NONE), 0);
    return e;
}

edge edge_new(size_t size) {
    edge e = edge_new_front(size);
    e.data = e.map + e.map_bytes - size;
    return e;
}

void edge_free(edge *e) {
    const size_t page = edge_page_size();
    if (e->map != NULL) munmap(e->map - page, e->map_bytes + 2 * page);
    memset(e, 0, sizeof *e);
}

void edge_close_pages(const edge *e, const bool *used) {
    const size_t page = edge_page_size();
    for (size_t i = 0; i < e->map_bytes / page; i++)
        if (!used[i]) assert_int_equal(mprotect(e->map + i * page, page, PROT_NONE), 0);
}
