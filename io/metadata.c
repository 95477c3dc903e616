/* SPDX-License-Identifier: MIT
 * The tqkv.* strings of an encoded file.
 *
 * A reader takes from them what it must, describes the outcome as a writer would and compares: so a field
 * has exactly one accepted spelling, and reader and writer cannot drift apart. */
#include "metadata.h"

#include <float.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hash.h"
#include "report.h"

#define PREFIX "tqkv."

static void add(tqio_fields *f, const char *key, const char *format, ...) TQ_PRINTF(3, 4);

static void add(tqio_fields *f, const char *key, const char *format, ...) {
    va_list arguments;
    f->field[f->n].key = key;
    va_start(arguments, format);
    vsnprintf(f->field[f->n].value, TQIO_VALUE_ROOM, format, arguments);
    va_end(arguments);
    f->n++;
}

/* printf() writes the locale's decimal point: whatever is not part of a number otherwise becomes '.'. */
static void add_float(tqio_fields *f, const char *key, float value) {
    char text[TQIO_VALUE_ROOM] = "";
    char local[64];
    snprintf(local, sizeof local, "%.9g", (double)value);
    size_t n = 0;
    for (const char *p = local; *p != '\0'; p++)
        if (strchr("0123456789+-e", *p) != NULL)
            text[n++] = *p;
        else if (n == 0 || text[n - 1] != '.')
            text[n++] = '.';
    add(f, key, "%s", text);
}

/* At D = 256 the factor is never looked at, and a codec need not hold a usable one. */
static bool scale_is_usable(float scale) {
    return scale > 0 && scale <= FLT_MAX;
}

void tqio_hash_text(uint64_t hash, char out[TQIO_VALUE_ROOM]) {
    snprintf(out, TQIO_VALUE_ROOM, "%016llx", (unsigned long long)hash);
}

static void add_hash(tqio_fields *f, const char *key, uint64_t hash) {
    char text[TQIO_VALUE_ROOM];
    tqio_hash_text(hash, text);
    add(f, key, "%s", text);
}

static const char *version_of(tq_format format) {
    return TQ_IS_V1(format) ? "1" : "3";
}

void tqio_describe(const tq_encoded *e, const tqio_hashes *hashes, tqio_fields *out) {
    unsigned bits = tq_format_bits(e->codec.format);
    float scale = e->codec.scale_factor_d512;
    out->n = 0;
    add(out, "tqkv.capacity", "%zu", e->capacity);
    if (e->centre_stretch != 0) add(out, "tqkv.centre_stretch", "%zu", e->centre_stretch);
    add(out, "tqkv.codebook", TQ_IS_V1(e->codec.format) ? "v1-%ubit" : "lloyd-max-%u", bits);
    if (e->centre_stretch != 0) add(out, "tqkv.first_position", "%zu", e->first_position);
    add(out, "tqkv.format", "%s", tq_format_name(e->codec.format));
    add(out, "tqkv.head_dim", "%lu", (unsigned long)e->codec.head_dim);
    if (e->centre_stretch != 0) add(out, "tqkv.n_centres", "%zu", e->n_centres);
    add(out, "tqkv.n_kv_heads", "%zu", e->n_kv_heads);
    add(out, "tqkv.n_positions", "%zu", e->n_positions);
    add(out, "tqkv.norm_rule", "%s",
        tq_norm_rule_name(tq_norm_rule_of(e->codec.format, e->codec.norm_rule)));
    add(out, "tqkv.ring_start", "%zu", e->ring_start);
    if (TQ_IS_V1(e->codec.format)) {
        add_float(out, "tqkv.scale_factor_d512", scale_is_usable(scale) ? scale : 1.0f);
        add(out, "tqkv.signs", "v1-%lu", (unsigned long)e->codec.head_dim);
    } else {
        add(out, "tqkv.signs", "splitmix64-1");
    }
    add(out, "tqkv.version", "%s", version_of(e->codec.format));
    if (e->n_centres != 0) add_hash(out, "tqkv.xxh3.centre", hashes->of[TQIO_CENTRE]);
    add_hash(out, "tqkv.xxh3.codes", hashes->of[TQIO_CODES]);
    add_hash(out, "tqkv.xxh3.norms", hashes->of[TQIO_NORMS]);
}

