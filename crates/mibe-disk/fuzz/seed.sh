#!/bin/sh
# Makes the first corpus of every target of the samples of tests/hostile.
set -eu
cd "$(dirname "$0")"
MIBE_FUZZ_CORPUS=$PWD/corpus
export MIBE_FUZZ_CORPUS
cargo test --quiet --manifest-path ../Cargo.toml --test hostile -- what_is_sound
