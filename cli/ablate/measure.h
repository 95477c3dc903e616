/* SPDX-License-Identifier: MIT
 * A path of an ablation measured against float64, row by row and stretch by stretch. */
#ifndef TQKV_CLI_ABLATE_MEASURE_H
#define TQKV_CLI_ABLATE_MEASURE_H

#include "ablate/ablate.h"

/* What every path is compared with. */
typedef struct cli_references {
    measure_exact original, decoded;
    double *original_out, *decoded_out; /* [H][n][D] */
} cli_references;

/* CLI_DONE or CLI_FAILED after a message. Release with cli_references_end() in every case. A unit of
 * progress a head, as for a path. */
int cli_references_begin(cli_references *references, const measure_exact *original,
                         const measure_exact *decoded);
void cli_references_end(cli_references *references);

/* Runs and measures the path. own: float64 on what it should read. Fills in the row, and the result's
 * finding if this path is the first to be wrong. CLI_DONE or CLI_FAILED after a message. */
int cli_measure_path(const cli_references *references, const cli_path *path, const measure_exact *own,
                     cli_ablation *result, cli_ablate_row *row);

#endif