uint64_t tqio_fields_hash(const tqio_fields *fields) {
    char text[TQIO_MAX_FIELDS * (32 + TQIO_VALUE_ROOM)];
    size_t n = 0;
    for (size_t i = 0; i < fields->n; i++)
        n += (size_t)sprintf(text + n, "%s=%s\n", fields->field[i].key, fields->field[i].value);
    return tqio_hash_bytes(text, n);
}

static tq_status bad_field(const tqio_container *c, const char *key, const char *expected) {
    const char *value = json_string_value(json_object_get(c->metadata, key));
    tqio_quote q;
    if (value == NULL)
        return tqio_fail(c->name, TQ_E_FILE_FIELD, tqio_container_where(c, key), key,
                         "no field %s in the metadata", key);
    return tqio_fail(c->name, TQ_E_FILE_FIELD, tqio_container_where(c, key), key,
                     "%s is \"%s\"; %s is expected", key,
                     tqio_printable(value, strlen(value), q.text, sizeof q.text), expected);
}

/* A number of digits alone; leading zeros are found by tqio_fields_check(). */
static tq_status read_size(const tqio_container *c, const char *key, size_t *out) {
    const char *p = json_string_value(json_object_get(c->metadata, key));
    size_t n = 0;
    bool good = p != NULL && *p != '\0';
    for (; good && *p != '\0'; p++) {
        size_t digit = (size_t)((unsigned char)*p - '0');
        good = *p >= '0' && *p <= '9' && n <= (SIZE_MAX - digit) / 10;
        n = n * 10 + digit;
    }
    *out = n;
    return good ? TQ_OK : bad_field(c, key, "a whole number");
}

static tq_status read_rule(const tqio_container *c, tq_norm_rule *out) {
    const char *key = "tqkv.norm_rule";
    const char *value = json_string_value(json_object_get(c->metadata, key));
    if (value != NULL && tq_norm_rule_from_name(value, out) == TQ_OK) return TQ_OK;
    return bad_field(c, key, "plain, matched or unbiased");
}

/* strtof() wants the locale's decimal point, which stands between the digits of 1.5. */
static tq_status read_scale(const tqio_container *c, float *out) {
    const char *key = "tqkv.scale_factor_d512";
    const char *value = json_string_value(json_object_get(c->metadata, key));
    char point[32];
    char text[TQIO_VALUE_ROOM + sizeof point];
    char *end = text;
    *out = 0;
    snprintf(point, sizeof point, "%.1f", 1.5);
    if (value != NULL && strlen(value) < TQIO_VALUE_ROOM) {
        const char *dot = strchr(value, '.');
        int before = (int)(dot == NULL ? strlen(value) : (size_t)(dot - value));
        int width = dot == NULL ? 0 : (int)strlen(point) - 2;
        snprintf(text, sizeof text, "%.*s%.*s%s", before, value, width, point + 1,
                 dot == NULL ? "" : dot + 1);
        *out = strtof(text, &end);
    }
    bool good = end != text && *end == '\0' && scale_is_usable(*out);
    return good ? TQ_OK : bad_field(c, key, "a positive number");
}

static tq_status read_format(const tqio_container *c, tq_format *out) {
    const char *name = json_string_value(json_object_get(c->metadata, "tqkv.format"));
    if (name == NULL || tq_format_from_name(name, out) != TQ_OK)
        return bad_field(c, "tqkv.format", "the name of a format of this version");
    return TQ_OK;
}

/* First of all, since the version says what the rest must be. */
static tq_status read_version(const tqio_container *c, tq_format format) {
    static const char key[] = "tqkv.version";
    const char *value = json_string_value(json_object_get(c->metadata, key));
    char expected[TQIO_VALUE_ROOM];
    if (value != NULL && strcmp(value, version_of(format)) == 0) return TQ_OK;
    if (value != NULL && !TQ_IS_V1(format) && strcmp(value, "2") == 0)
        return tqio_fail(c->name, TQ_E_FILE_FIELD, tqio_container_where(c, key), key,
                         "%s is \"2\", whose norms are float32; \"%s\" is expected: encode the tensor "
                         "again",
                         key, version_of(format));
    snprintf(expected, sizeof expected, "\"%s\"", version_of(format));
    return bad_field(c, key, expected);
}

