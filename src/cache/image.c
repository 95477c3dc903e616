/* SPDX-License-Identifier: MIT
 * Images: the layout of docs/block.md, written and checked. */
#include "cache/image.h"

#include <math.h>
#include <stdio.h>

#include "base/bytes.h"
#include "base/check.h"
#include "base/hash.h"
#include "base/size.h"
#include "format/ids.h"

static const uint8_t magic[8] = {0x89, 'T', 'Q', 'B', '\r', '\n', 0x1A, '\n'};

/* Byte offsets: of the header, and of a side's fields from where they begin. */
enum {
    AT_VERSION = 8,
    AT_HEADS = 12,
    AT_BYTES = 16,
    AT_FIRST = 24,
    AT_SINKS_END = 32,
    AT_CODES_FIRST = 40,
    AT_CODES_END = 48,
    AT_END = 56,
    AT_SIDE = 64,
    SIDE_STORE = 0,
    SIDE_DENSE = 4,
    SIDE_FORMAT = 8,
    SIDE_DIM = 12,
    SIDE_RULE = 16,
    SIDE_SCALE = 20,
    SIDE_CENTRE = 24,
    SIDE_UNUSED = 28,
    SIDE_CODEBOOK = 32,
    SIDE_ROTATION = 40,
    SIDE_STRETCH = 48,
    SIDE_UNUSED_TOO = 56,
    SIDE_BYTES = 64,
    HEADER_BYTES = AT_SIDE + TQ_SIDES * SIDE_BYTES,
    HASH_BYTES = 8,
    VERSION = 2
};

static size_t side_at(unsigned side) {
    return AT_SIDE + (size_t)side * SIDE_BYTES;
}

static size_t row_bytes(const tq_image *b, unsigned part, unsigned side) {
    const tq_plan *plan = &b->plan[side];
    switch (part) {
    case TQ_PART_CENTRE:
        return side == TQ_K ? plan->dim * sizeof(uint16_t) : 0;
    case TQ_PART_NORMS:
        return plan->norm_bytes;
    case TQ_PART_CODES:
        return plan->row_bytes;
    default:
        return plan->dim * sizeof(uint16_t);
    }
}

/* Stretches that its codes lie in. */
static uint64_t centres_of(const tq_cache_block *i) {
    if (!i->has_k_centre) return 0;
    return tq_stretch_of(i->codes_end - 1, i->centre_stretch) -
           tq_stretch_of(i->codes_first, i->centre_stretch) + 1;
}

bool tq_image_lay_out(tq_image *b) {
    tq_cache_block *i = &b->info;
    const uint64_t rows[TQ_PARTS] = {centres_of(i), i->sinks_end - i->first, i->end - i->codes_end,
                                     i->codes_end - i->codes_first, i->codes_end - i->codes_first};
    i->bytes = HEADER_BYTES;
    for (unsigned part = 0; part < TQ_PARTS; part++)
        for (unsigned side = TQ_K; side < TQ_SIDES; side++) {
            size_t n;
            if (rows[part] > SIZE_MAX) return false;
            b->rows[part] = (size_t)rows[part];
            b->at[part][side] = i->bytes;
            if (!tq_size_mul(i->layer.n_kv_heads, b->rows[part], &n) ||
                !tq_size_mul(n, row_bytes(b, part, side), &n) || !tq_size_add(i->bytes, n, &i->bytes))
                return false;
        }
    return tq_size_add(i->bytes, HASH_BYTES, &i->bytes) && i->bytes <= PTRDIFF_MAX;
}

/* Sinks and recent positions: float16, unless the side is bfloat16 itself. */
static tq_store half_store(const tq_image *b, unsigned side) {
    return tq_image_store(b, side) == TQ_STORE_BF16 ? TQ_STORE_BF16 : TQ_STORE_F16;
}

static bool has_codes(const tq_image *b, unsigned side) {
    return tq_image_store(b, side) == TQ_STORE_CODES;
}

/* Dense sides have no tables. */
static uint64_t codebook_of(const tq_image *b, unsigned side) {
    return has_codes(b, side) ? tq_codebook_id(&b->plan[side]) : 0;
}

static uint64_t rotation_of(const tq_image *b, unsigned side) {
    return has_codes(b, side) ? tq_rotation_id(&b->plan[side]) : 0;
}

