/* SPDX-License-Identifier: MIT
 * libtqkv_cuda for machines without a device: its calls on memory of the host, by the CPU's codec and
 * attention. It shows that the package lays out what it hands over as the headers ask for it; of a
 * device's kernels it shows nothing. A stream is refused unless it is number 77: calls must be on the
 * current one. */
#include <stdlib.h>
#include <string.h>

#include "tqkv/cuda_attention.h"
#include "tqkv/tqkv.h"

enum { STREAM = 77 };

struct tq_cuda {
    int device;
};

struct tq_cuda_attention {
    tq_cuda_attention_config config;
};

int tq_cuda_count(void) {
    return 1;
}

tq_status tq_cuda_describe(int device, tq_cuda_info *info) {
    *info = (tq_cuda_info){
        .size = sizeof *info, .name = "Stand-in", .major = 9, .served = 1, .memory_bytes = 1 << 30};
    return device == 0 ? TQ_OK : TQ_E_DEVICE;
}

tq_status tq_cuda_open(int device, tq_cuda **cuda) {
    if (device != 0)
        return tq_fail(TQ_E_DEVICE, 0, "device", "device %d: there is one, number 0", device);
    *cuda = calloc(1, sizeof **cuda);
    return *cuda ? TQ_OK : TQ_E_NO_MEMORY;
}

static tq_status on_stream(const void *stream) {
    return (size_t)stream == STREAM
               ? TQ_OK
               : tq_fail(TQ_E_DEVICE, (size_t)stream, "stream", "not the current stream");
}

