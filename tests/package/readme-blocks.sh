#!/bin/sh
# SPDX-License-Identifier: MIT
# Runs the README's shell blocks as they are typed in a fresh clone after `make`. Of make itself each target must be
# there; what it would do is tested elsewhere.
# Usage: readme-blocks.sh SOURCE BINDIR LIBDIR
set -eu
source=$1
clone=$(mktemp -d)
trap 'rm -rf "$clone"' EXIT
for entry in "$source"/*; do
    [ "${entry##*/}" = build ] || ln -s "$entry" "$clone"
done
mkdir -p "$clone/build/release"
ln -s "$2" "$clone/build/release/bin"
ln -s "$3" "$clone/build/release/lib"

# block NAME: the insides of all blocks that begin with ```NAME
block() {
    awk -v begin="\`\`\`$1" '$0 == begin { inside = 1; next } $0 == "```" { inside = 0 } inside' "$source/README.md"
}
block sh >"$clone/typed"
for word in 'make ' 'tqkv encode' 'tqkv attend' 'cc '; do
    grep -q "^$word" "$clone/typed" || { echo "no line of README.md's shell blocks begins with '$word'"; exit 1; }
done
! grep -n '^    \(tqkv\|make\|cc\) ' "$source/README.md" || { echo "commands outside of a shell block"; exit 1; }

cd "$clone"
make() {
    command make -n DEPS=: "$@" >/dev/null
}
unset LD_LIBRARY_PATH TQKV_ISA
set -x
. ./typed
