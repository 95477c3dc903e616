#!/bin/sh
# SPDX-License-Identifier: MIT
# Gives cmake options that take results apart from their definition, in every place where they may stand, and
# expects it to refuse them by name.
# Usage: flags-refused.sh CMAKE COMPILER TREE
set -eu
cmake=$1 compiler=$2 tree=$3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# configure OPTION...
configure() {
    rm -rf "$work/build"
    "$cmake" -S "$(dirname "$0")/parent" -B "$work/build" -G Ninja -DCMAKE_C_COMPILER="$compiler" \
        -DTQKV_SOURCE="$tree" "$@" >"$work/log" 2>&1
}

# refused FLAG OPTION...
refused() {
    flag=$1
    shift
    if configure "$@"; then
        echo "not refused: $*"
        exit 1
    fi
    grep -qF "The C flags hold $flag:" "$work/log" || { cat "$work/log"; echo "refused otherwise: $*"; exit 1; }
}
configure -DPARENT_OPTIONS=-O2 || { cat "$work/log"; echo "a parent with -O2 is refused"; exit 1; }
refused -ffast-math -DPARENT_OPTIONS=-ffast-math
# shellcheck disable=SC2016
refused -ffinite-math-only '-DPARENT_OPTIONS=$<$<CONFIG:Release>:-ffinite-math-only>'
refused -funsafe-math-optimizations -DCMAKE_C_FLAGS=-funsafe-math-optimizations
refused -Ofast -DCMAKE_BUILD_TYPE=Release -DCMAKE_C_FLAGS_RELEASE=-Ofast
refused -Ofast -DCMAKE_BUILD_TYPE=MinSizeRel -DCMAKE_C_FLAGS_MINSIZEREL=-Ofast
refused -Ofast -G 'Ninja Multi-Config' -DCMAKE_C_FLAGS_RELWITHDEBINFO=-Ofast