/* A centre that serves all positions has no fields. */
static tq_status read_stretches(const tqio_container *c, tq_encoded *e) {
    if (json_object_get(c->metadata, "tqkv.centre_stretch") == NULL) {
        e->n_centres = json_object_get(c->root, "centre") == NULL ? 0 : 1;
        return TQ_OK;
    }
    tq_status status = read_size(c, "tqkv.centre_stretch", &e->centre_stretch);
    if (status == TQ_OK && e->centre_stretch == 0)
        status = bad_field(c, "tqkv.centre_stretch", "a number of 1 or more");
    if (status == TQ_OK) status = read_size(c, "tqkv.first_position", &e->first_position);
    if (status == TQ_OK) status = read_size(c, "tqkv.n_centres", &e->n_centres);
    return status;
}

/* Values are read as C's strings from here on. Those of other keys may hold anything. */
static tq_status refuse_nul(const tqio_container *c) {
    const char *key;
    json_t *value;
    json_object_foreach(c->metadata, key, value) {
        if (strncmp(key, PREFIX, strlen(PREFIX)) != 0) continue;
        if (strlen(json_string_value(value)) != json_string_length(value))
            return bad_field(c, key, "a value without U+0000");
    }
    return TQ_OK;
}

tq_status tqio_fields_read(const tqio_container *c, tq_encoded *e) {
    size_t head_dim = 0;
    *e = (tq_encoded){.codec = {.scale_factor_d512 = 1.0f}};
    tq_status status = refuse_nul(c);
    if (status == TQ_OK) status = read_format(c, &e->codec.format);
    if (status == TQ_OK) status = read_version(c, e->codec.format);
    if (status == TQ_OK) status = read_size(c, "tqkv.head_dim", &head_dim);
    if (status == TQ_OK) {
        e->codec.head_dim = head_dim > UINT32_MAX ? 0 : (uint32_t)head_dim;
        if (tq_row_size(&e->codec, NULL, NULL) != TQ_OK)
            status = bad_field(c, "tqkv.head_dim", "a head dimension that the format serves");
    }
    if (status == TQ_OK) status = read_size(c, "tqkv.n_kv_heads", &e->n_kv_heads);
    if (status == TQ_OK) status = read_size(c, "tqkv.capacity", &e->capacity);
    if (status == TQ_OK) status = read_size(c, "tqkv.n_positions", &e->n_positions);
    if (status == TQ_OK) status = read_size(c, "tqkv.ring_start", &e->ring_start);
    if (status == TQ_OK) status = read_rule(c, &e->codec.norm_rule);
    if (status == TQ_OK)
        status =
            TQ_IS_V1(e->codec.format) ? read_scale(c, &e->codec.scale_factor_d512) : read_stretches(c, e);
    if (status != TQ_OK) return status;

    const char *field = NULL;
    tq_status argument = TQ_OK;
    const char *contradiction = tqio_contradiction(e, &field, &argument);
    if (contradiction == NULL) return TQ_OK;
    return tqio_fail(c->name, TQ_E_FILE_FIELD, tqio_container_where(c, field), field, "%s: %s", field,
                     contradiction);
}

static bool is_hash(const char *value) {
    return strlen(value) == 16 && strspn(value, "0123456789abcdef") == 16;
}

/* A checksum that can be read but differs is another failure than a field that is misspelt. */
static tq_status check_field(const tqio_container *c, const char *key, const char *expected) {
    const char *value = json_string_value(json_object_get(c->metadata, key));
    if (value != NULL && strcmp(value, expected) == 0) return TQ_OK;
    if (strncmp(key, "tqkv.xxh3.", 10) != 0 || value == NULL) {
        char quoted[TQIO_VALUE_ROOM + 2];
        snprintf(quoted, sizeof quoted, "\"%s\"", expected);
        return bad_field(c, key, quoted);
    }
    if (!is_hash(value)) return bad_field(c, key, "a checksum of 16 digits 0-9a-f");
    const char *what = key + 10;
    return tqio_fail(c->name, TQ_E_FILE_CHECKSUM, tqio_container_where(c, key), what,
                     "%s have checksum %s, %s was written: the file is damaged", what, expected, value);
}

