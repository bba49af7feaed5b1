//! What cloud-init will decide, held against its own ds-identify, of several versions, run over the same files with the DMI of a SmartDC HVM.
//!
//! `MIBE_DS_IDENTIFY` names the folder of the scripts; `cargo xtask test` fetches them and sets it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use mibe_disk::guest::{Decision, Identify, Tree, smartos_changes};

/// A guest's files in a folder.
struct Folder(PathBuf);

impl Tree for Folder {
    fn read(&self, path: &str, limit: u64) -> Option<Vec<u8>> {
        self.size(path).filter(|&size| size <= limit)?;
        fs::read(self.0.join(path)).ok()
    }

    fn size(&self, path: &str) -> Option<u64> {
        fs::metadata(self.0.join(path))
            .ok()
            .filter(fs::Metadata::is_file)
            .map(|metadata| metadata.len())
    }

    fn exists(&self, path: &str) -> bool {
        fs::symlink_metadata(self.0.join(path)).is_ok()
    }

    fn list(&self, path: &str) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.0.join(path)) else {
            return Vec::new();
        };
        let mut names: Vec<String> = entries
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .collect();
        names.sort();
        names
    }
}

/// The scripts, with the names of their Debians.
fn scripts() -> Vec<(String, PathBuf)> {
    let folder = std::env::var_os("MIBE_DS_IDENTIFY")
        .expect("MIBE_DS_IDENTIFY is not set: run `cargo xtask test`, which fetches the scripts");
    let mut scripts: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .map(|path| {
            (
                path.file_name().unwrap().to_string_lossy().into_owned(),
                path.join("ds-identify"),
            )
        })
        .collect();
    scripts.sort();
    assert!(scripts.len() >= 3);
    scripts
}

/// A guest: its files, its kernel's command line, labels of its disk's file systems.
#[derive(Clone, Debug, Default)]
struct Guest {
    files: Vec<(String, String)>,
    line: String,
    labels: Vec<String>,
}

impl Guest {
    fn of(files: &[(&str, &str)], line: &str, labels: &[&str]) -> Self {
        let owned = |text: &&str| (*text).to_owned();
        Self {
            files: files
                .iter()
                .map(|(path, text)| ((*path).to_owned(), (*text).to_owned()))
                .collect(),
            line: line.to_owned(),
            labels: labels.iter().map(owned).collect(),
        }
    }

    /// Its files in a folder, with the script, and with what a running machine has beside.
    fn lay(&self, script: &Path) -> (tempfile::TempDir, Folder) {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        let put = |path: &str, text: &[u8]| {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        put("usr/lib/cloud-init/ds-identify", &fs::read(script).unwrap());
        put("etc/cloud/cloud.cfg", b"users:\n - default\n");
        put("sys/class/dmi/id/product_name", b"SmartDC HVM\n");
        put("sys/class/dmi/id/sys_vendor", b"Joyent\n");
        put("proc/cmdline", format!("{}\n", self.line).as_bytes());
        for (path, text) in &self.files {
            put(path, text.as_bytes());
        }
        // The programs that it asks about the machine.
        let bin = folder.path().join("bin");
        fs::create_dir(&bin).unwrap();
        let labels: Vec<String> = self
            .labels
            .iter()
            .map(|label| format!("DEVNAME=/dev/vda1\nLABEL={label}\nTYPE=ext4\n\n"))
            .collect();
        let labels = labels.concat();
        for (name, text) in [
            ("blkid", format!("#!/bin/sh\ncat <<'END'\n{labels}END\n")),
            ("systemd-detect-virt", "#!/bin/sh\necho kvm\n".into()),
            ("virt-what", "#!/bin/sh\necho kvm\n".into()),
            ("uname", "#!/bin/sh
case $1 in -svm) echo 'Linux #1 SMP x86_64';; *) echo 'Linux guest 6.1.0 #1 SMP x86_64 GNU/Linux';; esac
".into()),
        ] {
            use std::os::unix::fs::PermissionsExt as _;
            fs::write(bin.join(name), text).unwrap();
            fs::set_permissions(bin.join(name), fs::Permissions::from_mode(0o755)).unwrap();
        }
        (folder, Folder(root))
    }

    /// What the script itself decides.
    fn oracle(folder: &Path) -> Said {
        let root = folder.join("root");
        let output = Command::new("/bin/sh")
            .arg(root.join("usr/lib/cloud-init/ds-identify"))
            .arg("--force")
            .env_clear()
            .env(
                "PATH",
                format!("{}:/usr/bin:/bin", folder.join("bin").display()),
            )
            .env("PATH_ROOT", &root)
            .env("DI_LOG", folder.join("log"))
            .output()
            .unwrap();
        // It came to its end.
        let result = fs::read_to_string(root.join("run/cloud-init/.ds-identify.result"));
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        let result = result.unwrap_or_else(|_| panic!("ds-identify broke off: {words}"));
        match result.trim() {
            "0" => {}
            "1" | "2" => return Said::Off,
            other => panic!("ds-identify says {other}: {words}"),
        }
        let config = fs::read_to_string(root.join("run/cloud-init/cloud.cfg")).unwrap_or_default();
        let Some(list) = config
            .lines()
            .find_map(|line| line.strip_prefix("datasource_list: ["))
        else {
            return Said::Nothing;
        };
        let list = list.trim_end().trim_end_matches(']').split(',');
        Said::Sources(list.map(|name| name.trim().to_owned()).collect())
    }

