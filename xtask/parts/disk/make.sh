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

# shellcheck disable=SC2086 # a word for each file
mmdebstrap --quiet --variant=minbase --format=tar \
    --include=systemd-sysv,udev,dbus,cloud-init,cloud-guest-utils,cloud-initramfs-growroot,linux-image-cloud-amd64,openssh-server,ifupdown,isc-dhcp-client,iproute2,netbase,locales,ca-certificates,python3-serial \
    "$suite" root.tar $sources

# What vendors add, and the past of a machine that ran once on somebody else's cloud: an image of it must have none of that.
cat > root.sh <<'END'
set -eu
mkdir root
# The kernel makes /dev anew, and devices are nothing that the root of a namespace could make.
tar -C root -xpf root.tar --numeric-owner --exclude='./dev/*' --xattrs --xattrs-include='*'
mkdir -p root/boot/grub root/var/lib/cloud/instances/i-0c10d/sem
cp grub.cfg root/boot/grub/grub.cfg
echo 'LABEL=cloudimg-rootfs / ext4 rw,discard,errors=remount-ro 0 1' > root/etc/fstab
echo vendor > root/etc/hostname
echo 'nameserver 192.0.2.1' > root/etc/resolv.conf
echo 5f1d6c1e00004000800000000000c10d > root/etc/machine-id
# Else cloud-init makes en_US, which takes long where the processor is emulated.
echo 'LANG=C.UTF-8' > root/etc/default/locale
echo 'datasource_list: [ NoCloud, ConfigDrive, OpenStack, Ec2, None ]' > root/etc/cloud/cloud.cfg.d/90_dpkg.cfg
: > root/var/lib/cloud/instances/i-0c10d/sem/config_ssh
ln -s instances/i-0c10d root/var/lib/cloud/instance
echo 'It ran.' > root/var/log/cloud-init.log
# Its host keys are those that the package made.
test -s root/etc/ssh/ssh_host_ed25519_key
: > root.ext4
mke2fs -q -F -t ext4 -b 4096 -L cloudimg-rootfs -U 5f1d6c1e-0000-4000-8000-00000000c10d \
    -E root_owner=0:0,hash_seed=5f1d6c1e-0000-4000-8000-00000000c10d -d root root.ext4 "$1"
rm -rf root
END
# As root, or as the root of a namespace that has all of a user's ids.
if [ "$(id -u)" = 0 ]; then
    sh root.sh "$root_blocks"
else
    unshare --map-root-user --map-auto sh root.sh "$root_blocks"
fi
rm root.sh grub.cfg

truncate -s "${size}M" disk.raw
sgdisk --clear --set-alignment=2048 \
    --new=14:2048:+4M --typecode=14:ef02 \
    --new=15:0:+106M --typecode=15:ef00 \
    --new=1:$((root_start / 512)):0 --typecode=1:8300 \
    --disk-guid=5f1d6c1e-0000-4000-8000-000000000d15 disk.raw > /dev/null

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