static void write_side(const tq_image *b, unsigned side, uint8_t *at) {
    const tq_plan *plan = &b->plan[side];
    tq_put_u32(at + SIDE_STORE, tq_image_store(b, side));
    tq_put_u32(at + SIDE_DENSE, half_store(b, side));
    tq_put_u32(at + SIDE_FORMAT, tq_image_codec(b, side)->format);
    tq_put_u32(at + SIDE_DIM, (uint32_t)plan->dim);
    tq_put_u32(at + SIDE_RULE, plan->norm_rule);
    tq_put_f32(at + SIDE_SCALE, tq_image_codec(b, side)->scale_factor_d512);
    tq_put_u32(at + SIDE_CENTRE, side == TQ_K && b->info.has_k_centre);
    tq_put_u64(at + SIDE_CODEBOOK, codebook_of(b, side));
    tq_put_u64(at + SIDE_ROTATION, rotation_of(b, side));
    tq_put_u64(at + SIDE_STRETCH, side == TQ_K ? b->info.centre_stretch : 0);
}

void tq_image_write_header(const tq_image *b, uint8_t *bytes) {
    const tq_cache_block *i = &b->info;
    memset(bytes, 0, HEADER_BYTES);
    memcpy(bytes, magic, sizeof magic);
    tq_put_u32(bytes + AT_VERSION, VERSION);
    tq_put_u32(bytes + AT_HEADS, i->layer.n_kv_heads);
    tq_put_u64(bytes + AT_BYTES, i->bytes);
    tq_put_u64(bytes + AT_FIRST, i->first);
    tq_put_u64(bytes + AT_SINKS_END, i->sinks_end);
    tq_put_u64(bytes + AT_CODES_FIRST, i->codes_first);
    tq_put_u64(bytes + AT_CODES_END, i->codes_end);
    tq_put_u64(bytes + AT_END, i->end);
    for (unsigned side = TQ_K; side < TQ_SIDES; side++)
        write_side(b, side, bytes + side_at(side));
}

void tq_image_seal(const tq_image *b, uint8_t *bytes) {
    const size_t n = b->info.bytes - HASH_BYTES;
    tq_put_u64(bytes + n, tq_hash(bytes, n));
}

/* Magic, version, length and hash: the bytes are those that were written, by something of this kind. */
static tq_status check_whole(const uint8_t *bytes, size_t n) {
    if (memcmp(bytes, magic, n < sizeof magic ? n : sizeof magic) != 0)
        return tq_fail(TQ_E_FILE_MAGIC, 0, "magic", "block: byte 0: this is no block of a cache");
    if (n < HEADER_BYTES + HASH_BYTES)
        return tq_fail(TQ_E_FILE_TRUNCATED, n, "header", "block: %zu bytes are less than a header", n);
    if (tq_get_u32(bytes + AT_VERSION) != VERSION)
        return tq_fail(TQ_E_FILE_HEADER, AT_VERSION, "version",
                       "block: byte %d: version %u; this library reads %d", AT_VERSION,
                       tq_get_u32(bytes + AT_VERSION), VERSION);
    if (tq_get_u64(bytes + AT_BYTES) != n)
        return tq_fail(TQ_E_FILE_TRUNCATED, AT_BYTES, "bytes",
                       "block: its header says %llu bytes, %zu are here",
                       (unsigned long long)tq_get_u64(bytes + AT_BYTES), n);
    const uint64_t is = tq_hash(bytes, n - HASH_BYTES), said = tq_get_u64(bytes + n - HASH_BYTES);
    if (is != said)
        return tq_fail(TQ_E_FILE_CHECKSUM, n - HASH_BYTES, "xxh3",
                       "block: the bytes have checksum %016llx, %016llx was written",
                       (unsigned long long)is, (unsigned long long)said);
    return TQ_OK;
}

/* Field `at` of a side is none that this library knows. */
static tq_status fail_field(const uint8_t *bytes, unsigned side, size_t at, const char *name) {
    const size_t byte = side_at(side) + at;
    char full[32];
    snprintf(full, sizeof full, "%c.%s", "kv"[side], name);
    return tq_fail(TQ_E_FILE_FIELD, byte, full,
                   "block: byte %zu: %s 0x%x is none that this library knows", byte, full,
                   tq_get_u32(bytes + byte));
}