    /// Holds the one against the other, for every version.
    fn compare(&self) -> Vec<(String, Said)> {
        let mut all = Vec::new();
        for (version, script) in scripts() {
            let (folder, tree) = self.lay(&script);
            let expected = Self::oracle(folder.path());
            let decided = Identify::new(&tree, &self.line, &self.labels)
                .unwrap()
                .decide();
            let decided = match (decided, &expected) {
                (Decision::Disabled(_), _) => Said::Off,
                // Left to cloud-init, which then tries all that it lists.
                (Decision::Sources(..), Said::Nothing) => Said::Nothing,
                (Decision::Sources(list, _), _) => Said::Sources(list),
            };
            assert_eq!(
                decided,
                expected,
                "{version}: {self:#?}\n{}",
                fs::read_to_string(folder.path().join("log")).unwrap_or_default()
            );
            all.push((version, expected));
        }
        all
    }
}

/// What ds-identify says.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Said {
    /// cloud-init is switched off.
    Off,
    /// It is on, and nothing is said of datasources.
    Nothing,
    /// It tries these.
    Sources(Vec<String>),
}

impl Said {
    fn first(&self) -> &str {
        match self {
            Self::Sources(list) => &list[0],
            _ => "",
        }
    }
}

fn sources(names: &[&str]) -> Said {
    Said::Sources(names.iter().map(|&name| name.to_owned()).collect())
}

const DPKG: &str = "etc/cloud/cloud.cfg.d/90_dpkg.cfg";

#[test]
fn the_rows_of_the_table() {
    let smartos = sources(&["SmartOS", "None"]);
    let all = |guest: &Guest, expected: &Said| {
        for (version, decided) in guest.compare() {
            assert_eq!(&decided, expected, "{version}: {guest:?}");
        }
    };
    all(&Guest::default(), &smartos);
    let without = "# to update this file, run dpkg-reconfigure cloud-init\ndatasource_list: [ NoCloud, ConfigDrive, OVF ]\n";
    all(&Guest::of(&[(DPKG, without)], "", &[]), &Said::Off);
    let added = [
        (DPKG, without),
        (
            "etc/cloud/cloud.cfg.d/90_smartos.cfg",
            "datasource_list: [ SmartOS ]\n",
        ),
    ];
    for (_, decided) in Guest::of(&added, "", &[]).compare() {
        assert_eq!(decided.first(), "SmartOS");
    }
    all(
        &Guest::of(
            &[("etc/cloud/ds-identify.cfg", "policy: disabled\n")],
            "",
            &[],
        ),
        &Said::Off,
    );
    all(
        &Guest::of(
            &[("etc/cloud/ds-identify.cfg", "datasource: Ec2\n")],
            "",
            &[],
        ),
        &sources(&["Ec2", "None"]),
    );
    // A list over several lines, which cloud-init would merge.
    let block = [(DPKG, "datasource_list:\n  - NoCloud\n  - None\n")];
    all(&Guest::of(&block, "", &[]), &smartos);
}

/// Whatever stood there before, with what mibe writes SmartOS is first, for the script itself.
#[test]
fn what_mibe_writes_is_heeded() {
    for files in [
        vec![],
        vec![(DPKG, "datasource_list: [ NoCloud, None ]\n")],
        vec![(
            "etc/cloud/cloud.cfg.d/99_azure.cfg",
            "datasource_list: [ Azure ]\n",
        )],
        vec![
            ("etc/cloud/cloud.cfg.d/zz.cfg", "datasource_list: [ Ec2 ]\n"),
            (DPKG, "datasource_list: [ NoCloud ]\n"),
        ],
        vec![(
            "etc/cloud/ds-identify.cfg",
            "datasource: Ec2\npolicy: enabled\n",
        )],
        vec![
            ("etc/cloud/ds-identify.cfg", "policy: disabled\n"),
            (DPKG, "datasource_list: [ Ec2, None ]\n"),
        ],
        vec![
            ("var/lib/cloud/seed/nocloud/meta-data", ""),
            ("var/lib/cloud/seed/nocloud/user-data", ""),
        ],
    ] {
        let mut guest = Guest::of(&files, "", &[]);
        for (version, script) in scripts() {
            let (_folder, tree) = guest.lay(&script);
            let mut changed = guest.clone();
            for (path, content, _) in smartos_changes(&tree) {
                changed.files.retain(|(old, _)| *old != path);
                if let Some(content) = content {
                    changed
                        .files
                        .push((path, String::from_utf8(content).unwrap()));
                }
            }
            let (folder, tree) = changed.lay(&script);
            assert_eq!(
                Guest::oracle(folder.path()).first(),
                "SmartOS",
                "{version}: {changed:?}"
            );
            assert!(Identify::new(&tree, "", &[]).unwrap().decide().is_smartos());
            // Done once, nothing is left to do.
            assert_eq!(smartos_changes(&tree), [], "{version}: {changed:?}");
        }
        guest.files.clear();
    }
}

