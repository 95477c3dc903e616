#!/bin/sh
# SPDX-License-Identifier: MIT
# Builds and runs a program with the flags that pkg-config gives, linked shared and static.
# Usage: pkg-config.sh COMPILER LIBDIR SOURCE MODULE
set -eu
compiler=$1 libdir=$2 source=$3 module=$4
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
PKG_CONFIG_PATH=$libdir/pkgconfig
export PKG_CONFIG_PATH

# Evaluated, since a folder may have a blank in its name.
eval '"$compiler" -std=c11 "$source" -o "$work/shared"' "$(pkg-config --cflags --libs "$module")"
(cd "$work" && LD_LIBRARY_PATH=$libdir ./shared)

# The static libraries of this package and the shared ones of all others.
static=$(pkg-config --static --libs "$module" | sed 's/-ltqkv[^ ]*/-Wl,-Bstatic & -Wl,-Bdynamic/g')
eval '"$compiler" -std=c11 "$source" -o "$work/static"' "$(pkg-config --cflags "$module") $static"
(cd "$work" && ./static)
