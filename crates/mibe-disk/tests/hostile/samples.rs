//! Small disks of every kind, made by the programs that everybody has for them.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::targets::CUT;

/// A good input of a target, and where in it what its parser reads is.
pub struct Sample {
    pub target: &'static str,
    pub name: String,
    pub bytes: Vec<u8>,
    pub places: Vec<std::ops::Range<usize>>,
}

pub fn run(program: &str, arguments: &[&str]) {
    let path = format!(
        "{}:/usr/sbin:/sbin",
        std::env::var("PATH").unwrap_or_default()
    );
    let output = Command::new(program)
        .args(arguments)
        .env("PATH", path)
        .env("LC_ALL", "C")
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}; `cargo xtask test` installs it"));
    assert!(output.status.success(), "{program}: {output:?}");
}

/// Bytes that don't compress.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_u64;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    })
    .take(length)
    .collect()
}

const SCRIPT: &str = "DI_DSLIST_DEFAULT=\"NoCloud ConfigDrive SmartOS Ec2 None\"\nDI_DEFAULT_POLICY=\"search,found=all\"\n\
    out=$(grep \"$key\nget_single_line_flow_sequence\nif [ \"${#line}\" -eq 0 ]\nds) _rc_dsname\nval=${val%%;*}\n\
    dscheck_NoCloud() {\n DI_KERNEL_CMDLINE check_config seedfrom\n}\n";
const CONFIG: &str = "users:\n - default\nsystem_info:\n  default_user:\n    name: debian # x\ndatasource_list: [ NoCloud, \"Ec2\", SmartOS ]\n";
const GRUB: &str =
    "menuentry 'x' {\n linux /vmlinuz root=/dev/vda1 ro console=ttyS0 ds=nocloud;s=x\n}\n";

