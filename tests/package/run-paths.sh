#!/bin/sh
# SPDX-License-Identifier: MIT
# Looks at the run paths of all programs and shared libraries in some folders: each entry begins with $ORIGIN,
# or is the absolute path of a system's folder. An empty or relative one would load libraries out of the current
# folder, and one into the tree or the build out of a folder that others may own elsewhere.
# Usage: run-paths.sh TREE BUILD_FOLDER FOLDER...
set -eu
tree=$1 build=$2
shift 2

# Files with their run paths; one that has none gives nothing.
run_paths() {
    find "$@" -maxdepth 1 -type f ! -name '*.a' ! -name '*.o' -exec sh -c '
        for file; do
            [ "$(head -c 4 "$file" | tr -d "\177")" = ELF ] || continue
            readelf -d "$file" | sed -n "s|.*(R.*PATH).*\[\(.*\)\]|$file: :\1:|p"
        done' sh {} +
}
all=$(run_paths "$@")
[ -n "$all" ] || { echo "no file here has a run path"; exit 1; }
echo "$all" | awk -v tree="$tree/" -v build="$build/" '
    {
        paths = substr($0, index($0, ": :") + 3)
        n = split(substr(paths, 1, length(paths) - 1), entry, ":")
        for (i = 1; i <= n; i++) {
            ok = entry[i] ~ /^\$ORIGIN(\/|$)/ || (entry[i] ~ /^\// && index(entry[i] "/", tree) != 1 &&
                                                   index(entry[i] "/", build) != 1)
            if (!ok) { print "\"" entry[i] "\" in " $0; wrong = 1 }
        }
        if (n == 0) { print "empty: " $0; wrong = 1 }
    }
    END { if (wrong) exit 1; print NR " files" }'
