#!/bin/sh
# SPDX-License-Identifier: MIT
# Installs into one place, moves that to another, and leaves it there for the tests that use it.
# Usage: install.sh CMAKE BUILD_FOLDER PREFIX
set -eu
cmake=$1 build=$2 prefix=$3

rm -rf "$prefix" "$prefix.staged" "$prefix.runtime"
DESTDIR=$prefix.staged "$cmake" --install "$build" --prefix /elsewhere >/dev/null
mv "$prefix.staged/elsewhere" "$prefix"
rmdir "$prefix.staged" || { echo "files were installed outside the prefix"; exit 1; }

# Neither the tree nor the prefix that was named may be remembered by anything in text form.
if grep -rIlE "$build|/elsewhere" "$prefix"; then
    echo "the files above hold a path of the build"
    exit 1
fi

# xxHash is compiled in from its header: who uses the package need not have it, or may have another.
if grep -rIlE 'xxhash\.h|[-l]xxhash' "$prefix" ||
    find "$prefix" -name 'libtqkv*.a' -exec nm -g {} + 2>/dev/null | grep XXH; then
    echo "what is above wants xxHash"
    exit 1
fi

# What programs need to run is one component; nothing that is only for building is in it.
"$cmake" --install "$build" --prefix "$prefix.runtime" --component runtime >/dev/null
[ -n "$(find "$prefix.runtime" -name 'libtqkv.so.*')" ] || { echo "component runtime lacks libtqkv"; exit 1; }
if find "$prefix.runtime" -name '*.h' -o -name '*.a' -o -name '*.so' -o -name '*.cmake' -o -name '*.pc' |
    grep .; then
    echo "component runtime holds the files above, which are for building"
    exit 1
fi
