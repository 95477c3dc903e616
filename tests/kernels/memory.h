/* SPDX-License-Identifier: MIT
 * Arrays in pages between unreadable ones, so that a kernel that reads or writes beside its arrays is
 * caught: at once at an edge, by a canary elsewhere. */
#ifndef TESTS_KERNELS_MEMORY_H
#define TESTS_KERNELS_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Where an array lies: places below 64 are offsets from a multiple of 64 bytes, counted in elements. */
enum {
    PLACE_FIRST = 64, /* right behind an unreadable page */
    PLACE_LAST = 65,  /* up to an unreadable page */
    PLACES = 66,
    FLOAT_PLACES = 18 /* of them, those that differ for floats */
};

typedef enum element { ELEMENT_BYTE = 1, ELEMENT_FLOAT = 4 } element;

/* Pages, and the array that lies in them at the moment: rows, all sizes in bytes. */
typedef struct slot {
    uint8_t *pages;
    size_t capacity;
    const char *name; /* the array's, as the kernel's contract calls it; NULL: no array */
    element unit;
    unsigned place;
    uint8_t *data;
    size_t rows, width, stride;
} slot;

/* The places that differ for floats, by number. */
unsigned float_place(unsigned i);

/* Both end the program when the system gives no memory, or the array does not fit. */
void slot_open(slot *s, size_t capacity);

/* Puts an array of rows there, sizes in elements, and fills it and its surroundings with canaries. */
void *slot_place(slot *s, const char *name, element unit, unsigned place, size_t rows, size_t width,
                 size_t stride);

/* Fills the rows from rows that lie side by side. */
void slot_write(slot *s, const void *dense);

/* Whether everything but the rows, or everything, is still canaries. If not, *where is the offset of the
 * first byte that is not, from the array's start. */
bool slot_surroundings_whole(const slot *s, ptrdiff_t *where);
bool slot_untouched(const slot *s, ptrdiff_t *where);

/* The array's size in bytes, gaps between rows counted. */
size_t slot_size(const slot *s);

#endif
