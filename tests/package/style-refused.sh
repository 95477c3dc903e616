#!/bin/sh
# SPDX-License-Identifier: MIT
# Plants one slip of style at a time and expects check-style to name it.
# Usage: style-refused.sh CHECK_STYLE FORMAT     FORMAT: the tree's .clang-format
set -eu
clang-format-14 --version >/dev/null 2>&1 || { echo "skipped: no clang-format-14"; exit 77; }
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
mkdir "$tree/cli"
cp "$2" "$tree/.clang-format"
check=$1
licence='/* SPDX-License-Identifier: MIT */'
good='int f(int x) {
    if (x) return 1;
    return 0;
}'
printf '%s\n%s\n' "$licence" "$good" >"$tree/cli/good.c"
"$check" "$tree"

# refused WORDS TEXT
refused() {
    printf '%s\n' "$2" >"$tree/cli/bad.c"
    if output=$("$check" "$tree"); then
        echo "not refused: $2"
        exit 1
    fi
    echo "$output" | grep -q "cli/bad.c.*$1" || { echo "not named: $2: $output"; exit 1; }
}
refused "licence line" "$good"
refused "not formatted" "$licence
int f(int x) {
    if (x) {
        return 1;
    }
    return 0;
}"
refused "not formatted" "$licence
int f(int x) {
  return x;
}"
refused "more than 600 lines" "$licence
$(i=0; while [ $i -lt 600 ]; do echo "extern int x$i;"; i=$((i + 1)); done)"