/* A dense side has neither format nor rule: they are 0. */
static bool is_format(const tq_codec *codec, bool dense) {
    return dense ? codec->format == 0 : tq_find_codebook(codec->format) != NULL;
}

static bool is_rule(const tq_codec *codec, bool dense) {
    if (dense) return codec->norm_rule == TQ_NORM_DEFAULT;
    return codec->norm_rule != TQ_NORM_DEFAULT && tq_plan_check_norm_rule(codec) == TQ_OK;
}

static bool is_store(tq_store store) {
    return store == TQ_STORE_CODES || store == TQ_STORE_F16 || store == TQ_STORE_BF16;
}

/* 0 where it is not used. */
static bool is_scale(const tq_plan *plan, const uint8_t *at) {
    const float scale = tq_get_f32(at);
    return plan->n_norms == 2 ? scale > 0.0f && isfinite(scale) : tq_get_u32(at) == 0;
}

static tq_status read_side(tq_image *b, unsigned side, const uint8_t *bytes) {
    static const uint8_t zeros[SIDE_BYTES];
    const uint8_t *at = bytes + side_at(side);
    tq_codec *codec = side == TQ_K ? &b->info.layer.k : &b->info.layer.v;
    tq_store *store = side == TQ_K ? &b->info.layer.k_store : &b->info.layer.v_store;
    tq_plan *plan = &b->plan[side];
    *store = (tq_store)tq_get_u32(at + SIDE_STORE);
    const bool dense = *store != TQ_STORE_CODES;
    *codec = (tq_codec){(tq_format)tq_get_u32(at + SIDE_FORMAT), tq_get_u32(at + SIDE_DIM),
                        (tq_norm_rule)tq_get_u32(at + SIDE_RULE), tq_get_f32(at + SIDE_SCALE)};
#define NEED(field, name, condition)                                                                     \
    if (!(condition)) return fail_field(bytes, side, field, name)
    NEED(SIDE_STORE, "store", is_store(*store));
    NEED(SIDE_DENSE, "dense", tq_get_u32(at + SIDE_DENSE) == half_store(b, side));
    NEED(SIDE_FORMAT, "format", is_format(codec, dense));
    NEED(SIDE_DIM, "head_dim", tq_cache_plan_side(plan, codec, *store) == TQ_OK);
    NEED(SIDE_RULE, "norm_rule", is_rule(codec, dense));
    NEED(SIDE_SCALE, "scale_factor_d512", is_scale(plan, at + SIDE_SCALE));
    NEED(SIDE_CENTRE, "centre", tq_get_u32(at + SIDE_CENTRE) <= (side == TQ_K && !dense ? 1 : 0));
    NEED(SIDE_CODEBOOK, "codebook", tq_get_u64(at + SIDE_CODEBOOK) == codebook_of(b, side));
    NEED(SIDE_ROTATION, "rotation", tq_get_u64(at + SIDE_ROTATION) == rotation_of(b, side));
    const bool centred = tq_get_u32(at + SIDE_CENTRE) != 0;
    NEED(SIDE_STRETCH, "centre_stretch", centred || tq_get_u64(at + SIDE_STRETCH) == 0);
    NEED(SIDE_STRETCH, "centre_stretch", tq_get_u64(at + SIDE_STRETCH) <= SIZE_MAX);
    NEED(SIDE_UNUSED, "unused", memcmp(at + SIDE_UNUSED, zeros, SIDE_CODEBOOK - SIDE_UNUSED) == 0);
    NEED(SIDE_UNUSED_TOO, "unused",
         memcmp(at + SIDE_UNUSED_TOO, zeros, SIDE_BYTES - SIDE_UNUSED_TOO) == 0);
#undef NEED
    if (side == TQ_V) return TQ_OK;
    b->info.has_k_centre = centred;
    b->info.centre_stretch = (size_t)tq_get_u64(at + SIDE_STRETCH);
    return TQ_OK;
}