static float widened(tq_type type, const void *values, size_t i) {
    float x;
    uint32_t bits;
    if (type == TQ_F32) return ((const float *)values)[i];
    const uint16_t half = ((const uint16_t *)values)[i];
    if (type == TQ_F16) {
        _Float16 h;
        memcpy(&h, &half, sizeof h);
        return (float)h;
    }
    bits = (uint32_t)half << 16;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static tq_status encode_vector(const tq_cuda_encode_params *p, const tq_cuda_side *k, size_t g,
                               size_t t) {
    const size_t dim = k->codec.head_dim, at = t * k->src_token_stride + g * k->src_head_stride;
    const int64_t slot = p->slots ? p->slots[t] : (int64_t)((p->first_slot + t) % p->n_slots);
    const size_t page = (size_t)slot / p->page_rows, row = (size_t)slot % p->page_rows;
    const uint64_t position = p->positions ? (uint64_t)p->positions[t] : p->first_position + t;
    const size_t number = k->centre_stretch ? position / k->centre_stretch % k->n_centres : 0;
    const uint16_t *centre = k->centre ? k->centre + (number * p->n_kv_heads + g) * dim : NULL;
    float x[1024];
    size_t code_bytes, norm_bytes;
    if (slot < 0) return TQ_OK;
    if ((size_t)slot >= p->n_slots) return tq_fail(TQ_E_POSITION, (size_t)slot, "slots", "no such slot");
    tq_row_size(&k->codec, &code_bytes, &norm_bytes);
    const size_t code_at =
        page * k->code_page_stride + g * k->code_head_stride + row * k->code_row_stride;
    const size_t norm_at =
        page * k->norm_page_stride + g * k->norm_head_stride + row * k->norm_row_stride;
    if (code_at + code_bytes > k->n_codes || norm_at + norm_bytes > k->n_norms) return TQ_E_SIZE;
    for (size_t d = 0; d < dim; d++)
        x[d] = widened(k->src_type, k->src, at + d);
    const tq_status status =
        tq_encode(&k->codec, &(tq_batch){.heads = 1, .rows = 1}, x, dim, centre, centre ? dim : 0,
                  (uint8_t *)k->codes + code_at, code_bytes, (char *)k->norms + norm_at, norm_bytes);
    if (status != TQ_E_NOT_FINITE && status != TQ_E_RANGE) return status;
    const uint64_t bad = at + tq_last_error()->index;
    if (k->fault && bad < *k->fault) *k->fault = bad;
    return TQ_OK;
}

tq_status tq_cuda_encode(tq_cuda *cuda, const tq_cuda_encode_params *p, void *stream) {
    (void)cuda;
    tq_status status = on_stream(stream);
    for (size_t i = 0; status == TQ_OK && i < p->n_tokens * p->n_kv_heads; i++) {
        status = encode_vector(p, p->k, i / p->n_tokens, i % p->n_tokens);
        if (status == TQ_OK && p->v) status = encode_vector(p, p->v, i / p->n_tokens, i % p->n_tokens);
    }
    return status;
}

tq_status tq_cuda_decode(tq_cuda *cuda, const tq_codec *codec, const tq_batch *batch, tq_domain domain,
                         const void *codes, size_t n_codes, const void *norms, size_t n_norms,
                         const uint16_t *centre, size_t n_centre, tq_type type, void *dst, size_t n_dst,
                         void *stream) {
    (void)cuda;
    const tq_status status = on_stream(stream);
    if (status != TQ_OK) return status;
    if (type != TQ_F32) return tq_fail(TQ_E_FORMAT, 0, "type", "the stand-in decodes to float32");
    return tq_decode(codec, batch, domain, codes, n_codes, norms, n_norms, centre, n_centre, dst, n_dst);
}

tq_status tq_cuda_attention_plan(tq_cuda *cuda, const tq_cuda_attention_config *config,
                                 tq_cuda_attention **attention, tq_cuda_attention_info *info) {
    (void)cuda;
    tq_attention_kind kind;
    *info = (tq_cuda_attention_info){0};
    const tq_status status = tq_attention_plan(&config->layer, &kind, &info->workspace_bytes);
    if (status != TQ_OK) return status;
    *attention = calloc(1, sizeof **attention);
    if (!*attention) return TQ_E_NO_MEMORY;
    (*attention)->config = *config;
    (*attention)->config.layer.arithmetic = TQ_ARITHMETIC_FLOAT; /* a device knows no other */
    return TQ_OK;
}

void tq_cuda_attention_free(tq_cuda_attention *attention) {
    free(attention);
}

/* A sequence's page from a position on, as the CPU has it. */
static tq_view page_of(const tq_view *from, size_t i, size_t heads, size_t first, const int32_t *table,
                       size_t stretches) {
    tq_view v = *from;
    v.data = (const char *)from->data + i * from->page_stride;
    v.data_bytes = from->data_bytes - i * from->page_stride;
    v.norms = (const char *)from->norms + i * from->norm_page_stride;
    v.n_norms = from->n_norms - i * from->norm_page_stride;
    v.capacity = from->page_rows;
    v.ring_start = first % v.capacity;
    v.page_rows = v.page_stride = v.norm_page_stride = v.pool_pages = 0;
    if (table && v.centre_stretch) v.centre_table = table, v.n_centre_table = stretches;
    if (table && !v.centre_stretch) /* one of its own */
        v.centre += (size_t)table[0] * heads * v.codec.head_dim, v.n_centres = 1;
    return v;
}

static tq_view dense_of(const tq_cuda_dense *d, size_t i, size_t heads, uint32_t dim, size_t capacity,
                        size_t first) {
    tq_view v;
    const size_t n = heads * capacity * dim;
    if (d->row_stride || d->head_stride || d->sequence_stride || (i + 1) * n > d->n ||
        tq_view_dense(&v, TQ_F16, dim, heads, capacity, d->data + i * n, n) != TQ_OK)
        abort();
    v.ring_start = first % capacity;
    return v;
}

static size_t least(size_t a, size_t b) {
    return a < b ? a : b;
}

/* A sequence by itself: the last min(n, length) of its queries; the others see nothing. */
static tq_status run_sequence(const tq_cuda_attention_config *c, const tq_cuda_attention_batch *b,
                              size_t i) {
    const size_t length = (size_t)b->lengths[i], n = least(b->n_queries, length),
                 skipped = b->n_queries - n;
    const size_t item = c->layer.out_type == TQ_F32 ? 4 : 2, q_item = c->layer.q_type == TQ_F32 ? 4 : 2;
    const size_t token = i * b->n_queries, heads = c->layer.n_heads, dim = c->layer.v_head_dim;
    for (size_t t = token; t < token + skipped; t++)
        for (size_t h = 0; h < heads; h++)
            memset((char *)b->out + (t * b->out_token_stride + h * b->out_head_stride) * item, 0,
                   dim * item);
    if (n == 0) return TQ_OK;
    const int32_t *table = b->centre_tables ? b->centre_tables + i * b->centre_table_stride : NULL;
    const size_t sinks = least(b->n_sinks, length);
    size_t coded = b->coded_lengths ? (size_t)b->coded_lengths[i] : length;
    coded = coded < sinks ? sinks : least(coded, length);
    const size_t held = least(coded - sinks, b->k->page_rows), recent = length - coded;
    const size_t kv = c->layer.n_kv_heads;
    if (recent > b->recent_capacity)
        return tq_fail(TQ_E_POSITION, recent, "recent", "more than the ring holds");
    tq_segment segments[3];
    size_t n_segments = 0;
    if (sinks)
        segments[n_segments++] =
            (tq_segment){.k = dense_of(&b->sink_k, i, kv, c->layer.head_dim, b->n_sinks, 0),
                         .v = dense_of(&b->sink_v, i, kv, (uint32_t)dim, b->n_sinks, 0),
                         .length = sinks};
    if (held)
        segments[n_segments++] =
            (tq_segment){.k = page_of(b->k, i, kv, coded - held, table, b->centre_table_stride),
                         .v = page_of(b->v, i, kv, coded - held, NULL, 0),
                         .length = held,
                         .first_position = coded - held};
    if (recent)
        segments[n_segments++] =
            (tq_segment){.k = dense_of(&b->recent_k, i, kv, c->layer.head_dim, b->recent_capacity, coded),
                         .v = dense_of(&b->recent_v, i, kv, (uint32_t)dim, b->recent_capacity, coded),
                         .length = recent,
                         .first_position = coded};
    const tq_sequence sequence = {
        .segments = segments, .n_segments = n_segments, .n_queries = n, .query_end = length};
    const size_t q_at = (token + skipped) * b->q_token_stride,
                 out_at = (token + skipped) * b->out_token_stride;
    const tq_attention_batch one = {.size = sizeof one,
                                    .n_sequences = 1,
                                    .sequences = &sequence,
                                    .q = (const char *)b->q + q_at * q_item,
                                    .n_q = b->n_q - q_at,
                                    .q_token_stride = b->q_token_stride,
                                    .q_head_stride = b->q_head_stride,
                                    .out = (char *)b->out + out_at * item,
                                    .n_out = b->n_out - out_at,
                                    .out_token_stride = b->out_token_stride,
                                    .out_head_stride = b->out_head_stride,
                                    .lse = b->lse ? b->lse + (token + skipped) * heads : NULL,
                                    .n_lse = b->lse ? n * heads : 0,
                                    .sinks = b->sinks,
                                    .slopes = b->slopes};
    tq_attention_kind kind;
    size_t bytes;
    tq_status status = tq_attention_plan(&c->layer, &kind, &bytes);
    if (status != TQ_OK) return status;
    void *workspace = aligned_alloc(64, (bytes + 64) / 64 * 64);
    status = workspace ? tq_attention_run(&kind, &one, workspace, bytes) : TQ_E_NO_MEMORY;
    free(workspace);
    return status;
}

tq_status tq_cuda_attention_run(const tq_cuda_attention *attention, const tq_cuda_attention_batch *b,
                                void *workspace, size_t workspace_bytes, void *stream) {
    (void)workspace, (void)workspace_bytes;
    const tq_cuda_attention_config *c = &attention->config;
    tq_status status = on_stream(stream);
    if (status != TQ_OK) return status;
    if (b->n_sequences > c->layer.max_sequences || b->n_sequences * b->n_queries > c->layer.max_queries ||
        b->n_sequences > b->k->pool_pages)
        return tq_fail(TQ_E_SIZE, b->n_sequences, "n_sequences",
                       "more than the plan, or the pages, are for");
    if (!c->dense && (b->sink_k.data || b->recent_k.data))
        return tq_fail(TQ_E_FORMAT, 0, "dense", "the plan is for codes alone");
    if ((b->coded_lengths == NULL) != (b->recent_k.data == NULL))
        return tq_fail(TQ_E_NULL, 0, "coded_lengths", "with recent_k, or neither");
    if (!c->any_layout && (b->k->page_rows % 16 || b->k->row_stride % 16 || b->v->row_stride % 16))
        return tq_fail(TQ_E_STRIDE, 0, "layout", "the fast kernels do not read this layout");
    for (size_t i = 0; status == TQ_OK && i < b->n_sequences; i++)
        status = (size_t)b->lengths[i] > c->layer.max_positions
                     ? tq_fail(TQ_E_SIZE, i, "lengths", "longer than the plan is for")
                     : run_sequence(c, b, i);
    return status;
}
