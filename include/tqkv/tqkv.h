/* SPDX-License-Identifier: MIT
 * Everything in libtqkv. tqkv/io.h belongs to libtqkv_io, tqkv/cuda.h and tqkv/cuda_attention.h to
 * libtqkv_cuda: they are included on their own.
 *
 * Structs that begin with `size` may grow: set it to the sizeof of yours. What an older caller lacks
 * counts as 0; what a newer one has, and the library at hand does not know, must be 0 (TQ_E_UNSUPPORTED).
 * The others (tq_codec, tq_batch, tq_view, tq_segment, tq_sequence, tq_cache_layer, tq_parallel,
 * tq_allocator, and those of v1.h) are parts of arrays or of these, and do not change within a soname. */
#ifndef TQKV_TQKV_H
#define TQKV_TQKV_H

#include "tqkv/attention.h"
#include "tqkv/block.h"
#include "tqkv/cache.h"
#include "tqkv/codec.h"
#include "tqkv/cpu.h"
#include "tqkv/runtime.h"
#include "tqkv/status.h"
#include "tqkv/types.h"
#include "tqkv/v1.h"
#include "tqkv/version.h"
#include "tqkv/view.h"

#endif
