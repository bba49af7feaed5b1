#!/bin/sh
# Makes the first corpus of every target of the samples.
set -eu
cd "$(dirname "$0")"
samples=../tests/samples
mkdir -p corpus/stream corpus/resealed corpus/chain
for sample in "$samples"/*.zfs.xz; do
    name=$(basename "$sample" .zfs.xz)
    xz -dc "$sample" > "corpus/stream/$name"
    cp "corpus/stream/$name" "corpus/resealed/$name"
done
for name in v3 v5xd v5r4k z8; do
    size=$(wc -c < "corpus/stream/$name-full")
    # Its length in four bytes, the least significant first.
    printf '%b' "$(printf '\\%03o\\%03o\\%03o\\%03o' $((size & 255)) $((size >> 8 & 255)) \
        $((size >> 16 & 255)) $((size >> 24 & 255)))" > "corpus/chain/$name"
    cat "corpus/stream/$name-full" "corpus/stream/$name-incr" >> "corpus/chain/$name"
done
