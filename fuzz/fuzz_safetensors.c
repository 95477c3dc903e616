/* SPDX-License-Identifier: MIT
 * Any bytes as an encoded .safetensors file: refused with an error that says so, or read, written and
 * read again alike. And as a file of any tensors, which it is too if it is the former.
 *
 * Checksums would stop nearly every mutation. When one is all that is wrong, the right one is taken from
 * the message and written in, so that what lies behind is reached too. */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "tqkv/io.h"

enum { DIGITS = 16, CHECKSUMS = 4 };

static bool repair(uint8_t *bytes, size_t size) {
    static const char before[] = "have checksum ";
    const char *right = strstr(tq_last_error()->message, before);
    REQUIRE(right != NULL);
    right += strlen(before);
    const char *wrong = right + DIGITS + strlen(", ");
    for (size_t i = 0; i + DIGITS <= size; i++)
        if (memcmp(bytes + i, wrong, DIGITS) == 0) {
            memcpy(bytes + i, right, DIGITS);
            return true;
        }
    return false; /* it was spelt with escapes */
}

static void check_norms(const tq_encoded *e) {
    const uint16_t *halves = e->norms;
    const float *floats = e->norms;
    if (TQ_IS_V1(e->codec.format))
        for (size_t i = 0; i < e->n_norms / sizeof *floats; i++)
            REQUIRE(floats[i] >= 0);
    else
        for (size_t i = 0; i < e->n_norms / sizeof *halves; i++)
            REQUIRE(halves[i] < 0x7c00 || halves[i] == 0x8000);
}

/* Each vector held has a centre of its own stretch, if any has one. */
static void check_centres(const tq_encoded *e) {
    const size_t stretch = e->centre_stretch;
    REQUIRE((e->n_centres == 0) == (e->centre == NULL));
    REQUIRE(stretch != 0 || (e->n_centres <= 1 && e->first_position == 0));
    REQUIRE(stretch == 0 || e->n_centres != 0);
    if (stretch == 0 || e->n_positions == 0) return;
    REQUIRE(e->first_position <= SIZE_MAX - e->n_positions);
    const size_t last = e->first_position + (e->n_positions - 1);
    REQUIRE(last / stretch - e->first_position / stretch < e->n_centres);
}

static void check_sizes(const tq_encoded *e, size_t file_size) {
    size_t code_bytes = 0;
    size_t norm_bytes = 0;
    REQUIRE(tq_row_size(&e->codec, &code_bytes, &norm_bytes) == TQ_OK);
    REQUIRE(e->n_codes == e->n_kv_heads * e->capacity * code_bytes);
    REQUIRE(e->n_norms == e->n_kv_heads * e->capacity * norm_bytes);
    REQUIRE(e->n_codes + e->n_norms < file_size);
    REQUIRE(e->n_positions <= e->capacity);
    REQUIRE(e->ring_start == 0 || (e->n_positions == e->capacity && e->ring_start < e->capacity));
    REQUIRE(e->codes != NULL && e->norms != NULL);
    check_norms(e);
    check_centres(e);
}

static void check_same(const tq_encoded *a, const tq_encoded *b) {
    REQUIRE(a->codec.format == b->codec.format && a->codec.head_dim == b->codec.head_dim);
    REQUIRE(a->codec.norm_rule == b->codec.norm_rule);
    REQUIRE(a->codec.scale_factor_d512 == b->codec.scale_factor_d512);
    REQUIRE(a->n_kv_heads == b->n_kv_heads && a->capacity == b->capacity);
    REQUIRE(a->n_positions == b->n_positions && a->ring_start == b->ring_start);
    REQUIRE(memcmp(a->codes, b->codes, a->n_codes) == 0);
    REQUIRE(memcmp(a->norms, b->norms, a->n_norms) == 0);
    REQUIRE(a->n_centres == b->n_centres && a->centre_stretch == b->centre_stretch);
    REQUIRE(a->first_position == b->first_position);
    size_t n_centre = a->n_centres * a->n_kv_heads * a->codec.head_dim;
    REQUIRE(a->centre == NULL || memcmp(a->centre, b->centre, n_centre * sizeof *a->centre) == 0);
}

static void check_read(const tq_encoded *e, size_t size) {
    tq_encoded back;
    check_sizes(e, size);
    REQUIRE(tq_encoded_write(fuzz_path(), e) == TQ_OK);
    REQUIRE(tq_encoded_read(fuzz_path(), &back) == TQ_OK);
    check_same(e, &back);
    tq_encoded_free(&back);
}

static void check_error(tq_status status, size_t size) {
    REQUIRE(tq_last_error()->status == status);
    REQUIRE(strncmp(tq_last_error()->message, "fuzz: ", 6) == 0);
    REQUIRE(tq_last_error()->index <= size);
}

static void check_tensors(const uint8_t *bytes, size_t size, bool must_be) {
    static const char *const names[] = {"codes", "norms", "centre", "x"};
    tq_safetensors *file;
    tq_status status = tq_safetensors_parse("fuzz", bytes, size, &file);
    REQUIRE(!must_be || status == TQ_OK);
    if (status != TQ_OK) {
        check_error(status, size);
        return;
    }
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        tq_raw_tensor t;
        if (tq_safetensors_tensor(file, names[i], &t) != TQ_OK) continue;
        REQUIRE(t.at <= size && t.n_bytes <= size - t.at);
        REQUIRE(t.item_size == 0 || t.n_values * t.item_size == t.n_bytes);
        REQUIRE(memcmp(t.bytes, bytes + t.at, t.n_bytes) == 0);
    }
    tq_safetensors_free(file);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    tq_encoded e;
    uint8_t *copy = malloc(size + 1);
    REQUIRE(copy != NULL);
    if (size != 0) memcpy(copy, bytes, size);
    tq_status status = tq_encoded_parse("fuzz", copy, size, &e);
    for (int i = 0; status == TQ_E_FILE_CHECKSUM && i < CHECKSUMS && repair(copy, size); i++)
        status = tq_encoded_parse("fuzz", copy, size, &e);
    if (status == TQ_OK) {
        check_read(&e, size);
        tq_encoded_free(&e);
    } else {
        check_error(status, size);
    }
    check_tensors(copy, size, status == TQ_OK);
    free(copy);
    return 0;
}
