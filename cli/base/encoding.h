/* SPDX-License-Identifier: MIT
 * Whole tensors through the codec: rings, pieces of rows, sizes. */
#ifndef TQKV_CLI_ENCODING_H
#define TQKV_CLI_ENCODING_H

#include "base/command.h"
#include "base/device.h"
#include "base/heads.h"
#include "base/report.h"
#include "measure/distance.h"
#include "tqkv/io.h"

/* --center and --center-stretch. */
typedef struct cli_centre {
    enum { CLI_CENTRE_NONE, CLI_CENTRE_MEAN, CLI_CENTRE_LEARN, CLI_CENTRE_FILE } kind;
    const char *path; /* FILE */
    size_t stretch;   /* positions that share one; 0: all do */
} cli_centre;

/* CLI_DONE, or CLI_MISUSE after a message. takes_file: what is no other word names a file. */
int cli_take_centre(cli_centre *centre, const cli_option *center, const cli_option *stretch,
                    bool takes_file);

/* How many centres the positions first .. T-1 need. */
size_t cli_count_centres(const cli_centre *centre, const cli_heads *heads, size_t first);

/* Fills in the centres of positions first .. T-1, MEAN or LEARN: of each stretch the mean of those
 * positions, or what a cache learns, which has seen the stretch's first keys even where they are not
 * kept. Values are at most TQ_MAX_NORM. */
tq_status cli_make_centres(const cli_centre *centre, const cli_heads *heads, size_t first,
                           uint16_t *centres);

/* A text such as "means of stretches of 256 positions". */
void cli_centre_text(const cli_centre *centre, char *text, size_t size);

/* First position of T that a cache of that capacity still holds after all T were written. */
size_t cli_first_kept(size_t n_positions, size_t capacity);

/* Encodes the last positions that fit into `out`, position t in slot t % C, on the device or, if that is
 * NULL, on the CPU: to the same bytes. Takes the centres into account; sets n_positions, ring_start and
 * first_position. A vector whose norm is too large for float16 is TQ_E_RANGE. Advances the progress bar
 * by a unit a vector. On the CPU heads are tasks for `threads`; NULL: the calling one alone. */
tq_status cli_encode_heads(cli_device *device, const tq_parallel *threads, const cli_heads *heads,
                           tq_encoded *out);

/* Decodes all positions, oldest first, into dst [G][n_positions][D], likewise. A unit of progress a
 * position. */
tq_status cli_decode_all(cli_device *device, const tq_encoded *encoded, tq_domain domain, float *dst);

/* Decodes piece by piece and adds up the distance from the original heads (all T positions of them, of
 * which the last n_positions are compared). A unit of progress a vector. Heads are tasks. */
tq_status cli_measure(const tq_parallel *threads, const tq_encoded *encoded, const cli_heads *original,
                      measure_distance *distance);

/* Whether there are centres, how many, and how many positions share one (in JSON 0: all, or none): fields
 * for encode and info. */
void cli_report_centre(cli_report *report, const tq_encoded *encoded);

/* Numbers in all centres. */
size_t cli_centre_values(const tq_encoded *encoded);

/* Codes, norms, centres, unused slots: everything but the file's header. */
size_t cli_encoded_bytes(const tq_encoded *encoded);

/* cli_encoded_bytes() in bits over the G * n_positions * D values held; infinite if there are none. */
double cli_bits_per_value(const tq_encoded *encoded);

#endif
