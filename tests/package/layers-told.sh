#!/bin/sh
# SPDX-License-Identifier: MIT
# The order of layers that check-layers keeps is the one that people are told.
# Usage: layers-told.sh SOURCE
set -eu
cd "$1"
order=$(sed -n 's/.*split("\([a-z0-9 ]*\)", order.*/\1/p' scripts/check-layers | sed 's/ / <- /g')
[ -n "$order" ] || { echo "scripts/check-layers has no order"; exit 1; }
for file in scripts/check-layers CONTRIBUTING.md docs/architecture.md; do
    grep -qF "$order" "$file" || { echo "$file does not say: $order"; exit 1; }
done
