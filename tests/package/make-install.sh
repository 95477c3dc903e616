#!/bin/sh
# SPDX-License-Identifier: MIT
# `make install` into a folder with a blank in its name, given from the root and from here, and staged.
# Usage: make-install.sh TREE BUILD_FOLDER
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/build"
cp "$1/Makefile" "$work"
ln -s "$2" "$work/build/release"
cd "$work"
make -s install PREFIX="$work/with a blank" >/dev/null
make -s install PREFIX='a blank/too' >/dev/null
make -s install PREFIX='/with a blank' DESTDIR="$work/staged files" >/dev/null
for prefix in 'with a blank' 'a blank/too' 'staged files/with a blank'; do
    [ -f "$work/$prefix/include/tqkv/tqkv.h" ] || { echo "nothing was installed into $prefix"; ls -R; exit 1; }
done
[ "$(LC_ALL=C ls)" = "$(printf '%s\n' 'Makefile' 'a blank' 'build' 'staged files' 'with a blank')" ] || { ls; exit 1; }
