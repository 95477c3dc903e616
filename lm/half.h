/* SPDX-License-Identifier: MIT
 * IEEE binary16, in integers: C11 has no such type. */
#ifndef LM_HALF_H
#define LM_HALF_H

#include <stdint.h>

/* The nearest, ties to even; infinity from 65520 on. x is no NaN. */
uint16_t lm_half(float x);
float lm_from_half(uint16_t half);

#endif
