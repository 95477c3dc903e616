/* SPDX-License-Identifier: MIT
 * Everything in libtqkv. tqkv/io.h belongs to libtqkv_io and is included on its own. */
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
