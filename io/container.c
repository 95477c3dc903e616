/* SPDX-License-Identifier: MIT
 * Reads the safetensors container. */
#include "container.h"

#include <stdarg.h>
#include <stdio.h>

#include "bytes.h"
#include "npy_header.h"
#include "report.h"

enum { PREFIX = 8 };

static tq_status check_prefix(const char *name, const uint8_t *bytes, size_t size, uint64_t *length) {
    if (size >= TQIO_NPY_MAGIC_SIZE && memcmp(bytes, TQIO_NPY_MAGIC, TQIO_NPY_MAGIC_SIZE) == 0)
        return tqio_fail(name, TQ_E_FILE_MAGIC, 0, "magic",
                         "a .npy file; a .safetensors file is expected");
    if (size <= PREFIX)
        return tqio_fail(name, TQ_E_FILE_TRUNCATED, size, "header", "the file ends before its header");
    if (bytes[PREFIX] != '{')
        return tqio_fail(name, TQ_E_FILE_MAGIC, PREFIX, "magic",
                         "not a .safetensors file: its header does not start with '{'");
    *length = tqio_le64(bytes);
    if (*length > size - PREFIX)
        return tqio_fail(name, TQ_E_FILE_TRUNCATED, 0, "header", "header says %llu bytes, file has %zu",
                         (unsigned long long)*length, size - PREFIX);
    if (*length > TQIO_MAX_HEADER)
        return tqio_fail(name, TQ_E_FILE_HEADER, 0, "header",
                         "a header of %llu bytes; at most %d are read", (unsigned long long)*length,
                         TQIO_MAX_HEADER);
    return TQ_OK;
}

static tq_status find_metadata(tqio_container *c) {
    const char *key;
    json_t *value;
    tqio_quote q;
    c->metadata = json_object_get(c->root, "__metadata__");
    if (c->metadata == NULL && c->any_tensors) return TQ_OK;
    if (c->metadata == NULL)
        return tqio_fail(c->name, TQ_E_FILE_FIELD, PREFIX, "__metadata__",
                         "no __metadata__: these tensors were not encoded by tqkv");
    if (!json_is_object(c->metadata))
        return tqio_fail(c->name, TQ_E_FILE_HEADER, tqio_container_where(c, "__metadata__"),
                         "__metadata__", "__metadata__ is not an object");
    json_object_foreach(c->metadata, key, value) {
        if (!json_is_string(value))
            return tqio_fail(c->name, TQ_E_FILE_HEADER, tqio_container_where(c, key), "__metadata__",
                             "%s is not a string",
                             tqio_printable(key, strlen(key), q.text, sizeof q.text));
    }
    return TQ_OK;
}

