#!/bin/sh
# SPDX-License-Identifier: MIT
# The tables compile as C, as OpenCL C and as CUDA, for the host and for the device.
# Usage: tables-anywhere.sh FOLDER_OF_TABLES
set -eu
command -v clang >/dev/null || { echo "clang is missing"; exit 77; }

# $1: what goes before the tables; then clang's options
compile() {
    before=$1
    shift
    for table in "$folder"/codebooks.inc "$folder"/rotations.inc; do
        { printf '%s\n' "$before"; cat "$table"; } | clang "$@" -Werror -fsyntax-only - ||
            { echo "$table does not compile: clang $*"; exit 1; }
    done
}

folder=$1
octets='typedef unsigned char uint8_t;'
quiet='-Wno-unused-const-variable -Wno-unused-variable'
# Split on purpose: options are several arguments.
# shellcheck disable=SC2086
{
    compile "$octets
#define TQ_TABLE static const" -x c -std=c11 $quiet
    compile "$octets
#define TQ_TABLE __constant" -x cl -cl-std=CL1.2 $quiet
    compile "$octets
#define TQ_TABLE static __attribute__((device)) const" -x cuda --cuda-device-only -nocudainc -nocudalib \
        --cuda-gpu-arch=sm_70 -Wno-unknown-cuda-version $quiet
}
echo "C, OpenCL C, CUDA"
