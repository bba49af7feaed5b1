#!/bin/sh
# Makes the disk that a vendor of cloud images would: Debian of this machine's suite with its own cloud-init, on a GPT with a root, a BIOS boot partition and
# an EFI system partition, booting by BIOS and by UEFI. No root is needed, no loop device, no mount.
#
# usage: make.sh FOLDER; leaves FOLDER/disk.raw and FOLDER/disk.qcow2 (compressed), and FOLDER/root.tar with the files.
set -eu
LC_ALL=C
export LC_ALL
PATH=$PATH:/usr/sbin:/sbin
folder=$(cd "$1" && pwd)
cd "$folder"
rm -rf root root.ext4 disk.raw
suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
size=2048 # MiB
root_start=$((128 * 1024 * 1024))
root_blocks=$(((size - 128 - 1) * 256)) # of 4 KiB; the last MiB is the second table's

# The archives that this machine installs from.
sources=
for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources; do
    if [ -s "$file" ]; then sources="$sources $file"; fi
done

cat > grub.cfg <<'END'
set timeout=0
search --no-floppy --set=root --label cloudimg-rootfs
menuentry 'Debian' {
    linux /vmlinuz root=LABEL=cloudimg-rootfs ro console=tty0 console=ttyS0,115200
    initrd /initrd.img
}
END

# shellcheck disable=SC2016 # the hooks are of mmdebstrap's shell
# shellcheck disable=SC2086 # a word for each file
mmdebstrap --quiet --variant=minbase --format=tar \
    --include=systemd-sysv,udev,dbus,cloud-init,cloud-guest-utils,cloud-initramfs-growroot,linux-image-cloud-amd64,openssh-server,ifupdown,isc-dhcp-client,iproute2,netbase,locales,ca-certificates,python3-serial \
    --customize-hook='echo LABEL=cloudimg-rootfs / ext4 rw,discard,errors=remount-ro 0 1 > "$1/etc/fstab"' \
    --customize-hook='echo debian > "$1/etc/hostname"' \
    --customize-hook='mkdir -p "$1/boot/grub" && cp grub.cfg "$1/boot/grub/grub.cfg"' \
    --customize-hook='printf "nameserver 192.0.2.1\n" > "$1/etc/resolv.conf"' \
    --customize-hook='ssh-keygen -q -A -f "$1" || chroot "$1" ssh-keygen -A' \
    "$suite" root.tar $sources

# As root, or as the root of a namespace whose users are all of a user's.
as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else mmdebstrap --unshare-helper "$@"; fi; }
as_root sh -c 'mkdir root && tar -C root -xpf root.tar --numeric-owner --xattrs --xattrs-include="*"'
as_root mke2fs -q -F -t ext4 -b 4096 -L cloudimg-rootfs -U 5f1d6c1e-0000-4000-8000-00000000c10d \
    -E root_owner=0:0,hash_seed=5f1d6c1e-0000-4000-8000-00000000c10d -d root root.ext4 "$root_blocks"
as_root rm -rf root

truncate -s "${size}M" disk.raw
sgdisk --clear --set-alignment=2048 \
    --new=14:2048:+4M --typecode=14:ef02 \
    --new=15:0:+106M --typecode=15:ef00 \
    --new=1:$((root_start / 512)):0 --typecode=1:8300 \
    --disk-guid=5f1d6c1e-0000-4000-8000-000000000d15 disk.raw > sgdisk.log

# The files, where nothing but zeroes stays a hole.
dd if=root.ext4 of=disk.raw bs=1M seek=$((root_start / 1048576)) conv=notrunc,sparse status=none
rm root.ext4

# UEFI: a GRUB that has all it needs in one file.
modules="part_gpt part_msdos ext2 fat normal linux search search_label configfile echo test serial terminal"
# shellcheck disable=SC2016 # the variables are GRUB's
printf 'search --no-floppy --set=root --label cloudimg-rootfs\nset prefix=($root)/boot/grub\nconfigfile $prefix/grub.cfg\n' > early.cfg
# shellcheck disable=SC2086 # a word for each module
grub-mkimage -O x86_64-efi -o bootx64.efi -p /boot/grub -c early.cfg $modules
start=$(sgdisk -i 15 disk.raw | sed -n 's/^First sector: \([0-9]*\).*/\1/p')
truncate -s 106M esp.fat
mkfs.fat -F 32 -i 5F1D6C1E -n UEFI esp.fat > /dev/null
mmd -i esp.fat ::/EFI ::/EFI/BOOT
mcopy -i esp.fat bootx64.efi ::/EFI/BOOT/BOOTX64.EFI
dd if=esp.fat of=disk.raw bs=512 seek="$start" conv=notrunc,sparse status=none
rm esp.fat bootx64.efi

# BIOS: GRUB's first sector, which knows where its core is, and the core, which knows where its own rest is.
# shellcheck disable=SC2086 # a word for each module
grub-mkimage -O i386-pc -o core.img -p /boot/grub -c early.cfg biosdisk $modules
start=$(sgdisk -i 14 disk.raw | sed -n 's/^First sector: \([0-9]*\).*/\1/p')
number() { # little-endian, 8 bytes
    printf '%016x' "$1" | sed 's/\(..\)\(..\)\(..\)\(..\)\(..\)\(..\)\(..\)\(..\)/\\x\8\\x\7\\x\6\\x\5\\x\4\\x\3\\x\2\\x\1/'
}
poke() { # file, offset, number
    # printf of coreutils knows \x; that of dash does not.
    /usr/bin/printf "$(number "$3")" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}
poke core.img $((0x1f4)) $((start + 1))
# What poke wrote beyond the number of the sector: the number of sectors, and the segment.
sectors=$(((($(wc -c < core.img) + 511) / 512) - 1))
/usr/bin/printf "$(printf '\\x%02x\\x%02x\\x20\\x08' $((sectors % 256)) $((sectors / 256)))" |
    dd of=core.img bs=1 seek=$((0x1fc)) conv=notrunc status=none
dd if=core.img of=disk.raw bs=512 seek="$start" conv=notrunc status=none
cp /usr/lib/grub/i386-pc/boot.img boot.img
poke boot.img $((0x5c)) "$start"
# All but the table.
dd if=boot.img of=disk.raw bs=1 count=440 conv=notrunc status=none
rm -f core.img boot.img early.cfg

qemu-img convert -f raw -O qcow2 -c disk.raw disk.qcow2.new
mv disk.qcow2.new disk.qcow2
