/* SPDX-License-Identifier: MIT
 * Where a command works: on the CPU, or on a device, into whose memory its data are copied, and back.
 *
 * cuda.c does it; no_cuda.c stands in its place in a build without CUDA and says so. */
#ifndef TQKV_CLI_DEVICE_H
#define TQKV_CLI_DEVICE_H

#include "base/attention.h"
#include "base/command.h"
#include "base/heads.h"
#include "tqkv/io.h"

/* The line of an option table. */
#define CLI_DEVICE_SPEC                                                                                  \
    { "device", 0, "cpu|cuda[:N]", "where to work (default cpu)" }

#define CLI_ACCURACY_SPEC                                                                                \
    { "accuracy", 0, "fast|exact", "of a device (default fast)" }

enum { CLI_CPU = -1, CLI_MAX_DEVICE = 9999 };

/* An opened device; NULL stands for the CPU. */
typedef struct cli_device cli_device;

/* --device: the number of a CUDA device, or CLI_CPU, also where it is not given. CLI_DONE or CLI_MISUSE.
 */
int cli_take_device(const cli_option *option, int *number);

/* --accuracy, of attention on that device; wrong use on the CPU, which has one. CLI_DONE or CLI_MISUSE.
 */
int cli_take_accuracy(const cli_option *option, int number, bool *exact);
const char *cli_accuracy_name(bool exact);

/* CLI_DONE, or CLI_FAILED after a message. Release with cli_close_device() in every case. */
int cli_open_device(int number, cli_device **device);
void cli_close_device(cli_device *device);

/* Such as "cuda:0, NVIDIA H100 80GB HBM3". */
void cli_device_text(const cli_device *device, char *text, size_t size);

/* The calls below are for a device alone, not for NULL. What it refuses is TQ_E_DEVICE. */

/* Encodes positions first .. T-1 as tq_encoded_put() would, into an empty tensor: ring_start and
 * first_position are set, and where there are centres they are in their places. TQ_E_RANGE with the index
 * in heads->data of the first value of a vector whose norm is too large. */
tq_status cli_device_encode(cli_device *device, const cli_heads *heads, size_t first, tq_encoded *out);

/* Decodes all positions, oldest first, into dst [G][n_positions][D]. */
tq_status cli_device_decode(cli_device *device, const tq_encoded *encoded, tq_domain domain, float *dst);

/* What queries find: codes of both sides, and where positions age, float16 beside them. */
typedef struct cli_device_cache {
    const tq_encoded *k, *v; /* a window may look back on what is held alone */
    /* Of all positions, oldest first, [G][T][D], as they are in float16; NULL: codes alone. Queries find
     * in them the first n_sinks positions and those from young_from on. first_position is 0 then. */
    const float *k_young, *v_young;
    size_t n_sinks;
    /* [n_sequences] how many positions there are; NULL: all that are held. One for each query, which is
     * then the newest of its own; or one sequence (or 0), of which all queries are the newest. */
    size_t n_sequences;
    const size_t *lengths, *young_from;
} cli_device_cache;

/* Attention, out [H][n][D] lacks the centres of values, lse is [H][n]. Params as for cli_attend(), in the
 * original domain; query_end and parallel are not looked at. Queries without a mask may be more than the
 * positions. exact: TQ_CUDA_EXACT, else TQ_CUDA_FAST. */
tq_status cli_device_attend(cli_device *device, const tq_attention_params *params, bool exact,
                            const cli_device_cache *cache, const float *q, float *out, float *lse);

/* How long a call's work on the device takes, without the copies there and back: medians. */
typedef struct cli_device_timing {
    size_t samples;     /* in: how many, at least 1 */
    double seconds;     /* of one call */
    double spread;      /* of a copy's time over ours: half the interquartile range over the median */
    double bytes_per_s; /* that a copy within the device's memory reads and stores, timed in turn */
    size_t launches;    /* of a sample, one behind the other */
    size_t sets;        /* of attention's codes, which are gone round; else 1 */
} cli_device_timing;

/* The calls above repeat their work, once it is done, and fill this in; NULL: not any more. */
void cli_device_time(cli_device *device, cli_device_timing *timing);

/* What there is: false where this build has no CUDA. */
bool cli_has_cuda(void);
size_t cli_count_devices(void);

typedef struct cli_device_info {
    char device[16]; /* what --device takes */
    char name[256];
    char capability[16]; /* such as "9.0" */
    double memory_bytes;
    bool served; /* not too old */
} cli_device_info;

tq_status cli_describe_device(size_t number, cli_device_info *info);

#endif
