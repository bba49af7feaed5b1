#!/bin/bash
# build.sh DIR: make the receive oracle in DIR from Debian's own OpenZFS packages.
#
# Leaves DIR/zrecv and DIR/zsend (they receive and send streams with the real OpenZFS code, in user
# space), DIR/zstream, DIR/zdb and DIR/versions (the packages it was made of). Needs apt, gcc and
# libssl-dev, and no root: nothing is installed. The contrib component is read through a private apt
# configuration, from the mirror that this machine's own apt uses.
#
# Exit status 3: this machine can't (another distribution, or no mirror known).
set -euo pipefail
umask 022

dir=${1:?usage: build.sh DIR}
here=$(cd "$(dirname "$0")" && pwd)

cant() {
    echo "build.sh: $*" >&2
    exit 3
}

# One line for each release that this has been tried on: the sonames of its OpenZFS and the spelling
# of its API (-D flags for the C sources).
. /etc/os-release
release=${VERSION_CODENAME:-}
case ${ID:-}/$release in
    debian/bookworm) zfs=4 zpool=5 nvpair=3 uutil=3 api=-DZFS21 ;;
    *) cant "the oracle is made of the OpenZFS packages of Debian 12 (bookworm); this machine is" \
        "${PRETTY_NAME:-unknown}. Run the tests on Debian 12, or in a container of it." ;;
esac
multiarch=$(gcc -print-multiarch)

mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
work=$dir/work
rm -rf "$work"
mkdir -p "$work"/apt/{none,state/lists/partial,cache/archives/partial} "$work"/{debs,src,inc/sys}
trap 'rm -rf "$work"' EXIT

# Where this machine's own apt would fetch the release from; asking needs no index on disk.
mirror=$(apt-get -o Dir::State::lists="$work/apt/state/lists" --print-uris update |
    sed -nE "s,^'([^']+)/dists/($release|stable)/InRelease'.*,\1,p" | head -n 1)
[ -n "$mirror" ] || cant "no $release mirror in this machine's apt sources (/etc/apt/sources.list.d)"

keyring=/usr/share/keyrings/debian-archive-keyring.gpg
[ -e "$keyring" ] || cant "$keyring is missing; install debian-archive-keyring"
echo "deb [signed-by=$keyring] $mirror $release contrib" > "$work/apt/sources.list"
cat > "$work/apt/apt.conf" << CONF
Dir::State "$work/apt/state";
Dir::State::status "/var/lib/dpkg/status";
Dir::Cache "$work/apt/cache";
Dir::Etc::sourcelist "$work/apt/sources.list";
Dir::Etc::sourceparts "$work/apt/none";
Dir::Etc::preferences "$work/apt/none/preferences";
Dir::Etc::preferencesparts "$work/apt/none";
Acquire::Languages "none";
Acquire::Retries "3";
APT::Sandbox::User "$(id -un)";
CONF
export APT_CONFIG=$work/apt/apt.conf
apt-get -qq update

# All of one version: headers of one OpenZFS over the library of another would read structures wrongly.
version=$(apt-cache show --no-all-versions "libzpool${zpool}linux" | sed -n 's/^Version: //p')
[ -n "$version" ] || cant "$mirror offers no libzpool${zpool}linux in $release contrib"
packages=()
for name in zfsutils-linux "libzfs${zfs}linux" "libzpool${zpool}linux" "libnvpair${nvpair}linux" \
    "libuutil${uutil}linux" libzfslinux-dev zfs-dkms; do
    packages+=("$name=$version")
done
(cd "$work/debs" && apt-get -qq download "${packages[@]}")
unset APT_CONFIG

rm -rf "$dir/root"
mkdir "$dir/root"
for deb in "$work"/debs/*.deb; do
    case $deb in
        */zfs-dkms_*) dpkg-deb -x "$deb" "$work/src" ;;
        *) dpkg-deb -x "$deb" "$dir/root" ;;
    esac
done
printf '%s\n' "$release" "${packages[@]}" > "$dir/versions"

# zfs_context.h asks for <sys/…> headers that Debian keeps in libzpool/.
for header in "$dir"/root/usr/include/libzpool/*.h; do
    echo "#include <libzpool/$(basename "$header")>" > "$work/inc/sys/$(basename "$header")"
done
# The -dev package lacks zfs_ioctl.h (dmu_replay_record_t); zfs-dkms has it.
headers=$(echo "$work"/src/usr/src/zfs-*/include)
libs=root/lib/$multiarch
program() {
    local name=$1 sources=("${@:2}")
    # shellcheck disable=SC2016 # $ORIGIN is for the dynamic linker.
    gcc -g -O1 -std=gnu11 -w -D_GNU_SOURCE -D_LARGEFILE64_SOURCE "$api" -I"$work/inc" \
        -I"$dir/root/usr/include" -I"$dir/root/usr/include/libspl" -I"$dir/root/usr/include/libzfs" \
        -idirafter "$headers" "${sources[@]/#/$here/}" -o "$dir/$name.bin" -L"$dir/$libs" \
        -l:libzpool.so.$zpool -l:libnvpair.so.$nvpair -lcrypto -lpthread \
        -Wl,-rpath,'$ORIGIN'"/$libs" -Wl,-rpath-link,"$dir/$libs"
}
program zrecv zrecv.c pool.c listing.c
program zsend zsend.c edits.c changes.c pool.c listing.c
rm -rf "$dir"/root/{etc,usr}

# The directory may be moved: each program finds its libraries beside itself.
wrapper() {
    cat > "$dir/$1" << WRAPPER
#!/bin/sh
here=\$(dirname "\$(readlink -f "\$0")")
LD_LIBRARY_PATH=\$here/$libs exec "\$here/$2" "\$@"
WRAPPER
    chmod 755 "$dir/$1"
}
wrapper zrecv zrecv.bin
wrapper zsend zsend.bin
wrapper zstream root/sbin/zstream
wrapper zdb root/sbin/zdb