/// A system's files, with what parsers of file systems stumble over.
fn tree(folder: &Path) -> String {
    let tree = folder.join("tree");
    for (path, content) in [
        ("etc/os-release", "ID=test\nPRETTY_NAME=\"Test 1\"\n"),
        ("etc/cloud/cloud.cfg", CONFIG),
        (
            "etc/cloud/cloud.cfg.d/90_x.cfg",
            "datasource_list:\n - Ec2\n",
        ),
        ("etc/cloud/ds-identify.cfg", "policy: search\n"),
        ("usr/lib/cloud-init/ds-identify", SCRIPT),
        ("boot/grub/grub.cfg", GRUB),
        ("etc/machine-id", "0123456789abcdef0123456789abcdef\n"),
        ("etc/ssh/ssh_host_rsa_key", "key"),
        ("var/lib/cloud/instances/one/two/file", "x"),
        ("var/log/wtmp", "log"),
        ("empty", ""),
    ] {
        let path = tree.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    fs::create_dir_all(tree.join("many")).unwrap();
    for number in 0..60 {
        fs::write(
            tree.join(format!("many/a name that takes room {number}")),
            "",
        )
        .unwrap();
    }
    let sparse = fs::File::create(tree.join("sparse")).unwrap();
    for number in 0..12 {
        std::os::unix::fs::FileExt::write_all_at(&sparse, b"x", number * 20_000).unwrap();
    }
    fs::write(tree.join("large"), noise(30_000)).unwrap();
    std::os::unix::fs::symlink("many/../large", tree.join("link")).unwrap();
    std::os::unix::fs::symlink("x".repeat(100), tree.join("long link")).unwrap();
    std::os::unix::fs::symlink("loop", tree.join("loop")).unwrap();
    let large = tree.join("large");
    run(
        "setfattr",
        &["-n", "user.small", "-v", "value", large.to_str().unwrap()],
    );
    run(
        "setfattr",
        &[
            "-n",
            "user.large",
            "-v",
            &"v".repeat(300),
            large.to_str().unwrap(),
        ],
    );
    tree.to_str().unwrap().to_owned()
}

fn ext4(folder: &Path, tree: &str, options: &[&str], offset: u64, path: &str) {
    let offset = format!("offset={offset}");
    let mut arguments = vec![
        "-q", "-F", "-N", "160", "-L", "root", "-E", &offset, "-d", tree,
    ];
    arguments.extend(options);
    arguments.extend([path, "512K"]);
    run("mke2fs", &arguments);
    assert!(folder.exists());
}

/// A disk of everything: a GPT, a FAT that boots, an ext4 with a system.
fn whole(folder: &Path, tree: &str) -> Vec<u8> {
    let path = folder.join("whole");
    fs::File::create(&path).unwrap().set_len(768 << 10).unwrap();
    let name = path.to_str().unwrap();
    run(
        "sgdisk",
        &[
            "-a",
            "8",
            "-n",
            "15:64:319",
            "-t",
            "15:ef00",
            "-n",
            "1:320:1343",
            "-n",
            "14:40:47",
            "-t",
            "14:ef02",
            name,
        ],
    );
    let esp = folder.join("esp");
    fs::File::create(&esp).unwrap().set_len(128 << 10).unwrap();
    let esp_name = esp.to_str().unwrap();
    run("mkfs.fat", &[esp_name]);
    run("mmd", &["-i", esp_name, "::/EFI", "::/EFI/BOOT"]);
    let program = format!("{tree}/etc/os-release");
    run(
        "mcopy",
        &["-i", esp_name, &program, "::/EFI/BOOT/BOOTX64.EFI"],
    );
    ext4(
        folder,
        tree,
        &["-t", "ext4", "-b", "1024", "-O", "^has_journal"],
        320 * 512,
        name,
    );
    let mut bytes = fs::read(&path).unwrap();
    bytes[64 * 512..320 * 512].copy_from_slice(&fs::read(&esp).unwrap());
    bytes[..3].copy_from_slice(&[0xEB, 0x63, 0x90]);
    bytes
}

/// All of them.
pub fn all() -> Vec<Sample> {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let mut samples = Vec::new();
    let mut add = |target, name: &str, bytes: Vec<u8>, places: Vec<std::ops::Range<usize>>| {
        let places = if places.is_empty() {
            std::iter::once(0..bytes.len()).collect()
        } else {
            places
        };
        samples.push(Sample {
            target,
            name: name.to_owned(),
            bytes,
            places,
        });
    };
    let tree = tree(folder);
    let kinds: [(&str, &[&str]); 5] = [
        ("plain", &["-t", "ext4", "-b", "1024", "-O", "^has_journal"]),
        (
            "inline",
            &[
                "-t",
                "ext4",
                "-b",
                "1024",
                "-I",
                "512",
                "-O",
                "^has_journal,inline_data,ea_inode",
            ],
        ),
        ("ext2", &["-t", "ext2", "-b", "1024"]),
        (
            "large",
            &[
                "-t",
                "ext4",
                "-b",
                "4096",
                "-O",
                "^has_journal,64bit,meta_bg,^resize_inode",
            ],
        ),
        (
            "32bit",
            &[
                "-t",
                "ext4",
                "-b",
                "1024",
                "-O",
                "^has_journal,^64bit,^metadata_csum",
                "-g",
                "256",
            ],
        ),
    ];
    for (name, options) in kinds {
        let path = folder.join(name);
        ext4(folder, &tree, options, 0, path.to_str().unwrap());
        let bytes = fs::read(&path).unwrap();
        let end = bytes.len();
        add(
            "ext4",
            name,
            bytes,
            vec![1024..1024 + 512, 2048..8192, 0..end / 4, 0..end],
        );
    }
    let disk = whole(folder, &tree);
    let end = disk.len();
    let (fat, root) = (64 * 512, 320 * 512);
    let places = vec![
        0..34 * 512,
        end - 33 * 512..end,
        fat..fat + 8192,
        root + 1024..root + 2048,
        root..root + 131_072,
    ];
    add("inspect", "whole", disk.clone(), places);
    add(
        "fat",
        "esp",
        disk[fat..root].to_vec(),
        vec![0..512, 512..8192],
    );
    let mut table = disk[..64 * 512].to_vec();
    table.extend(&disk[end - 64 * 512..]);
    let length = table.len();
    add(
        "table",
        "gpt",
        table,
        vec![446..512, 512..1024, 1024..2048, length - 512..length],
    );
    let mut chain = vec![0; 4096];
    for (sector, entries) in [
        (0, [(0x83, 1, 1), (5, 2, 6)]),
        (2, [(0x83, 1, 1), (5, 1, 2)]),
        (3, [(0x83, 1, 1), (0, 0, 0)]),
    ] {
        for (index, (kind, first, count)) in entries.into_iter().enumerate() {
            let at = sector * 512 + 446 + 16 * index;
            chain[at + 4] = kind;
            chain[at + 8] = first;
            chain[at + 12] = count;
        }
        chain[sector * 512 + 510..sector * 512 + 512].copy_from_slice(&[0x55, 0xAA]);
    }
    add("table", "mbr", chain, vec![446..512, 1024 + 446..1536]);
    let raw = folder.join("whole.raw");
    fs::write(&raw, &disk).unwrap();
    let kinds: [(&str, &[&str]); 6] = [
        ("plain", &[]),
        ("old", &["-o", "compat=0.10"]),
        ("small", &["-c", "-o", "cluster_size=512"]),
        ("zlib", &["-c", "-o", "cluster_size=4k"]),
        ("zstd", &["-c", "-o", "compression_type=zstd"]),
        ("extended", &["-c", "-o", "extended_l2=on,cluster_size=16k"]),
    ];
    for (name, options) in kinds {
        let path = folder.join(format!("{name}.qcow2"));
        let mut arguments = vec!["convert", "-f", "raw", "-O", "qcow2"];
        arguments.extend(options);
        arguments.extend([raw.to_str().unwrap(), path.to_str().unwrap()]);
        run("qemu-img", &arguments);
        let bytes = fs::read(&path).unwrap();
        // Entries of tables have the bits that they are copied in, or compressed.
        let tables = bytes
            .chunks(8)
            .enumerate()
            .filter(|(_, entry)| matches!(entry, [0x40..=0x80, 0 | 1, ..]));
        let mut places: Vec<_> = tables
            .map(|(at, _)| at * 8..at * 8 + 16)
            .take(500)
            .collect();
        places.extend([0..112, 0..112]);
        let end = bytes.len();
        places.push(0..end);
        for target in ["qcow2", "qcow2_inspect"] {
            let places = places
                .iter()
                .map(|place| place.start..place.end.min(end))
                .collect();
            add(target, name, bytes.clone(), places);
        }
    }
    for (name, text) in [
        (
            "flat",
            "# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID=ffffffff\ncreateType=\"monolithicFlat\"\nRW 2 FLAT \"data.vmdk\" 0\n",
        ),
        (
            "split",
            "# Disk DescriptorFile\nparentCID=ffffffff\nRW 2 SPARSE \"data.vmdk\"\nRW 2 SPARSE \"data.vmdk\"\nRDONLY 1 ZERO\n",
        ),
    ] {
        add("vmdk", name, text.as_bytes().to_vec(), vec![]);
    }
    let files = [
        SCRIPT,
        CONFIG,
        "datasource_list:\n - Ec2\n",
        "datasource: Ec2\n#datasource_list: [ A ]\n",
        "policy: enabled,maybe=all\n",
        "ID=x\n",
        "options root=x $kernelopts\n",
        "kernelopts=ds=nocloud ci.ds=Ec2\n",
        GRUB,
        "_PACKAGED_VERSION = '24.1'\n",
        "nameserver 1.2.3.4\n",
        "0123\n",
    ];
    add(
        "guest",
        "debian",
        files.map(str::as_bytes).join(&[CUT][..]),
        vec![],
    );
    samples
}
