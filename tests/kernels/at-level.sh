#!/bin/sh
# SPDX-License-Identifier: MIT
# Runs a test program with the kernels of a level; status 77 where the machine lacks it.
# Usage: at-level.sh CHECK_KERNELS LEVEL PROGRAM [ARGUMENT]...
set -eu
check=$1 level=$2
shift 2
"$check" --has "$level" || exit $?
TQKV_ISA=$level exec "$@"
