#!/bin/sh
# SPDX-License-Identifier: MIT
# Compiles every public header by itself and twice over, as C11 and as C++17, with the compilers here.
# Usage: headers-alone.sh INCLUDE_FOLDER
set -eu
cd "$1"
compiled=0
for header in tqkv/*.h; do
    for compiler in gcc clang; do
        command -v "$compiler" >/dev/null || continue
        for language in "c -std=c11 -Wstrict-prototypes" "c++ -std=c++17"; do
            # Split on purpose: a language is several arguments.
            # shellcheck disable=SC2086
            printf '#include <%s>\n#include <%s>\n' "$header" "$header" |
                "$compiler" -x $language -I. -Wall -Wextra -Wpedantic -Werror -fsyntax-only - ||
                { echo "$header does not compile alone: $compiler -x $language"; exit 1; }
            compiled=$((compiled + 1))
        done
    done
done
[ "$compiled" -gt 0 ] || { echo "no header was compiled"; exit 1; }
echo "$compiled compilations"