tq_status tqio_container_open(tqio_container *c, const char *name, const uint8_t *bytes, size_t size,
                              bool any_tensors) {
    uint64_t length = 0;
    json_error_t error;
    *c = (tqio_container){.name = name, .any_tensors = any_tensors};
    tq_status status = check_prefix(name, bytes, size, &length);
    if (status != TQ_OK) return status;
    c->header = (const char *)bytes + PREFIX;
    c->header_size = (size_t)length;
    c->data = bytes + PREFIX + c->header_size;
    c->data_size = size - PREFIX - c->header_size;
    c->root = json_loadb(c->header, c->header_size, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
    if (c->root == NULL && json_error_code(&error) == json_error_out_of_memory)
        return tqio_fail_whole(name, TQ_E_NO_MEMORY, 0, "header", "no memory for the header");
    if (c->root == NULL) {
        char text[100]; /* jansson quotes what it stumbled over */
        return tqio_fail(name, TQ_E_FILE_HEADER, (uint64_t)PREFIX + (uint64_t)error.position, "header",
                         "%s", tqio_printable(error.text, strlen(error.text), text, sizeof text));
    }
    return find_metadata(c);
}

void tqio_container_close(tqio_container *c) {
    json_decref(c->root);
    *c = (tqio_container){0};
}

/* The parser keeps no positions. A key that is found quoted in the text is the one meant unless someone
 * hid it in a value, and then only a message is less exact. */
uint64_t tqio_container_where(const tqio_container *c, const char *key) {
    size_t length = strlen(key);
    for (size_t i = 0; i + length + 2 <= c->header_size; i++)
        if (c->header[i] == '"' && memcmp(c->header + i + 1, key, length) == 0 &&
            c->header[i + 1 + length] == '"')
            return PREFIX + i;
    return PREFIX;
}

uint64_t tqio_container_at(const tqio_container *c, const tqio_entry *entry) {
    return (uint64_t)PREFIX + c->header_size + entry->begin;
}

static tq_status entry_fail(const tqio_container *c, const tqio_entry *e, tq_status status,
                            const char *format, ...) TQ_PRINTF(4, 5);

static tq_status entry_fail(const tqio_container *c, const tqio_entry *e, tq_status status,
                            const char *format, ...) {
    char text[128];
    tqio_quote q;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    tqio_printable(e->name, strlen(e->name), q.text, sizeof q.text);
    return tqio_fail(c->name, status, tqio_container_where(c, e->name), q.text, "tensor %s: %s", q.text,
                     text);
}

/* A whole number that is not negative and that an address can hold. */
static bool get_size(const json_t *value, size_t *out) {
    if (!json_is_integer(value)) return false;
    json_int_t n = json_integer_value(value);
    if (n < 0 || (uintmax_t)n > SIZE_MAX) return false;
    *out = (size_t)n;
    return true;
}

/* Bytes of a value of that type; 0 for one that is not known, or that packs values into less than a byte.
 */
static size_t size_of_type(const char *type) {
    static const struct {
        char name[8];
        size_t size;
    } known[] = {{"BOOL", 1}, {"U8", 1},  {"I8", 1},  {"F8_E4M3", 1}, {"F8_E5M2", 1}, {"F8_E8M0", 1},
                 {"U16", 2},  {"I16", 2}, {"F16", 2}, {"BF16", 2},    {"U32", 4},     {"I32", 4},
                 {"F32", 4},  {"U64", 8}, {"I64", 8}, {"F64", 8},     {"C64", 8}};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (strcmp(type, known[i].name) == 0) return known[i].size;
    return 0;
}

static tq_status read_type(const tqio_container *c, const json_t *value, tqio_entry *e) {
    if (!json_is_string(value)) return entry_fail(c, e, TQ_E_FILE_HEADER, "no dtype that is a string");
    e->type = json_string_value(value);
    if (strlen(e->type) != json_string_length(value))
        return entry_fail(c, e, TQ_E_FILE_TYPE, "the dtype holds U+0000");
    e->item_size = size_of_type(e->type);
    if (!c->any_tensors && strcmp(e->type, "U8") != 0 && strcmp(e->type, "F16") != 0 &&
        strcmp(e->type, "F32") != 0)
        return entry_fail(c, e, TQ_E_FILE_TYPE, "the dtype is none of U8, F16 and F32");
    return TQ_OK;
}

static tq_status read_shape(const tqio_container *c, const json_t *value, tqio_entry *e) {
    if (!json_is_array(value)) return entry_fail(c, e, TQ_E_FILE_HEADER, "no shape that is an array");
    if (json_array_size(value) > TQIO_MAX_TENSOR_DIMS)
        return entry_fail(c, e, TQ_E_FILE_SHAPE, "the shape has too many dimensions");
    e->n_dims = json_array_size(value);
    for (size_t i = 0; i < e->n_dims; i++)
        if (!get_size(json_array_get(value, i), &e->shape[i]))
            return entry_fail(c, e, TQ_E_FILE_SHAPE, "a dimension is not a whole number of 0 or more");
    return TQ_OK;
}

/* Shape and offsets agree. A dtype that is not known is of what size they say, such as 2 bytes; the size
 * stays 0 where they say nothing: no values, or several in a byte. */
static tq_status check_bytes(const tqio_container *c, tqio_entry *e) {
    const size_t bytes = e->end - e->begin;
    if (!tqio_shape_values(e->shape, e->n_dims, e->item_size == 0 ? 1 : e->item_size, &e->n_values))
        return entry_fail(c, e, TQ_E_FILE_SHAPE, "the shape multiplies to more than an address can hold");
    if (e->item_size == 0) {
        if ((e->n_values == 0) != (bytes == 0))
            return entry_fail(c, e, TQ_E_FILE_SHAPE,
                              "the shape asks for %zu values, data_offsets give %zu bytes", e->n_values,
                              bytes);
        if (bytes != 0 && bytes % e->n_values == 0) e->item_size = bytes / e->n_values;
    } else if (e->n_values * e->item_size != bytes) {
        return entry_fail(c, e, TQ_E_FILE_SHAPE, "the shape asks for %zu bytes, data_offsets give %zu",
                          e->n_values * e->item_size, bytes);
    }
    return TQ_OK;
}

static tq_status read_offsets(const tqio_container *c, const json_t *value, tqio_entry *e) {
    if (!json_is_array(value) || json_array_size(value) != 2 ||
        !get_size(json_array_get(value, 0), &e->begin) || !get_size(json_array_get(value, 1), &e->end))
        return entry_fail(c, e, TQ_E_FILE_HEADER, "data_offsets are not two whole numbers of 0 or more");
    if (e->begin > e->end)
        return entry_fail(c, e, TQ_E_FILE_HEADER, "data_offsets: it ends before it begins");
    if (e->end > c->data_size)
        return entry_fail(c, e, TQ_E_FILE_TRUNCATED, "it ends at byte %zu of the data, the file has %zu",
                          e->end, c->data_size);
    return check_bytes(c, e);
}

tq_status tqio_container_entry(const tqio_container *c, tqio_entry *e) {
    const json_t *value = json_object_get(c->root, e->name);
    e->present = value != NULL;
    if (!e->present) return TQ_OK;
    if (!json_is_object(value) || json_object_size(value) != 3)
        return entry_fail(c, e, TQ_E_FILE_HEADER,
                          "an object of dtype, shape and data_offsets is expected");
    tq_status status = read_type(c, json_object_get(value, "dtype"), e);
    if (status == TQ_OK) status = read_shape(c, json_object_get(value, "shape"), e);
    if (status == TQ_OK) status = read_offsets(c, json_object_get(value, "data_offsets"), e);
    return status;
}

static tq_status refuse_others(const tqio_container *c, const tqio_entry *entries, size_t n) {
    const char *key;
    json_t *value;
    tqio_quote q;
    json_object_foreach(c->root, key, value) {
        bool known = strcmp(key, "__metadata__") == 0;
        for (size_t i = 0; i < n; i++)
            known = known || strcmp(key, entries[i].name) == 0;
        if (!known)
            return tqio_fail(c->name, TQ_E_FILE_FIELD, tqio_container_where(c, key), "tensor",
                             "unknown tensor '%s'; codes, norms and centre are expected",
                             tqio_printable(key, strlen(key), q.text, sizeof q.text));
    }
    return TQ_OK;
}

/* The tensor with bytes that begins at `at`, NULL if none does. */
static const tqio_entry *entry_from(const tqio_entry *entries, size_t n, size_t at) {
    for (size_t i = 0; i < n; i++)
        if (entries[i].present && entries[i].begin == at && entries[i].end > at) return &entries[i];
    return NULL;
}

/* Goes from each tensor's end to the one that begins there: all are met, and nothing is left over. */
static tq_status check_layout(const tqio_container *c, const tqio_entry *entries, size_t n) {
    size_t total = 0;
    for (size_t i = 0; i < n; i++)
        if (entries[i].present) total += entries[i].end - entries[i].begin; /* each within the file */
    size_t at = 0;
    for (const tqio_entry *e = entry_from(entries, n, at); e != NULL; e = entry_from(entries, n, at))
        at = e->end;
    uint64_t byte = (uint64_t)PREFIX + c->header_size + at;
    if (at != total)
        return tqio_fail(c->name, TQ_E_FILE_SHAPE, byte, "data",
                         "the tensors overlap or leave a gap: none begins here");
    if (at != c->data_size)
        return tqio_fail(c->name, TQ_E_FILE_TRUNCATED, byte, "data",
                         "%zu bytes after the last tensor: the file goes on past its end",
                         c->data_size - at);
    return TQ_OK;
}

tq_status tqio_container_entries(const tqio_container *c, tqio_entry *entries, size_t n) {
    tq_status status = refuse_others(c, entries, n);
    for (size_t i = 0; status == TQ_OK && i < n; i++)
        status = tqio_container_entry(c, &entries[i]);
    return status == TQ_OK ? check_layout(c, entries, n) : status;
}
