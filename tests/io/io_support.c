/* SPDX-License-Identifier: MIT
 * What the file tests share. */
#include "io_support.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support/guard.h"

typedef struct place {
    int before; /* descriptor of the folder to go back to */
    char path[PATH_ROOM];
} place;

int enter_folder(void **state) {
    place *p = test_alloc(sizeof *p);
    const char *base = getenv("TMPDIR");
    snprintf(p->path, sizeof p->path, "%s/tqkv-io-XXXXXX", base == NULL ? "/tmp" : base);
    p->before = open(".", O_RDONLY | O_DIRECTORY);
    *state = p;
    return mkdtemp(p->path) == NULL || chdir(p->path) != 0;
}

/* Removes plain files and empty folders, which is all that the tests make. */
int leave_folder(void **state) {
    place *p = *state;
    DIR *dir = opendir(".");
    for (struct dirent *e = dir == NULL ? NULL : readdir(dir); e != NULL; e = readdir(dir))
        if (unlink(e->d_name) != 0) rmdir(e->d_name);
    if (dir != NULL) closedir(dir);
    int failed = fchdir(p->before) != 0 || rmdir(p->path) != 0;
    close(p->before);
    free(p);
    return failed;
}

size_t count_entries(const char *folder) {
    size_t n = 0;
    DIR *dir = opendir(folder);
    assert_non_null(dir);
    while (readdir(dir) != NULL)
        n++;
    closedir(dir);
    return n - 2;
}

void put_file(const char *path, const void *bytes, size_t size) {
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, size, f), size);
    assert_int_equal(fclose(f), 0);
}

uint8_t *get_file(const char *path, size_t *size) {
    FILE *f = fopen(path, "rb");
    if (f == NULL) fail_msg("cannot open %s", path);
    assert_int_equal(fseek(f, 0, SEEK_END), 0);
    *size = (size_t)ftell(f);
    rewind(f);
    uint8_t *bytes = test_alloc(*size);
    assert_int_equal(fread(bytes, 1, *size, f), *size);
    fclose(f);
    return bytes;
}

void check_failure(tq_status got, tq_status wanted, const char *piece, const char *file, int line) {
    const tq_error *e = tq_last_error();
    if (got == wanted && e->status == wanted && strstr(e->message, piece) != NULL) return;
    print_error("%s:%d: %s is wanted with '%s', not %s, '%s'\n", file, line, tq_status_name(wanted),
                piece, tq_status_name(got), got == TQ_OK ? "" : e->message);
    fail();
}

bool same_encoded(const tq_encoded *a, const tq_encoded *b) {
    const size_t centre = a->n_centres * a->n_kv_heads * a->codec.head_dim * sizeof *a->centre;
    bool v1 = TQ_IS_V1(a->codec.format);
    return a->codec.format == b->codec.format && a->codec.head_dim == b->codec.head_dim &&
           a->codec.norm_rule == b->codec.norm_rule && a->n_kv_heads == b->n_kv_heads &&
           (!v1 || a->codec.scale_factor_d512 == b->codec.scale_factor_d512) &&
           a->n_positions == b->n_positions && a->capacity == b->capacity &&
           a->ring_start == b->ring_start && a->n_codes == b->n_codes &&
           memcmp(a->codes, b->codes, a->n_codes) == 0 && a->n_norms == b->n_norms &&
           memcmp(a->norms, b->norms, a->n_norms) == 0 && a->n_centres == b->n_centres &&
           a->centre_stretch == b->centre_stretch && a->first_position == b->first_position &&
           (a->centre == NULL) == (b->centre == NULL) &&
           (a->centre == NULL || memcmp(a->centre, b->centre, centre) == 0);
}

static void fill_norms(const tq_encoded *e) {
    float *floats = e->norms;
    uint16_t *halves = e->norms;
    for (size_t i = 0; TQ_IS_V1(e->codec.format) && i < e->n_norms / sizeof *floats; i++)
        floats[i] = (float)i * 0.37f;
    for (size_t i = 0; !TQ_IS_V1(e->codec.format) && i < e->n_norms / sizeof *halves; i++)
        halves[i] = (uint16_t)(i * 977 % HALF_INFINITY);
}

static tq_encoded make(const tq_codec *codec, size_t heads, size_t capacity, size_t n_centres,
                       size_t stretch) {
    tq_encoded e;
    assert_int_equal(tq_encoded_alloc(&e, codec, heads, capacity, n_centres, stretch), TQ_OK);
    e.n_positions = capacity;
    for (size_t i = 0; i < e.n_codes; i++)
        e.codes[i] = (uint8_t)(i * 167 + 41);
    fill_norms(&e);
    for (size_t i = 0; i < n_centres * heads * codec->head_dim; i++)
        e.centre[i] = (uint16_t)(i * 7919 % HALF_INFINITY | i % 2 * HALF_SIGN);
    return e;
}

tq_encoded make_encoded(tq_format format, uint32_t head_dim, size_t heads, size_t capacity,
                        int with_centre) {
    const tq_codec codec = {.format = format, .head_dim = head_dim, .scale_factor_d512 = 0.75f};
    return make(&codec, heads, capacity, with_centre ? 1 : 0, 0);
}

tq_encoded make_stretched(tq_format format, uint32_t head_dim, size_t heads, size_t capacity,
                          size_t n_centres, size_t stretch) {
    const tq_codec codec = {.format = format, .head_dim = head_dim, .scale_factor_d512 = 0.75f};
    return make(&codec, heads, capacity, n_centres, stretch);
}
