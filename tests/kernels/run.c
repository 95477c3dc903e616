/* SPDX-License-Identifier: MIT
 * The check of one kernel: its cases, and what is said of the first that goes wrong. */
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "check_kernels.h"

enum { MOST_GAP = 64 };

void run_open(run *r) {
    for (unsigned i = 0; i < SLOTS; i++)
        slot_open(&r->slots[i], MOST_QUERIES * (TQ_MAX_DIM + MOST_GAP) * sizeof(float));
    for (unsigned i = 0; i < TABLES; i++)
        slot_open(&r->tables[i], 256 * sizeof(float));
}

void run_start(run *r, const kernel_row *row) {
    r->row = row;
    r->cases = 0;
    r->failed = false;
    r->rng.state = r->seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
    for (const char *c = row->op; *c != '\0'; c++)
        r->rng.state = (r->rng.state ^ (uint64_t)(unsigned char)*c) * UINT64_C(0x100000001b3);
    rng_next(&r->rng);
}

bool run_case(run *r, const char *format, ...) {
    r->cases++;
    if (r->failed || (r->only != 0 && r->only != r->cases)) return false;
    for (unsigned i = 0; i < SLOTS; i++)
        r->slots[i].name = NULL;
    va_list args;
    va_start(args, format);
    vsnprintf(r->words, sizeof r->words, format, args);
    va_end(args);
    return true;
}

static void describe(const slot *s) {
    const char *const unit = s->unit == ELEMENT_FLOAT ? "floats" : "bytes";
    printf("     %-7s %zu x %zu %s, ", s->name, s->rows, s->width / s->unit, unit);
    if (s->stride != s->width) printf("%zu from row to row, ", s->stride / s->unit);
    if (s->place == PLACE_FIRST)
        puts("right behind an unreadable page");
    else if (s->place == PLACE_LAST)
        puts("up to an unreadable page");
    else
        printf("%zu bytes off a multiple of 64\n", (size_t)(s->data - s->pages) % 64);
}

/* The head of a failure's report; the caller adds a line that says what is wrong. */
static void fail(run *r) {
    r->failed = true;
    printf("FAIL %-16s %-11s case %" PRIu64 ": %s\n", r->row->op, r->row->isa, r->cases, r->words);
    for (unsigned i = 0; i < SLOTS; i++)
        if (r->slots[i].name != NULL) describe(&r->slots[i]);
    printf("     rerun:  check_kernels --op %s --isa %s --seed %" PRIu64 " --case %" PRIu64 "\n     ",
           r->row->op, r->row->isa, r->seed, r->cases);
}

static void fail_outside(run *r, const slot *s, ptrdiff_t where) {
    fail(r);
    printf("%s: byte %td, counted from the array's start, was written\n", s->name, where);
}

static uint32_t bits_of(const uint8_t *p, element unit) {
    uint32_t bits = *p;
    if (unit == ELEMENT_FLOAT) memcpy(&bits, p, sizeof bits);
    return bits;
}

static bool same(uint32_t a, uint32_t b, sameness how) {
    return a == b ||
           (how == SAME_OR_NAN && (a & 0x7fffffffu) > 0x7f800000u && (b & 0x7fffffffu) > 0x7f800000u);
}

static void expect_row(run *r, const slot *s, size_t row, const uint8_t *want, sameness how) {
    const uint8_t *got = s->data + row * s->stride;
    if (memcmp(got, want, s->width) == 0) return;
    for (size_t i = 0; i < s->width; i += s->unit) {
        const uint32_t g = bits_of(got + i, s->unit), w = bits_of(want + i, s->unit);
        if (same(g, w, how)) continue;
        fail(r);
        const int digits = 2 * (int)s->unit;
        printf("%s row %zu, %s %zu: expected 0x%0*" PRIx32 ", got 0x%0*" PRIx32 "\n", s->name, row,
               s->unit == ELEMENT_FLOAT ? "float" : "byte", i / s->unit, digits, w, digits, g);
        return;
    }
}

