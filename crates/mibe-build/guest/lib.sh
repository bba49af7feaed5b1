# shellcheck shell=sh
# This Source Code Form is subject to the terms of the Mozilla Public License, v. 2.0.
# If a copy of the MPL was not distributed with this file, You can obtain one at https://mozilla.org/MPL/2.0/.
#
# What boot and scripts share. POSIX sh; needs only what coreutils or busybox have.

# Only tests set MIBE_GUEST_ROOT: every path then lies below it.
ROOT=${MIBE_GUEST_ROOT:-}
[ -n "$ROOT" ] || PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH

LOG=$ROOT/var/log/triton.log
STATE=$ROOT/var/lib/mibe-guest
WORK=$STATE/work
MDATA_GET=$ROOT/native/usr/sbin/mdata-get

# Seconds that one program may take. The platform gives a new zone 300 s in all, so boot gives up
# on metadata altogether after the first request that nobody answered.
LIMIT=${MIBE_GUEST_LIMIT:-30}
# The largest value taken from metadata, in bytes.
LARGEST=4194304

can_limit=
if timeout -s KILL 5 true 2>/dev/null; then
    can_limit=yes
fi

# Descriptor 3 stays the console or journal, wherever a function's output goes.
if (: 3>&1) 2>/dev/null; then
    exec 3>&1
else
    exec 3>/dev/null
fi

# Starts the log: standard error goes there, and an old log that has grown moves aside.
open_log() {
    folder "${LOG%/*}"
    rotate "$LOG"
    if (: >>"$LOG") 2>/dev/null; then
        exec 2>>"$LOG"
    fi
}

# folder PATH: makes a folder that everybody may enter, where there is none.
folder() {
    (umask 022 && mkdir -p "$1")
}

# rotate FILE: keeps at most one megabyte and one older file.
rotate() {
    if [ -f "$1" ] && [ "$(wc -c <"$1")" -gt 1048576 ]; then
        mv -f "$1" "$1.1"
    fi
}

# say TEXT: a line for the log and for the console or journal. No value from metadata goes in here
# before it was checked.
say() {
    said="$(date -u '+%Y-%m-%dT%H:%M:%SZ') mibe-guest: $*"
    printf '%s\n' "$said" >&2
    printf '%s\n' "$said" >&3
}

# limited SECONDS PROGRAM...: 137 if it had to be killed. Where timeout is of another make (busybox before
# 1.30), the program runs unbounded.
limited() {
    if [ -n "$can_limit" ]; then
        timeout -s KILL "$@"
    else
        shift
        "$@"
    fi
}

# get KEY FILE: writes the value of a metadata key into FILE. 0: done; 1: there is no such key;
# 2: it can't be had now.
get() {
    [ -x "$MDATA_GET" ] && [ -d "$WORK" ] && [ ! -e "$WORK/unanswered" ] || return 2
    # ulimit counts blocks of 512 bytes.
    (ulimit -f $((LARGEST / 512)) && limited "$LIMIT" "$MDATA_GET" "$1") >"$2" 2>/dev/null
    status=$?
    case $status in
    0)
        [ "$(wc -c <"$2")" -lt "$LARGEST" ] && return 0
        say "metadata $1: more than $LARGEST bytes, left out"
        ;;
    1)
        return 1
        ;;
    137)
        : >"$WORK/unanswered"
        say "metadata $1: no answer within $LIMIT s; going on without metadata"
        ;;
    *)
        say "metadata $1: mdata-get ended with status $status"
        ;;
    esac
    return 2
}

# short_value FILE: the beginning of a value that ought to be one line; what follows a line end stays
# in it, for the checks below to refuse.
short_value() {
    head -c 4096 "$1"
}

# put FILE MODE PATH: moves a finished file into its place, so that PATH is never half written.
put() {
    if [ -d "$3" ]; then
        say "$3 is a directory"
        return 1
    fi
    chmod "$2" "$1" && mv -f "$1" "$3"
}

# is_hostname NAME: RFC 1123, and not a name that every machine has.
is_hostname() {
    case $1 in
    '' | *[!A-Za-z0-9.-]* | [.-]* | *[.-] | *..* | *.-* | *-.*) return 1 ;;
    localhost | localhost.*) return 1 ;;
    esac
    first=${1%%.*}
    [ "${#1}" -le 253 ] && [ "${#first}" -le 63 ]
}

# is_address TEXT: looks like an IPv4 or IPv6 address.
is_address() {
    case $1 in
    '' | *[!0-9A-Fa-f.:]*) return 1 ;;
    *:*:*) ;;
    *:* | *[!0-9.]* | *.*.*.*.* | .* | *. | *..*) return 1 ;;
    *.*.*.*) ;;
    *) return 1 ;;
    esac
    [ "${#1}" -le 45 ]
}
