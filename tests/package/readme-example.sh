#!/bin/sh
# SPDX-License-Identifier: MIT
# Takes the first C example out of the README, and builds and runs it against the installed package.
# Usage: readme-example.sh COMPILER LIBDIR README
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
awk '/^```c$/ { inside = 1; next } inside && /^```$/ { exit } inside' "$3" >"$work/example.c"
[ -s "$work/example.c" ] || { echo "$3 has no block that begins with \`\`\`c"; exit 1; }
PKG_CONFIG_PATH=$2/pkgconfig
export PKG_CONFIG_PATH
# Evaluated, since a folder may have a blank in its name.
eval '"$1" -std=c11 -Wall -Wextra -Wpedantic -Werror "$work/example.c" -o "$work/example"' \
    "$(pkg-config --cflags --libs tqkv) -lm"
cd "$work"
LD_LIBRARY_PATH=$2 ./example
