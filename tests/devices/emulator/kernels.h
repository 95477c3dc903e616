/* SPDX-License-Identifier: MIT
 * The kernels of attention that are emulated, which plans take for those that are built in. */
#ifndef TESTS_DEVICES_EMULATOR_KERNELS_H
#define TESTS_DEVICES_EMULATOR_KERNELS_H

#include "attend/prepare.h"

namespace emulator {

unsigned threads_of(const void *kernel);

}

#endif
