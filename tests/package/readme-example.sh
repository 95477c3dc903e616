#!/bin/sh
# SPDX-License-Identifier: MIT
# The README's C example is a piece of a program that is compiled and run, to the letter.
# Usage: readme-example.sh README PROGRAM
set -eu
awk '
    FNR == 1 { file++ }
    file == 2 { program = program $0 "\n"; next }
    $0 == "```c" { inside = 1; next }
    $0 == "```" { inside = 0 }
    inside { example = example $0 "\n" }
    END {
        if (example == "") { print ARGV[1] " has no block that begins with ```c"; exit 1 }
        if (!index(program, example)) { print ARGV[1] ": its C example is not in " ARGV[2]; exit 1 }
    }' "$1" "$2"
