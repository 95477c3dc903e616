/* SPDX-License-Identifier: MIT
 * The tqkv.* strings of an encoded file: what they are for a given tensor, and that tensor from them. */
#ifndef IO_METADATA_H
#define IO_METADATA_H

#include "container.h"
#include "layout.h"
#include "tqkv/io.h"

/* The checksum of all the other fields: without it a flipped bit in n_positions would go unseen. */
#define TQIO_FIELDS_HASH "tqkv.xxh3.fields"

enum {
    TQIO_MAX_FIELDS = 18,
    TQIO_VALUE_ROOM = 24 /* 20 digits of a 64-bit number */
};

typedef struct tqio_fields {
    size_t n;
    struct {
        const char *key;
        char value[TQIO_VALUE_ROOM];
    } field[TQIO_MAX_FIELDS];
} tqio_fields;

/* XXH3-64 of each tensor's bytes in the file. */
typedef struct tqio_hashes {
    uint64_t of[TQIO_TENSORS];
} tqio_hashes;

/* The fields that describe e, sorted by key. Everything in e is valid. */
void tqio_describe(const tq_encoded *e, const tqio_hashes *hashes, tqio_fields *out);

/* XXH3-64 of "key=value\n" for each field. */
uint64_t tqio_fields_hash(const tqio_fields *fields);

/* A hash as it is written: 16 digits 0-9a-f. */
void tqio_hash_text(uint64_t hash, char out[TQIO_VALUE_ROOM]);

/* Fills all of e but its data from the container's strings and, for one centre for all, its tensors'
 * names. Each is of the right kind and in range; whether it is spelt as tqio_describe() would is left to
 * tqio_fields_check(). */
tq_status tqio_fields_read(const tqio_container *c, tq_encoded *e);

/* The container's tqkv.* strings are those of `fields`, and no others. */
tq_status tqio_fields_check(const tqio_container *c, const tqio_fields *fields);

/* Says what contradicts what among norm rule, scale factor, positions, ring and stretches of e, and sets
 * *field to the metadata field and *status to the argument error that it is; NULL if nothing does. */
const char *tqio_contradiction(const tq_encoded *e, const char **field, tq_status *status);

#endif
