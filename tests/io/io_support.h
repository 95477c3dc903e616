/* SPDX-License-Identifier: MIT
 * What the file tests share: a folder that comes and goes, raw files, errors that must say why. */
#ifndef TESTS_IO_SUPPORT_H
#define TESTS_IO_SUPPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "support/cm.h"
#include "tqkv/io.h"

enum { PATH_ROOM = 512 };

/* cmocka set-up and tear-down: a new empty folder is the working folder while a test runs. */
int enter_folder(void **state);
int leave_folder(void **state);

/* Entries of the folder but "." and "..". */
size_t count_entries(const char *folder);

void put_file(const char *path, const void *bytes, size_t size);

/* The whole file; free() it. */
uint8_t *get_file(const char *path, size_t *size);

/* The call gave status, and tq_last_error() agrees and has `piece` in its message. */
#define assert_fails(got, wanted, piece) check_failure((got), (wanted), (piece), __FILE__, __LINE__)
void check_failure(tq_status got, tq_status wanted, const char *piece, const char *file, int line);

/* All of b is as in a. Scale factors count for v1 alone. */
bool same_encoded(const tq_encoded *a, const tq_encoded *b);

/* A tensor with made-up codes, norms and centre, one for all or none. */
tq_encoded make_encoded(tq_format format, uint32_t head_dim, size_t heads, size_t capacity,
                        int with_centre);

/* The same of v2 with a centre per stretch; n_positions is the capacity, first_position 0. */
tq_encoded make_stretched(tq_format format, uint32_t head_dim, size_t heads, size_t capacity,
                          size_t n_centres, size_t stretch);

/* Float16 numbers as their bits. */
enum { HALF_ONE = 0x3c00, HALF_INFINITY = 0x7c00, HALF_NAN = 0x7e00, HALF_SIGN = 0x8000 };

#endif
