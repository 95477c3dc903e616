/* SPDX-License-Identifier: MIT
 * Work on a CUDA device: what it needs is copied there, what comes out is copied back. All of a call's
 * data are in the device's memory at once, and everything happens in order on the default stream. */
#include <cuda_runtime_api.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cuda_room.h"
#include "base/cuda_time.h"
#include "base/encoding.h"
#include "base/message.h"

int cli_open_device(int number, cli_device **device) {
    *device = NULL;
    if (number == CLI_CPU) return CLI_DONE;
    cli_device *d = calloc(1, sizeof *d);
    if (!d) return cli_out_of_memory();
    *device = d;
    d->number = number;
    if (tq_cuda_open(number, &d->cuda) != TQ_OK)
        return cli_fail("--device cuda:%d: %s", number, tq_last_error()->message);
    return cli_check("--device", cli_check_cuda(d, cudaSetDevice(number), "opening it"));
}

void cli_close_device(cli_device *device) {
    if (device) tq_cuda_close(device->cuda);
    free(device);
}

void cli_device_text(const cli_device *device, char *text, size_t size) {
    snprintf(text, size, "cuda:%d, %s", device->number, tq_cuda_name(device->cuda));
}

void cli_device_time(cli_device *device, cli_device_timing *timing) {
    device->timing = timing;
}

bool cli_has_cuda(void) {
    return true;
}

size_t cli_count_devices(void) {
    return (size_t)tq_cuda_count();
}

tq_status cli_describe_device(size_t number, cli_device_info *info) {
    tq_cuda_info found = {.size = sizeof found};
    TRY_STATUS(tq_cuda_describe((int)number, &found));
    *info = (cli_device_info){.memory_bytes = (double)found.memory_bytes, .served = found.served != 0};
    snprintf(info->device, sizeof info->device, "cuda:%zu", number);
    snprintf(info->name, sizeof info->name, "%s", found.name);
    snprintf(info->capability, sizeof info->capability, "%d.%d", found.major, found.minor);
    return TQ_OK;
}

/* Positions first .. T-1 of every head, side by side. */
static tq_status upload_heads(cli_room *r, const cli_heads *heads, size_t first, void **to) {
    const size_t dim = heads->head_dim, all = heads->n_positions, kept = (all - first) * dim;
    TRY_STATUS(cli_room_take(r, heads->n_heads * kept * sizeof(float), to));
    for (size_t g = 0; g < heads->n_heads; g++)
        TRY_STATUS(cli_room_copy_in(r, (float *)*to + g * kept, heads->data + (g * all + first) * dim,
                                    kept * sizeof(float)));
    return TQ_OK;
}

typedef struct encoding {
    const cli_device *device;
    const tq_cuda_encode_params *params;
} encoding;

static tq_status launch_encode(void *work, size_t set) {
    const encoding *e = work;
    (void)set;
    return tq_cuda_encode(e->device->cuda, e->params, NULL);
}

static tq_status encode(cli_room *r, const cli_heads *heads, size_t first, tq_encoded *out,
                        uint64_t *fault) {
    void *src, *codes, *norms, *centre, *fault_there;
    TRY_STATUS(upload_heads(r, heads, first, &src));
    TRY_STATUS(cli_room_take(r, out->n_codes, &codes));
    TRY_STATUS(cli_room_take(r, out->n_norms, &norms));
    TRY_STATUS(cli_room_upload(r, out->centre, cli_centre_values(out) * sizeof *out->centre, &centre));
    TRY_STATUS(cli_room_upload(r, fault, sizeof *fault, &fault_there));
    const size_t kept = heads->n_positions - first;
    const tq_cuda_side side = {.codec = out->codec,
                               .src_type = TQ_F32,
                               .src = src,
                               .src_token_stride = heads->head_dim,
                               .src_head_stride = kept * heads->head_dim,
                               .codes = codes,
                               .n_codes = out->n_codes,
                               .norms = norms,
                               .n_norms = out->n_norms,
                               .centre = centre,
                               .n_centres = out->n_centres,
                               .centre_stretch = out->centre_stretch,
                               .fault = fault_there};
    const tq_cuda_encode_params params = {.size = sizeof params,
                                          .n_tokens = kept,
                                          .n_kv_heads = heads->n_heads,
                                          .k = &side,
                                          .n_slots = out->capacity,
                                          .first_slot = out->ring_start,
                                          .first_position = out->first_position};
    TRY_STATUS(cli_check_library(r->device, tq_cuda_encode(r->device->cuda, &params, NULL)));
    TRY_STATUS(cli_room_copy_out(r, out->codes, codes, out->n_codes));
    TRY_STATUS(cli_room_copy_out(r, out->norms, norms, out->n_norms));
    TRY_STATUS(cli_room_copy_out(r, fault, fault_there, sizeof *fault));
    return cli_time_launches(r, launch_encode, &(encoding){r->device, &params}, 1);
}

