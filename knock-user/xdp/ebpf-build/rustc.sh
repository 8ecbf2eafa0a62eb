#!/bin/sh
# Runs rustc, whose path and arguments are given, without the paths of this machine in its output.
# aya-build sets the flags of the compiler itself, so that they cannot be added in another way.
exec "$@" \
    "--remap-path-prefix=$KNOCK_RUSTUP=/rustup" \
    "--remap-path-prefix=$KNOCK_CARGO=/cargo" \
    "--remap-path-prefix=$KNOCK_ROOT=/knockd"
