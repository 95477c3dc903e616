/* SPDX-License-Identifier: MIT
 * Arrays in pages between unreadable ones. */
#include "memory.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Canaries reach this far on both sides; the longest vector is 64 bytes. */
enum { CANARY = 0xA5, MARGIN = 256 };

static void give_up(const char *why) {
    perror(why);
    exit(2);
}

unsigned float_place(unsigned i) {
    return i < 16 ? i : PLACE_FIRST + i - 16;
}

void slot_open(slot *s, size_t capacity) {
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    s->capacity = (capacity + 2 * MARGIN + 64 + page - 1) / page * page;
    FILE *nothing = tmpfile();
    if (nothing == NULL || ftruncate(fileno(nothing), (off_t)(s->capacity + 2 * page)) != 0)
        give_up("check_kernels: temporary file");
    uint8_t *all =
        mmap(NULL, s->capacity + 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE, fileno(nothing), 0);
    if (all == MAP_FAILED || mprotect(all, page, PROT_NONE) != 0 ||
        mprotect(all + page + s->capacity, page, PROT_NONE) != 0)
        give_up("check_kernels: guarded pages");
    fclose(nothing);
    s->pages = all + page;
}

size_t slot_size(const slot *s) {
    return s->rows == 0 ? 0 : (s->rows - 1) * s->stride + s->width;
}

static uint8_t *margin_start(const slot *s) {
    return s->data - s->pages > MARGIN ? s->data - MARGIN : s->pages;
}

static uint8_t *margin_end(const slot *s) {
    uint8_t *end = s->data + slot_size(s);
    return s->pages + s->capacity - end > MARGIN ? end + MARGIN : s->pages + s->capacity;
}

void *slot_place(slot *s, const char *name, element unit, unsigned place, size_t rows, size_t width,
                 size_t stride) {
    s->name = name;
    s->unit = unit;
    s->place = place;
    s->rows = rows;
    s->width = width * unit;
    s->stride = stride * unit;
    const size_t size = slot_size(s);
    if (size + 2 * MARGIN + 64 > s->capacity) {
        fprintf(stderr, "check_kernels: %s takes %zu bytes of %zu\n", name, size, s->capacity);
        exit(2);
    }
    if (place == PLACE_FIRST)
        s->data = s->pages;
    else if (place == PLACE_LAST)
        s->data = s->pages + s->capacity - size;
    else
        s->data = s->pages + MARGIN + place * unit % 64;
    memset(margin_start(s), CANARY, (size_t)(margin_end(s) - margin_start(s)));
    return s->data;
}

void slot_write(slot *s, const void *dense) {
    for (size_t t = 0; t < s->rows; t++)
        memcpy(s->data + t * s->stride, (const uint8_t *)dense + t * s->width, s->width);
}

static bool canaries(const slot *s, const uint8_t *from, const uint8_t *to, ptrdiff_t *where) {
    /* Compared with itself one byte on, all bytes are the first one. */
    if (from >= to || (*from == CANARY && memcmp(from, from + 1, (size_t)(to - from) - 1) == 0))
        return true;
    while (*from == CANARY)
        from++;
    *where = from - s->data;
    return false;
}

bool slot_surroundings_whole(const slot *s, ptrdiff_t *where) {
    bool whole = canaries(s, margin_start(s), s->data, where);
    for (size_t t = 0; whole && t + 1 < s->rows; t++)
        whole = canaries(s, s->data + t * s->stride + s->width, s->data + (t + 1) * s->stride, where);
    return whole && canaries(s, s->data + slot_size(s), margin_end(s), where);
}

bool slot_untouched(const slot *s, ptrdiff_t *where) {
    return canaries(s, margin_start(s), margin_end(s), where);
}
