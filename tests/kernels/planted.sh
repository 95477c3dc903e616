#!/bin/sh
# SPDX-License-Identifier: MIT
# Expects check_kernels, built with a wrong lane mask in the vector kernels, to fail: on the rotation of every
# vector level that the machine has, and not on the scalar one. Status 77 where there is no vector level.
# Usage: planted.sh [EMULATOR] CHECK_KERNELS_PLANTED
set -u
unset TQKV_ISA

# Of levels that are no more than a product of bytes the rotation is that of another.
levels=0
for level in scalar avx2 avx512 avx512vbmi neon; do
    "$@" --has "$level"
    case $? in
    0) ;;
    77) continue ;;
    *) exit 1 ;;
    esac
    output=$("$@" --op rotate --isa "$level")
    status=$?
    if [ "$level" = scalar ]; then
        [ "$status" -eq 0 ] || { echo "scalar: status $status, 0 was expected"; echo "$output"; exit 1; }
        continue
    fi
    levels=$((levels + 1))
    if [ "$status" -ne 1 ] || ! echo "$output" | grep -q "^FAIL rotate  *$level "; then
        echo "$level: the planted fault was not found (status $status)"
        echo "$output"
        exit 1
    fi
    echo "$level: found"
done
[ "$levels" -gt 0 ] || exit 77