static tq_status refuse_others(const tqio_container *c, const tqio_fields *fields) {
    const char *key;
    json_t *value;
    tqio_quote q;
    json_object_foreach(c->metadata, key, value) {
        bool known = strncmp(key, PREFIX, strlen(PREFIX)) != 0 || strcmp(key, TQIO_FIELDS_HASH) == 0;
        for (size_t i = 0; !known && i < fields->n; i++)
            known = strcmp(key, fields->field[i].key) == 0;
        if (!known)
            return tqio_fail(c->name, TQ_E_FILE_FIELD, tqio_container_where(c, key), "__metadata__",
                             "unknown field %s for this format",
                             tqio_printable(key, strlen(key), q.text, sizeof q.text));
    }
    return TQ_OK;
}

tq_status tqio_fields_check(const tqio_container *c, const tqio_fields *fields) {
    char hash[TQIO_VALUE_ROOM];
    tq_status status = refuse_others(c, fields);
    for (size_t i = 0; status == TQ_OK && i < fields->n; i++)
        status = check_field(c, fields->field[i].key, fields->field[i].value);
    if (status != TQ_OK) return status;
    tqio_hash_text(tqio_fields_hash(fields), hash);
    return check_field(c, TQIO_FIELDS_HASH, hash);
}

/* How many stretches so many positions lie in at most, wherever they begin. */
static size_t most_stretches(size_t stretch, size_t n) {
    return n == 0 ? 1 : (n - 1) / stretch + ((n - 1) % stretch != 0) + 1;
}

static const char *contradiction_of_stretches(const tq_encoded *e, const char **field) {
    const size_t stretch = e->centre_stretch,
                 most = stretch == 0 ? 1 : most_stretches(stretch, e->capacity);
    *field = "tqkv.first_position";
    if (e->first_position != 0 && stretch == 0) return "only stretches are counted from it: 0 without";
    if (e->first_position > SIZE_MAX - e->capacity) return "positions would be numbered beyond 2^64";
    *field = "tqkv.n_centres";
    if (e->n_centres == 0 && stretch != 0) return "stretches have a centre each, and there is none";
    if (e->n_centres > most)
        return stretch == 0 ? "one centre serves all" : "more than the capacity needs";
    if (stretch != 0 && e->n_centres < tqio_stretches(stretch, e->first_position, e->n_positions))
        return "fewer than the stretches that positions lie in";
    return NULL;
}

const char *tqio_contradiction(const tq_encoded *e, const char **field, tq_status *status) {
    *field = "tqkv.norm_rule";
    *status = TQ_E_NORM_RULE;
    const tq_norm_rule rule = tq_norm_rule_of(e->codec.format, e->codec.norm_rule);
    if (tq_norm_rule_name(rule) == NULL) return "no such norm rule";
    if (TQ_IS_V1(e->codec.format) && rule != TQ_NORM_PLAIN)
        return "a v1 format knows the rule plain alone";
    *field = "tqkv.scale_factor_d512";
    *status = TQ_E_SCALE_FACTOR;
    if (TQ_IS_V1(e->codec.format) && e->codec.head_dim == 512 &&
        !scale_is_usable(e->codec.scale_factor_d512))
        return "it must be positive and finite";
    *status = TQ_E_FILE_SHAPE;
    *field = "tqkv.n_positions";
    if (e->n_positions > e->capacity) return "more positions than the capacity holds";
    *field = "tqkv.ring_start";
    if (e->ring_start != 0 && e->n_positions != e->capacity) return "must be 0 until the ring is full";
    if (e->ring_start != 0 && e->ring_start >= e->capacity) return "it lies outside the ring";
    return contradiction_of_stretches(e, field);
}
