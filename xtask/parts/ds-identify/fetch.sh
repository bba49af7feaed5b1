#!/bin/sh
# Fetches the ds-identify of the cloud-init of several Debians, as their archive signs it: FOLDER/SUITE/ds-identify.
#
# usage: fetch.sh FOLDER
set -eu
mkdir -p "$1"
folder=$(cd "$1" && pwd)
mirror=${MIBE_DEBIAN_MIRROR:-http://deb.debian.org/debian}
for suite in bullseye bookworm trixie; do
    if [ -s "$folder/$suite/ds-identify" ]; then continue; fi
    # An apt of its own, that knows this suite alone.
    apt=$(mktemp -d)
    trap 'rm -rf "$apt"' EXIT
    mkdir -p "$apt/state/lists/partial" "$apt/cache/archives/partial" "$apt/etc/preferences.d" "$apt/etc/sources.list.d" "$folder/$suite"
    : > "$apt/state/status"
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main" > "$apt/etc/sources.list"
    set -- -q -o "Dir::State=$apt/state" -o "Dir::State::status=$apt/state/status" -o "Dir::Cache=$apt/cache" \
        -o "Dir::Etc::SourceList=$apt/etc/sources.list" -o "Dir::Etc::SourceParts=$apt/etc/sources.list.d" -o APT::Sandbox::User=root -o Acquire::Languages=none
    apt-get "$@" update > "$apt/log" 2>&1 || { cat "$apt/log" >&2; exit 1; }
    (cd "$apt" && apt-get "$@" download cloud-init >> "$apt/log" 2>&1) || { cat "$apt/log" >&2; exit 1; }
    dpkg-deb --fsys-tarfile "$apt"/cloud-init_*.deb | tar -xO --wildcards '*/cloud-init/ds-identify' > "$folder/$suite/part"
    mv "$folder/$suite/part" "$folder/$suite/ds-identify"
    rm -rf "$apt"
done
