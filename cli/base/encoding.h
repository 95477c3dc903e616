/* SPDX-License-Identifier: MIT
 * Whole tensors through the codec: rings, pieces of rows, sizes. */
#ifndef TQKV_CLI_ENCODING_H
#define TQKV_CLI_ENCODING_H

#include "base/heads.h"
#include "measure/distance.h"
#include "tqkv/io.h"

/* First position of T that a cache of that capacity still holds after all T were written. */
size_t cli_first_kept(size_t n_positions, size_t capacity);

/* Encodes the last positions that fit into `out`, position t in slot t % C. Takes out->centre into
 * account; sets n_positions and ring_start. Advances the progress bar by a unit a position. */
tq_status cli_encode_heads(const cli_heads *heads, tq_encoded *out);

/* Decodes all positions, oldest first, into dst [G][n_positions][D]. A unit of progress a position. */
tq_status cli_decode_all(const tq_encoded *encoded, tq_domain domain, float *dst);

/* Decodes piece by piece and adds up the distance from the original heads (all T positions of them, of
 * which the last n_positions are compared). A unit of progress a position. */
tq_status cli_measure(const tq_encoded *encoded, const cli_heads *original, measure_distance *distance);

/* The mean over positions first .. T-1 of each head: centre [G][D]. */
void cli_mean_centre(const cli_heads *heads, size_t first, float *centre);

/* Codes, norms, centre, unused slots: everything but the file's header. */
size_t cli_encoded_bytes(const tq_encoded *encoded);

/* cli_encoded_bytes() in bits over the G * n_positions * D values held; infinite if there are none. */
double cli_bits_per_value(const tq_encoded *encoded);

#endif
