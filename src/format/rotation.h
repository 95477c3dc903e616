/* SPDX-License-Identifier: MIT
 * Which rotation a format has at a head dimension. */
#ifndef TQ_FORMAT_ROTATION_H
#define TQ_FORMAT_ROTATION_H

#include "format/tables.h"

/* dim: 256 or 512. */
void tq_rotation_v1(tq_rotation *r, unsigned dim);

/* dim: a multiple of 16 from 32 to 1024. */
void tq_rotation_v2(tq_rotation *r, unsigned dim);

#endif