/* In order, with a gap at most where a ring has one, and as many bytes as that makes. */
static tq_status check_shape(tq_image *b, size_t n) {
    const tq_cache_block *i = &b->info;
    if (i->first > i->sinks_end || i->sinks_end > i->codes_first || i->codes_first > i->codes_end ||
        i->codes_end > i->end || (i->first > 0 && i->sinks_end < i->codes_first) ||
        (i->has_k_centre && i->codes_first == i->codes_end))
        return tq_fail(TQ_E_FILE_SHAPE, AT_FIRST, "positions",
                       "block: byte %d: positions %llu, %llu, %llu, %llu, %llu contradict each other",
                       AT_FIRST, (unsigned long long)i->first, (unsigned long long)i->sinks_end,
                       (unsigned long long)i->codes_first, (unsigned long long)i->codes_end,
                       (unsigned long long)i->end);
    if (!tq_image_lay_out(b) || b->info.bytes != n)
        return tq_fail(TQ_E_FILE_SHAPE, AT_BYTES, "bytes",
                       "block: byte %d: %zu bytes are not what %u heads of its positions take", AT_BYTES,
                       n, i->layer.n_kv_heads);
    return TQ_OK;
}

static bool is_half(const tq_image *b, unsigned side, uint16_t half) {
    if (half_store(b, side) == TQ_STORE_F16) return (half & 0x7C00) != 0x7C00; /* finite */
    return (half & 0x7FFF) <= 0x5C00; /* TQ_MAX_ABS in bfloat16 */
}

static bool is_value(const tq_image *b, unsigned part, unsigned side, const uint8_t *at) {
    switch (part) {
    case TQ_PART_CENTRE:
        return (tq_get_u16(at) & 0x7C00) != 0x7C00; /* finite */
    case TQ_PART_NORMS:
        if (!b->plan[side].v1) return tq_get_u16(at) < 0x7C00; /* positive and finite */
        return tq_get_f32(at) >= 0.0f && isfinite(tq_get_f32(at));
    default:
        return is_half(b, side, tq_get_u16(at));
    }
}

static tq_status check_part(const tq_image *b, unsigned part, unsigned side, const uint8_t *bytes) {
    static const char *const names[] = {"centre", "sinks", "recent", "norms", "codes"};
    const size_t first = b->at[part][side];
    const size_t size = part == TQ_PART_NORMS && b->plan[side].v1 ? sizeof(float) : sizeof(uint16_t);
    const size_t end = first + b->info.layer.n_kv_heads * b->rows[part] * row_bytes(b, part, side);
    for (size_t at = first; at < end; at += size)
        if (!is_value(b, part, side, bytes + at))
            return tq_fail(TQ_E_FILE_FIELD, at, names[part], "block: byte %zu: a value of the %s is none",
                           at, names[part]);
    return TQ_OK;
}

/* Codes may be any bytes, unless they are a dense side's values. */
static tq_status check_values(const tq_image *b, const uint8_t *bytes) {
    for (unsigned part = 0; part < TQ_PARTS; part++)
        for (unsigned side = TQ_K; side < TQ_SIDES; side++)
            if (part != TQ_PART_CODES || !has_codes(b, side)) TRY(check_part(b, part, side, bytes));
    return TQ_OK;
}

tq_status tq_image_read(tq_image *b, const uint8_t *bytes, size_t n) {
    TRY(check_whole(bytes, n));
    *b = (tq_image){.info = {.layer.n_kv_heads = tq_get_u32(bytes + AT_HEADS),
                             .first = tq_get_u64(bytes + AT_FIRST),
                             .sinks_end = tq_get_u64(bytes + AT_SINKS_END),
                             .codes_first = tq_get_u64(bytes + AT_CODES_FIRST),
                             .codes_end = tq_get_u64(bytes + AT_CODES_END),
                             .end = tq_get_u64(bytes + AT_END)}};
    if (b->info.layer.n_kv_heads == 0)
        return tq_fail(TQ_E_FILE_FIELD, AT_HEADS, "n_kv_heads", "block: byte %d: it has no heads",
                       AT_HEADS);
    for (unsigned side = TQ_K; side < TQ_SIDES; side++)
        TRY(read_side(b, side, bytes));
    TRY(check_shape(b, n));
    return check_values(b, bytes);
}

tq_status tq_cache_block_info(const void *block, size_t bytes, tq_cache_block *info) {
    tq_image b;
    TRY(tq_check_not_null("block", block));
    TRY(tq_check_not_null("info", info));
    TRY(tq_image_read(&b, block, bytes));
    return tq_give_struct("info", &b.info, sizeof b.info, info);
}