tq_status cli_device_encode(cli_device *device, const cli_heads *heads, size_t first, tq_encoded *out) {
    const size_t dim = heads->head_dim, kept = heads->n_positions - first;
    cli_room r = {.device = device};
    uint64_t fault = UINT64_MAX;
    const tq_status status = encode(&r, heads, first, out, &fault);
    cli_room_free(&r);
    if (status != TQ_OK) return status;
    out->n_positions = kept;
    if (fault == UINT64_MAX) return TQ_OK;
    const size_t g = (size_t)fault / (kept * dim), rest = (size_t)fault % (kept * dim);
    return tq_fail(TQ_E_RANGE, (g * heads->n_positions + first) * dim + rest, "src",
                   "a vector of head %zu cannot be encoded", g);
}

/* What is to be decoded, and to where, on the device. */
typedef struct decoding {
    const cli_device *device;
    const tq_encoded *encoded;
    tq_domain domain;
    void *codes, *norms, *centre, *dst;
    size_t n_centre, n_dst, code_bytes, norm_bytes;
} decoding;

/* Positions from p on that lie side by side. */
static tq_status decode_run(const cli_device *device, const decoding *d, size_t p, size_t slot,
                            size_t rows) {
    const tq_encoded *e = d->encoded;
    const size_t dim = e->codec.head_dim, stretch = e->centre_stretch;
    const size_t passed = (cli_stretch_of(e, p) - cli_stretch_of(e, 0)) * e->n_kv_heads * dim;
    const tq_batch batch = {.heads = e->n_kv_heads,
                            .rows = rows,
                            .dense_head_stride = e->n_positions * dim,
                            .code_head_stride = e->capacity * d->code_bytes,
                            .norm_head_stride = e->capacity * d->norm_bytes,
                            .centre_stretch = stretch,
                            .centre_first = stretch == 0 ? 0 : (e->first_position + p) % stretch};
    return tq_cuda_decode(device->cuda, &e->codec, &batch, d->domain,
                          (uint8_t *)d->codes + slot * d->code_bytes, e->n_codes - slot * d->code_bytes,
                          (uint8_t *)d->norms + slot * d->norm_bytes, e->n_norms - slot * d->norm_bytes,
                          d->centre ? (uint16_t *)d->centre + passed : NULL, d->n_centre - passed, TQ_F32,
                          (float *)d->dst + p * dim, d->n_dst - p * dim, NULL);
}

/* All runs of a ring. */
static tq_status launch_decode(void *work, size_t set) {
    const decoding *d = work;
    const tq_encoded *e = d->encoded;
    (void)set;
    for (size_t p = 0, rows; p < e->n_positions; p += rows) {
        const size_t slot = (e->ring_start + p) % e->capacity, to_end = e->capacity - slot;
        rows = e->n_positions - p < to_end ? e->n_positions - p : to_end;
        TRY_STATUS(decode_run(d->device, d, p, slot, rows));
    }
    return TQ_OK;
}

static tq_status decode(cli_room *r, decoding *d, float *dst) {
    const tq_encoded *e = d->encoded;
    d->n_dst = e->n_kv_heads * e->n_positions * e->codec.head_dim;
    TRY_STATUS(tq_row_size(&e->codec, &d->code_bytes, &d->norm_bytes));
    TRY_STATUS(cli_room_upload(r, e->codes, e->n_codes, &d->codes));
    TRY_STATUS(cli_room_upload(r, e->norms, e->n_norms, &d->norms));
    TRY_STATUS(cli_room_centres(r, e, &d->n_centre, &d->centre));
    TRY_STATUS(cli_room_take(r, d->n_dst * sizeof(float), &d->dst));
    TRY_STATUS(cli_check_library(r->device, launch_decode(d, 0)));
    TRY_STATUS(cli_room_copy_out(r, dst, d->dst, d->n_dst * sizeof(float)));
    return cli_time_launches(r, launch_decode, d, 1);
}

tq_status cli_device_decode(cli_device *device, const tq_encoded *encoded, tq_domain domain, float *dst) {
    cli_room r = {.device = device};
    decoding d = {.device = device, .encoded = encoded, .domain = domain};
    const tq_status status = decode(&r, &d, dst);
    cli_room_free(&r);
    return status;
}