#[test]
fn command_lines_and_seeds() {
    let lists = "datasource_list: [ NoCloud, SmartOS, Ec2 ]\n";
    for line in [
        "ro quiet ds=nocloud",
        "ds=nocloud-net;s=http://192.0.2.1/",
        "ci.ds=Ec2",
        "ci.datasource=OpenStack quiet",
        "ci.di.policy=disabled",
        "ci.di.policy=search,found=first",
        "ci.di.policy=enabled",
        "ci.ds=",
        "vultr scaleway",
        "cc:{'datasource_list': ['Oracle', \"SmartOS\"]}end_cc",
        "cloud-config-url=http://x iqn.2004-05.com.ubuntu:maas:x",
    ] {
        Guest::of(&[], line, &[]).compare();
        Guest::of(&[(DPKG, lists)], line, &[]).compare();
    }
    for labels in [
        ["cidata"],
        ["CIDATA"],
        ["config-2"],
        ["CONTEXT"],
        ["cloudmd"],
        ["root"],
    ] {
        Guest::of(&[], "", &labels).compare();
    }
    for path in [
        "var/lib/cloud/seed/nocloud-net/meta-data",
        "var/lib/cloud/seed/ec2/user-data",
        "var/lib/cloud/seed/azure/ovf-env.xml",
        "var/lib/cloud/seed/ovf/ovf-env.xml",
        "var/lib/cloud/seed/config_drive/openstack/latest/meta_data.json",
        "var/lib/cloud/data/seed/bigstep/url",
        "var/lib/cloud/seed/AliYun/meta-data",
        "etc/vultr",
        "var/lib/cloud/instance/manual-clean",
    ] {
        let twin = path.replace("meta-data", "user-data");
        Guest::of(&[(path, "x\n"), (&twin, "x\n")], "", &[]).compare();
        Guest::of(&[(path, "x\n")], "", &[]).compare();
    }
}

/// Lists as people write them, and as nobody should.
#[test]
fn odd_configurations() {
    for text in [
        "datasource_list: [NoCloud,SmartOS]",
        "datasource_list: ['NoCloud', \"SmartOS\" ]\n",
        "  datasource_list: [ NoCloud ]\n",
        "datasource_list:[ NoCloud ]\n",
        "datasource_list : [ NoCloud ]\n",
        "\"datasource_list\": [ NoCloud ]\n",
        "datasource_list: [ NoCloud ] # only this\n",
        "#datasource_list: [ NoCloud ]\n",
        "datasource_list: []\n",
        "datasource_list: [ ]\n",
        "datasource_list:\n",
        "datasource_list: NoCloud\n",
        "datasource_list:   [  NoCloud  ,  None  ]  \n",
        "datasource_list: [ Nonsense, SmartOS ]\n",
        "datasource_list: [ SmartOS, None ]\n",
        "datasource_list: [ None ]\n",
        "datasource_list: [\n  NoCloud ]\n",
        "datasource:\n  NoCloud:\n    seedfrom: /x\n",
        "datasource:\n  NoCloud:\n    user-data: |\n      x\n    meta-data: {}\n",
        "datasource:\n  Ec2: {strict_id: false}\ndatasource_list: [ Ec2, GCE ]\n",
        "strict_id: false\ndatasource_list: [ Ec2, GCE ]\n",
        "datasource:\n  MAAS: {}\n",
    ] {
        Guest::of(&[(DPKG, text)], "", &[]).compare();
        Guest::of(
            &[
                (DPKG, text),
                (
                    "etc/cloud/cloud.cfg.d/91.cfg",
                    "datasource_list: [ SmartOS, NoCloud ]\n",
                ),
            ],
            "",
            &[],
        )
        .compare();
        Guest::of(&[("etc/cloud/cloud.cfg.d/10_ec2.cfg", text)], "", &[]).compare();
    }
    for text in [
        "policy: report\n",
        "policy: search,notfound=enabled\n",
        "datasource: 'Ec2' # x\n",
        "datasource Ec2\n",
        "policy: found=none\n",
        "policy: enabled",
        " datasource : Ec2 \n",
    ] {
        Guest::of(&[("etc/cloud/ds-identify.cfg", text)], "", &[]).compare();
        Guest::of(
            &[
                ("etc/cloud/ds-identify.cfg", text),
                (DPKG, "datasource_list: [ NoCloud, Ec2 ]\n"),
            ],
            "",
            &[],
        )
        .compare();
    }
}
