/* SPDX-License-Identifier: MIT
 * The file of a model as small as one may be, to damage. */
#ifndef TESTS_LM_TINY_H
#define TESTS_LM_TINY_H

#include <stddef.h>
#include <stdint.h>

typedef struct image {
    uint8_t *bytes;
    size_t size;
    size_t data; /* where the data section starts */
} image;

/* Two layers, one with a window of 8; bias and QK-norm. free() its bytes. */
image tiny_model(void);

/* The image with the first `old` in its header replaced; its length follows. */
image edited(const image *im, const char *old, const char *new);

#endif
