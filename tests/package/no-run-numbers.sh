#!/bin/sh
# SPDX-License-Identifier: MIT
# A library as it is installed, without its symbols, has no number of nvcc's run in it: that differs each time, and a
# wheel would too. nvcc puts one into names of static functions of the device that are not inlined, and of what those
# have in shared memory; inline ones have none.
# Usage: no-run-numbers.sh LIBRARY
set -eu
stripped=$(mktemp)
trap 'rm -f "$stripped"' EXIT
strip -o "$stripped" "$1"
grep -q -a tq_attend "$stripped" || { echo "$1 names no kernel: is it libtqkv_cuda?"; exit 1; }
if grep -a -o '_INTERNAL_[0-9a-f]*_[0-9a-z_]*' "$stripped"; then
    echo "$1 has the names above: make what they belong to inline instead of static"
    exit 1
fi
