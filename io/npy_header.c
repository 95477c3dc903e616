/* SPDX-License-Identifier: MIT
 * The header of a .npy file: a Python dict literal with the keys descr, fortran_order and shape.
 *
 * Read strictly: only what writers of such files produce, no Python beyond it. */
#include "npy_header.h"

#include "bytes.h"
#include "report.h"

#define SUPPORTED "'<f4' and '<f2' in C order are (numpy: np.ascontiguousarray(a, dtype='<f4'))"

typedef struct cursor {
    const char *name;
    const char *text; /* the whole file */
    size_t at, end;
} cursor;

typedef struct word {
    const char *text;
    size_t length, at;
} word;

static bool is_word(const word *w, const char *literal) {
    return w->length == strlen(literal) && memcmp(w->text, literal, w->length) == 0;
}

static void skip_space(cursor *c) {
    while (c->at < c->end &&
           (c->text[c->at] == ' ' || (c->text[c->at] >= '\t' && c->text[c->at] <= '\r')))
        c->at++;
}

/* The next character after spaces, 0 at the end of the header (and for a NUL, which fits nowhere). */
static char peek(cursor *c) {
    skip_space(c);
    return c->at < c->end ? c->text[c->at] : '\0';
}

static bool take(cursor *c, char wanted) {
    if (peek(c) != wanted) return false;
    c->at++;
    return true;
}

static tq_status expected(const cursor *c, const char *field, const char *what) {
    char seen[8];
    if (c->at >= c->end)
        return tqio_fail(c->name, TQ_E_FILE_HEADER, c->at, field, "the header ends; %s is expected",
                         what);
    return tqio_fail(c->name, TQ_E_FILE_HEADER, c->at, field, "'%s' in the header; %s is expected",
                     tqio_printable(c->text + c->at, 1, seen, sizeof seen), what);
}

/* A string in either quotes. Backslashes stand in no header that is supported, so they are no string. */
static tq_status read_string(cursor *c, const char *field, word *out) {
    char quote = peek(c);
    if (quote != '\'' && quote != '"') return expected(c, field, "a quoted string");
    size_t start = ++c->at;
    while (c->at < c->end && c->text[c->at] != quote && c->text[c->at] != '\\' && c->text[c->at] != '\n')
        c->at++;
    if (c->at == c->end || c->text[c->at] != quote)
        return expected(c, field, "the string's closing quote");
    *out = (word){c->text + start, c->at - start, start};
    c->at++;
    return TQ_OK;
}

static tq_status read_descr(cursor *c, tqio_npy_header *out) {
    tqio_quote q;
    word w;
    if (peek(c) == '[')
        return tqio_fail(c->name, TQ_E_FILE_TYPE, c->at, "descr",
                         "structured values are not supported, " SUPPORTED);
    tq_status status = read_string(c, "descr", &w);
    if (status != TQ_OK) return status;
    out->item_size = is_word(&w, "<f4") ? 4 : is_word(&w, "<f2") ? 2 : 0;
    if (out->item_size != 0) return TQ_OK;
    return tqio_fail(c->name, TQ_E_FILE_TYPE, w.at, "descr", "type '%s' is not supported, " SUPPORTED,
                     tqio_printable(w.text, w.length, q.text, sizeof q.text));
}

static tq_status read_order(cursor *c) {
    word w = {0};
    skip_space(c);
    w.at = c->at;
    w.text = c->text + c->at;
    while (c->at < c->end && ((c->text[c->at] | 0x20) >= 'a' && (c->text[c->at] | 0x20) <= 'z'))
        c->at++;
    w.length = c->at - w.at;
    if (is_word(&w, "False")) return TQ_OK;
    if (is_word(&w, "True"))
        return tqio_fail(c->name, TQ_E_FILE_TYPE, w.at, "fortran_order",
                         "Fortran order is not supported, " SUPPORTED);
    c->at = w.at;
    return expected(c, "fortran_order", "True or False");
}

static tq_status read_dim(cursor *c, size_t *dim) {
    char first = peek(c);
    size_t start = c->at;
    if (first == '-')
        return tqio_fail(c->name, TQ_E_FILE_SHAPE, c->at, "shape", "a dimension is negative");
    if (first < '0' || first > '9') return expected(c, "shape", "a whole number");
    for (*dim = 0; c->at < c->end && c->text[c->at] >= '0' && c->text[c->at] <= '9'; c->at++) {
        size_t digit = (size_t)(c->text[c->at] - '0');
        if (*dim > (SIZE_MAX - digit) / 10)
            return tqio_fail(c->name, TQ_E_FILE_SHAPE, start, "shape",
                             "a dimension is larger than an address can hold");
        *dim = *dim * 10 + digit;
    }
    if (first == '0' && c->at > start + 1) {
        c->at = start;
        return expected(c, "shape", "a number without leading zeros");
    }
    if (c->at < c->end && c->text[c->at] == 'L') c->at++; /* Python 2 wrote long integers so */
    return TQ_OK;
}

