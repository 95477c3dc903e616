/* SPDX-License-Identifier: MIT
 * The check of one kernel: a kernel of the list against the scalar kernel of its operation. */
#ifndef TESTS_KERNELS_CHECK_KERNELS_H
#define TESTS_KERNELS_CHECK_KERNELS_H

#include <stdbool.h>
#include <stdint.h>

#include "kernels/kernels.h"
#include "memory.h"
#include "support/rng.h"
#include "tqkv/status.h"

typedef struct run run;

/* A row's kernel stands in its operation's member; the others are NULL. */
typedef struct kernel_row {
    const char *op, *isa;
    tq_kernels kernel;
    void (*check)(run *r, const tq_kernels *kernel);
} kernel_row;

enum { SLOTS = 4, TABLES = 4, MOST_ROWS = 5, MOST_QUERIES = 33 };

struct run {
    const kernel_row *row;
    uint64_t seed;
    uint64_t only; /* the one case to run; 0: all */
    uint64_t cases;
    bool failed; /* the first failure ends the row */
    rng rng;
    char words[120]; /* the case at hand */
    slot slots[SLOTS], tables[TABLES];
};

/* Opens the pages; once for all rows. */
void run_open(run *r);

/* Begins a row. All rows of an operation get the same cases for the same seed. */
void run_start(run *r, const kernel_row *row);

/* Counts a case and tells whether to run it. Whatever is drawn at random is drawn before, so that a case
 * is the same when it is run alone. */
bool run_case(run *r, const char *format, ...) TQ_PRINTF(2, 3);

typedef enum sameness { SAME_BYTES, SAME_OR_NAN /* floats: a NaN is as good as any other */ } sameness;

/* The array holds these rows (given side by side) and its surroundings are as they were. */
void run_expect(run *r, const slot *s, const void *rows, sameness how);
void run_expect_untouched(run *r, const slot *s);
void run_expect_index(run *r, size_t got, size_t want);
void run_expect_near(run *r, double got, double want, double most);
void run_expect_surroundings(run *r, const slot *s);

/* Ends the row as failed: the kernel was stopped by a signal. */
void run_stopped(run *r, const char *signal_name, const void *address);

/* Random choices that all checks share: how many rows, and floats or bytes between them. */
size_t some_rows(run *r);
size_t some_gap(run *r);

/* Copies of a book's tables and a rotation's that lie at the edge of their pages. */
tq_codebook_tables edge_book(run *r, const tq_codebook_tables *book, unsigned place);
tq_rotation edge_rotation(run *r, const tq_rotation *rotation, unsigned place);

#define TQ_CHECK(op, level) void check_##op(run *r, const tq_kernels *kernel);
TQ_OPERATIONS(TQ_CHECK, )
#undef TQ_CHECK

#endif
