#!/bin/sh
# SPDX-License-Identifier: MIT
# Compares what a shared library exports with the list that was agreed on. A line that goes missing breaks
# programs; one that is added is a promise. Change the list on purpose, with the header.
# Usage: symbols.sh LIBRARY LIST
set -eu
exported=$(mktemp)
trap 'rm -f "$exported"' EXIT
nm -D --defined-only "$1" | awk '{ print $3 }' | LC_ALL=C sort >"$exported"
if grep -v '^tq_' "$exported"; then
    echo "$1 exports the names above, which do not begin with tq_"
    exit 1
fi
diff -u "$2" "$exported" || { echo "$1 (+) differs from the list $2 (-)"; exit 1; }
