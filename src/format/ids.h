/* SPDX-License-Identifier: MIT
 * Numbers for what codes mean: they change when a table does (docs/block.md, "Tables"). */
#ifndef TQ_FORMAT_IDS_H
#define TQ_FORMAT_IDS_H

#include "format/plan.h"

/* The centroids, the boundaries and the packing of a plan's codes. */
uint64_t tq_codebook_id(const tq_plan *plan);

/* The transform and the signs at a plan's dimension. */
uint64_t tq_rotation_id(const tq_plan *plan);

#endif