void run_expect(run *r, const slot *s, const void *rows, sameness how) {
    ptrdiff_t where;
    for (size_t t = 0; t < s->rows && !r->failed; t++)
        expect_row(r, s, t, (const uint8_t *)rows + t * s->width, how);
    if (!r->failed && !slot_surroundings_whole(s, &where)) fail_outside(r, s, where);
}

void run_expect_untouched(run *r, const slot *s) {
    ptrdiff_t where;
    if (!r->failed && !slot_untouched(s, &where)) fail_outside(r, s, where);
}

void run_expect_index(run *r, size_t got, size_t want) {
    if (r->failed || got == want) return;
    fail(r);
    printf("expected %zu, got %zu\n", want, got);
}

void run_expect_near(run *r, double got, double want, double most) {
    if (r->failed) return;
    if (fabs(got - want) <= most) return;
    fail(r);
    printf("expected %.9g within %.2g, got %.9g\n", want, most, got);
}

void run_expect_surroundings(run *r, const slot *s) {
    ptrdiff_t where;
    if (!r->failed && !slot_surroundings_whole(s, &where)) fail_outside(r, s, where);
}

/* The array whose pages, or the unreadable ones beside them, hold the address. */
static const slot *slot_at(const run *r, uintptr_t address) {
    for (unsigned i = 0; i < SLOTS + TABLES; i++) {
        const slot *s = i < SLOTS ? &r->slots[i] : &r->tables[i - SLOTS];
        const uintptr_t pages = (uintptr_t)s->pages;
        if (s->name != NULL && address + 4096 >= pages && address < pages + s->capacity + 4096) return s;
    }
    return NULL;
}

void run_stopped(run *r, const char *signal_name, const void *address) {
    const slot *s = slot_at(r, (uintptr_t)address);
    fail(r);
    if (s == NULL)
        printf("%s\n", signal_name);
    else
        printf("%s at byte %td of %s, which has %zu\n", signal_name, (const uint8_t *)address - s->data,
               s->name, slot_size(s));
}

size_t some_rows(run *r) {
    static const size_t rows[] = {0, 1, 2, MOST_ROWS};
    return rows[rng_below(&r->rng, 4)];
}

size_t some_gap(run *r) {
    static const size_t gaps[] = {0, 1, 5, 16, 48, MOST_GAP};
    return gaps[rng_below(&r->rng, 6)];
}

static const float *edge_table(run *r, unsigned i, const char *name, const float *table, size_t n,
                               unsigned place) {
    float *copy = slot_place(&r->tables[i], name, ELEMENT_FLOAT, place, 1, n, n);
    memcpy(copy, table, n * sizeof *table);
    return copy;
}

tq_codebook_tables edge_book(run *r, const tq_codebook_tables *book, unsigned place) {
    const size_t half = (size_t)1 << (book->bits - 1);
    tq_codebook_tables copy = *book;
    copy.levels = edge_table(r, 0, "levels", book->levels, 2 * half, place);
    copy.bounds = edge_table(r, 1, "bounds", book->bounds, half - 1, place);
    copy.tree = edge_table(r, 2, "tree", book->tree, half, place);
    if (book->octets != NULL) {
        uint8_t *octets = slot_place(&r->tables[3], "octets", ELEMENT_BYTE, place, 1, 4 * half, 0);
        memcpy(octets, book->octets, 4 * half);
        copy.octets = octets;
    }
    return copy;
}

tq_rotation edge_rotation(run *r, const tq_rotation *rotation, unsigned place) {
    tq_rotation copy = *rotation;
    uint8_t *signs =
        slot_place(&r->tables[TABLES - 1], "signs", ELEMENT_BYTE, place, 1, rotation->dim / 8, 0);
    memcpy(signs, rotation->signs, rotation->dim / 8);
    copy.signs = signs;
    for (unsigned i = 0; i < rotation->n_odd; i++)
        copy.odd[i].cas = edge_table(r, i, "cas", rotation->odd[i].cas, rotation->odd[i].p, place);
    return copy;
}