static tq_status read_shape(cursor *c, tqio_npy_header *out) {
    if (!take(c, '(')) return expected(c, "shape", "a tuple such as (8, 100, 128)");
    bool comma = true;
    while (!take(c, ')')) {
        if (!comma) return expected(c, "shape", "',' or ')'");
        if (out->n_dims == TQ_MAX_DIMS)
            return tqio_fail(c->name, TQ_E_FILE_SHAPE, c->at, "shape", "more than %d dimensions",
                             TQ_MAX_DIMS);
        tq_status status = read_dim(c, &out->shape[out->n_dims]);
        if (status != TQ_OK) return status;
        out->n_dims++;
        comma = take(c, ',');
    }
    if (out->n_dims == 1 && !comma) { /* in Python (3) is the number 3 and only (3,) is a tuple */
        c->at--;
        return expected(c, "shape", "the comma that makes a tuple of one");
    }
    return TQ_OK;
}

static tq_status read_entry(cursor *c, unsigned *seen, tqio_npy_header *out) {
    static const char *const keys[] = {"descr", "fortran_order", "shape"};
    tqio_quote q;
    word key;
    tq_status status = read_string(c, "header", &key);
    if (status != TQ_OK) return status;
    unsigned k = 0;
    while (k < 3 && !is_word(&key, keys[k]))
        k++;
    if (k == 3)
        return tqio_fail(c->name, TQ_E_FILE_HEADER, key.at, "header",
                         "unknown key '%s'; descr, fortran_order and shape are expected",
                         tqio_printable(key.text, key.length, q.text, sizeof q.text));
    if (*seen & 1u << k)
        return tqio_fail(c->name, TQ_E_FILE_HEADER, key.at, keys[k], "key '%s' is there twice", keys[k]);
    *seen |= 1u << k;
    if (!take(c, ':')) return expected(c, keys[k], "':'");
    return k == 0 ? read_descr(c, out) : k == 1 ? read_order(c) : read_shape(c, out);
}

static tq_status read_dict(cursor *c, tqio_npy_header *out) {
    unsigned seen = 0;
    bool comma = true;
    size_t start = c->at;
    if (!take(c, '{')) return expected(c, "header", "'{'");
    while (!take(c, '}')) {
        if (!comma) return expected(c, "header", "',' or '}'");
        tq_status status = read_entry(c, &seen, out);
        if (status != TQ_OK) return status;
        comma = take(c, ',');
    }
    skip_space(c);
    if (c->at != c->end) return expected(c, "header", "nothing more");
    if (seen != 7) {
        const char *missing = !(seen & 1) ? "descr" : !(seen & 2) ? "fortran_order" : "shape";
        return tqio_fail(c->name, TQ_E_FILE_HEADER, start, missing, "the header has no '%s'", missing);
    }
    return TQ_OK;
}

/* Magic, version and length. On TQ_OK the cursor spans the dict. */
static tq_status read_prefix(cursor *c, size_t size) {
    const uint8_t *bytes = (const uint8_t *)c->text;
    size_t known = size < TQIO_NPY_MAGIC_SIZE ? size : TQIO_NPY_MAGIC_SIZE;
    if (memcmp(bytes, TQIO_NPY_MAGIC, known) != 0)
        return tqio_fail(c->name, TQ_E_FILE_MAGIC, 0, "magic",
                         "not a .npy file: it does not start with \\x93NUMPY");
    if (size < 8)
        return tqio_fail(c->name, TQ_E_FILE_TRUNCATED, size, "magic", "the file ends before its header");
    if (bytes[6] < 1 || bytes[6] > 3 || bytes[7] != 0)
        return tqio_fail(c->name, TQ_E_FILE_HEADER, 6, "version",
                         "version %d.%d; 1.0, 2.0 and 3.0 are supported", bytes[6], bytes[7]);
    c->at = bytes[6] == 1 ? 10 : 12;
    if (size < c->at)
        return tqio_fail(c->name, TQ_E_FILE_TRUNCATED, size, "header", "the file ends before its header");
    size_t length = bytes[6] == 1 ? tqio_le16(bytes + 8) : tqio_le32(bytes + 8);
    if (length > TQIO_NPY_MAX_HEADER)
        return tqio_fail(c->name, TQ_E_FILE_HEADER, 8, "header",
                         "a header of %zu bytes; at most %d are read", length, TQIO_NPY_MAX_HEADER);
    if (length > size - c->at)
        return tqio_fail(c->name, TQ_E_FILE_TRUNCATED, c->at, "header",
                         "header says %zu bytes, file has %zu", length, size - c->at);
    c->end = c->at + length;
    return TQ_OK;
}

tq_status tqio_npy_header_read(const char *name, const uint8_t *bytes, size_t size,
                               tqio_npy_header *out) {
    cursor c = {.name = name, .text = (const char *)bytes};
    *out = (tqio_npy_header){0};
    tq_status status = read_prefix(&c, size);
    if (status == TQ_OK) status = read_dict(&c, out);
    out->data_at = c.end;
    return status;
}
