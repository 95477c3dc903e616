#!/bin/sh
# SPDX-License-Identifier: MIT
# Plants one wrong #include at a time and expects check-layers to name it.
# Usage: layers-refused.sh CHECK_LAYERS
set -eu
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
mkdir -p "$tree/src/base" "$tree/src/format" "$tree/src/cpu" "$tree/src/kernels" "$tree/src/codec" "$tree/src/attention" \
    "$tree/src/v1" \
    "$tree/io" "$tree/measure" "$tree/lm" "$tree/cli/base" "$tree/cli/eval" "$tree/cli/bench"
echo '#include "base/size.h"' >"$tree/src/v1/good.c"
echo '#include "kernels/kernels.h"' >"$tree/src/cpu/dispatch.c"
echo '#include "own.h"' >"$tree/io/good.c"
printf '#include "%s"\n' lm/lm.h measure/exact.h base/report.h >"$tree/cli/good.c"
cp "$tree/cli/good.c" "$tree/cli/base/good.c"
echo '#include "eval/eval.h"' >>"$tree/cli/eval/good.c"
check=$1
"$check" "$tree"

# refused FILE INCLUDED
refused() {
    printf '#include "%s"\n' "$2" >"$tree/$1"
    if output=$("$check" "$tree"); then
        echo "not refused: $1 includes $2"
        exit 1
    fi
    echo "$output" | grep -qF "$1:1: includes \"$2\"" || { echo "not named: $1 includes $2: $output"; exit 1; }
    rm "$tree/$1"
}
refused src/base/bad.c cpu/dispatch.h
refused src/format/bad.c kernels/kernels.h
refused src/kernels/bad.h cpu/dispatch.h
refused src/codec/bad.inc v1/attend.h
refused src/attention/bad.c cache/cache.h
refused src/codec/bad.c plan.h
refused src/v1/bad.c tqkv/io.h
refused src/v1/bad.c ../cli/options.h
refused io/bad.c base/size.h
refused lm/bad.c cli/options.h
refused measure/bad.c base/message.h
refused measure/bad.c lm/lm.h
refused io/bad.c lm/lm.h
refused cli/bad.c io/npy.h
refused cli/bad.c lm/model.h
refused cli/bad.c eval/eval.h
refused cli/base/bad.c eval/eval.h
refused cli/bench/bad.c eval/eval.h
refused cli/eval/bad.c report.h
