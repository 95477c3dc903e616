/* SPDX-License-Identifier: MIT
 * Every kernel, for the instruction set whose vectors were included before; V_ISA is its name. */
#include "kernels/vec/contract.h"

#include "kernels/attend/attend_vec.h"
#include "kernels/attend/codes_vec.h"
#include "kernels/dequantize/dequantize_vec.h"
#include "kernels/pack/pack_vec.h"
#include "kernels/quantize/quantize_vec.h"
#include "kernels/requantize/requantize_vec.h"
#include "kernels/rotate/rotate_vec.h"
#include "kernels/scan/scan_vec.h"
#include "kernels/sum_squares/sum_squares_vec.h"
