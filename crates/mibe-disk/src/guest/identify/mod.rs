//! What ds-identify, cloud-init's own judge of where it runs, will decide on SmartOS (`tools/ds-identify` of cloud-init 20.4 to 26.2).
//!
//! It is a shell script that reads YAML with grep and `read`, and its versions do that differently; so its ways are followed to the letter, those that look like
//! mistakes too, and which of them it has is read from the guest's own script.

mod policy;
mod words;

use self::policy::{Mode, Policy};
use self::words::{array, flow, has_key, is_date, lines, unquote, with_none};
use super::tree::Tree;

/// Largest file of configuration that is read.
const LIMIT: u64 = 1 << 20;

const CONFIG: &str = "etc/cloud/cloud.cfg";
const CONFIG_FOLDER: &str = "etc/cloud/cloud.cfg.d";

/// Most datasources that are looked for; cloud-init has some thirty.
const MOST_SOURCES: usize = 200;

/// What the firmware of SmartOS's virtual machines says of the product (`SmartDC HVM`).
const PRODUCT: &str = "SmartDC HVM";

/// What cloud-init will do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Nothing: it is switched off. Why.
    Disabled(String),
    /// It tries these datasources, in order. Why.
    Sources(Vec<String>, String),
}

impl Decision {
    /// Whether metadata of SmartOS are used, and those of nothing before them.
    pub fn is_smartos(&self) -> bool {
        matches!(self, Self::Sources(list, _) if list.first().is_some_and(|name| name == "SmartOS"))
    }
}

/// Where the script may be.
const SCRIPTS: [&str; 4] = [
    "usr/lib/cloud-init/ds-identify",
    "usr/libexec/cloud-init/ds-identify",
    "lib/cloud-init/ds-identify",
    "usr/local/lib/cloud-init/ds-identify",
];

/// The ways of a version.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a way that versions differ in"
)]
struct Ways {
    /// Configuration is searched with grep, not read line by line.
    greps: bool,
    /// A list must stand on one line, and what else is there is no list.
    wants_flow: bool,
    /// Lines that only comment are passed over.
    skips_comments: bool,
    /// `ds=` on the kernel's command line names the datasource.
    takes_ds: bool,
    /// `ds=nocloud` there is a sign of NoCloud.
    nocloud_on_line: bool,
    /// What follows a semicolon there is left out.
    cuts: bool,
    /// A list of one datasource stays so; else `None` is added to it.
    leaves_single: bool,
    /// Its own configuration is a sign of NoCloud.
    nocloud_in_config: bool,
    /// `seedfrom` is a sign of NoCloud.
    seedfrom: bool,
    /// Where nothing is configured.
    policy: String,
    sources: String,
}

impl Ways {
    fn of(script: &str) -> Self {
        let has = |text: &str| script.contains(text);
        // The value of an assignment in double quotes, whose lines may go on.
        let value = |name: &str, otherwise: &str| {
            let start = script
                .find(&format!("\n{name}=\""))
                .map(|at| at + name.len() + 3);
            let value = start.and_then(|start| script[start..].split('"').next());
            value.map_or_else(|| otherwise.to_owned(), |value| value.replace("\\\n", ""))
        };
        let nocloud = script
            .split("\ndscheck_NoCloud()")
            .nth(1)
            .and_then(|rest| rest.split("\n}").next());
        let nocloud = nocloud.unwrap_or_default();
        Self {
            greps: has("out=$(grep \"$key"),
            wants_flow: has("get_single_line_flow_sequence"),
            skips_comments: has("if [ \"${#line}\" -eq 0 ]"),
            takes_ds: script
                .lines()
                .any(|line| line.trim_start().starts_with("ds) _rc_dsname")),
            nocloud_on_line: nocloud.contains("DI_KERNEL_CMDLINE"),
            cuts: has("val=${val%%;*}"),
            leaves_single: has("write_result \"datasource_list: [ $1 ]\""),
            nocloud_in_config: nocloud.contains("check_config"),
            seedfrom: nocloud.contains("seedfrom"),
            policy: value(
                "DI_DEFAULT_POLICY",
                "search,found=all,maybe=none,notfound=disabled",
            )
            .replace("${DI_DISABLED}", "disabled")
            .replace("${DI_ENABLED}", "enabled"),
            sources: value("DI_DSLIST_DEFAULT", "NoCloud SmartOS"),
        }
    }
}

/// A guest as ds-identify sees it.
pub struct Identify<'a> {
    tree: &'a dyn Tree,
    /// The kernel's command line.
    line: &'a str,
    /// Labels of the file systems of the disk.
    labels: &'a [String],
    ways: Ways,
}

impl<'a> Identify<'a> {
    /// `None`: the guest has no ds-identify.
    pub fn new(tree: &'a dyn Tree, line: &'a str, labels: &'a [String]) -> Option<Self> {
        let script = SCRIPTS.iter().find_map(|path| tree.read(path, LIMIT))?;
        Some(Self {
            tree,
            line,
            labels,
            ways: Ways::of(&String::from_utf8_lossy(&script)),
        })
    }

    /// What it decides in a virtual machine of SmartOS.
    pub fn decide(&self) -> Decision {
        let switched = self
            .line
            .split_whitespace()
            .rev()
            .find_map(|word| word.strip_prefix("cloud-init="));
        match switched {
            Some("disabled") => {
                return Decision::Disabled(
                    "cloud-init=disabled is on the kernel's command line".into(),
                );
            }
            Some("enabled") => {}
            _ if self.tree.is_file("etc/cloud/cloud-init.enabled") => {}
            _ if self.tree.is_file("etc/cloud/cloud-init.disabled") => {
                return Decision::Disabled("/etc/cloud/cloud-init.disabled is there".into());
            }
            _ => {}
        }
        let (name, policy) = self.settings();
        let policy = Policy::of(
            &self.ways.policy,
            policy.as_ref().map_or("", |(policy, _)| policy),
        )
        .named(policy.map_or("", |(_, from)| from));
        match policy.mode {
            Mode::Disabled => {
                return Decision::Disabled(format!("{} says policy: disabled", policy.from));
            }
            Mode::Enabled | Mode::Report => {
                // Nothing is decided here, or nothing that counts: cloud-init tries what its own configuration lists.
                let (list, from) = self.list("");
                return Decision::Sources(list, from);
            }
            Mode::Search => {}
        }
        let (list, from) = match name {
            Some((name, from)) if !name.is_empty() => {
                return Decision::Sources(with_none(vec![name]), format!("{from} names it"));
            }
            _ => self.list(""),
        };
        if self.tree.is_file("var/lib/cloud/instance/manual-clean") {
            return Decision::Sources(list, "/var/lib/cloud/instance/manual-clean is there".into());
        }
        match list.as_slice() {
            [_] if self.ways.leaves_single => return Decision::Sources(list, from),
            [_] => return Decision::Sources(with_none(list), from),
            [_, none] if none == "None" => return Decision::Sources(with_none(list), from),
            _ => {}
        }
        let found: Vec<String> = list
            .iter()
            .filter(|name| self.finds(name))
            .cloned()
            .collect();
        let found = if policy.first {
            found.into_iter().take(1).collect()
        } else {
            found
        };
        if !found.is_empty() {
            return Decision::Sources(with_none(found), from);
        }
        if policy.maybe && list.iter().any(|name| name == "Ec2") && self.ec2_may_be() {
            return Decision::Sources(
                with_none(vec!["Ec2".into()]),
                "Ec2's strict_id is off".into(),
            );
        }
        if policy.enabled_if_none {
            return Decision::Sources(list, from);
        }
        Decision::Disabled(format!(
            "none of the datasources is found that {from} allows: {}",
            list.join(", ")
        ))
    }

    /// The datasource and the policy that ds-identify.cfg and the kernel's command line name, each with where it stands.
    fn settings(&self) -> (Named, Named) {
        let (mut name, mut policy) = (None, None);
        let file = "/etc/cloud/ds-identify.cfg";
        if let Some(content) = self.tree.read(&file[1..], LIMIT) {
            for line in lines(&content) {
                let line = line.split('#').next().unwrap_or_default();
                let Some((key, value)) = line.split_once(':') else {
                    continue;
                };
                let value = unquote(value.trim()).to_owned();
                match key.trim() {
                    "datasource" => name = Some((value, file)),
                    "policy" => policy = Some((value, file)),
                    _ => {}
                }
            }
        }
        for word in self.line.split_whitespace() {
            let (key, value) = word.split_once('=').unwrap_or((word, word));
            let value = if self.ways.cuts {
                value.split(';').next().unwrap_or_default()
            } else {
                value
            };
            let from = "the kernel's command line";
            match key {
                "ds" if self.ways.takes_ds => name = Some((value.to_owned(), from)),
                "ci.ds" | "ci.datasource" => name = Some((value.to_owned(), from)),
                "ci.di.policy" => policy = Some((value.to_owned(), from)),
                _ => {}
            }
        }
        (name, policy)
    }

    /// The datasources that may be tried, and where they are listed.
    fn list(&self, name: &str) -> (Vec<String>, String) {
        let mut list = name.to_owned();
        let mut from = String::new();
        if self.line.contains("cc:") && self.line.contains("datasource_list") {
            let rest = self
                .line
                .rsplit("datasource_list")
                .next()
                .unwrap_or_default();
            let rest = rest.split(']').next().unwrap_or_default();
            list = array(rest.rsplit('[').next().unwrap_or_default());
            from = "the kernel's command line".into();
        }
        if list.is_empty()
            && let Some((value, file)) = self.config("datasource_list", None)
        {
            let value = if self.ways.wants_flow {
                flow(&value)
            } else {
                Some(value)
            };
            if let Some(value) = value {
                list = array(&value);
                from = format!("/{file}");
            }
        }
        if list.is_empty() {
            list.clone_from(&self.ways.sources);
            from = "cloud-init's own list".into();
        }
        // For each, files are read again, so a list of a megabyte would take hours.
        let names = list.split_whitespace().filter(|name| name.len() < 100);
        (
            names.take(MOST_SOURCES).map(ToOwned::to_owned).collect(),
            from,
        )
    }

    /// The last value of a key in the configuration, and the file that has it.
    fn config(&self, key: &str, only: Option<&dyn Fn(&str) -> bool>) -> Option<(String, String)> {
        let mut files = vec![CONFIG.to_owned()];
        let mut names = self.tree.list(CONFIG_FOLDER);
        names.sort();
        let names = names
            .iter()
            .filter(|name| name.strip_suffix(".cfg").is_some() && !name.starts_with('.'));
        files.extend(
            names
                .filter(|name| only.is_none_or(|only| only(name)))
                .map(|name| format!("{CONFIG_FOLDER}/{name}")),
        );
        let mut found = None;
        for file in files {
            let Some(content) = self.tree.read(&file, LIMIT) else {
                continue;
            };
            if self.ways.greps {
                let text = String::from_utf8_lossy(&content);
                for line in text.lines().filter(|line| has_key(line, key)) {
                    let line = line.split('#').next().unwrap_or_default();
                    if line.is_empty() && self.ways.skips_comments {
                        continue;
                    }
                    let value = line.split_once(": ").map_or(line, |(_, value)| value);
                    found = Some((value.to_owned(), file.clone()));
                }
            } else {
                for line in lines(&content) {
                    let line = line.split('#').next().unwrap_or_default();
                    let Some(value) = line
                        .strip_prefix(key)
                        .and_then(|rest| rest.strip_prefix(':'))
                    else {
                        continue;
                    };
                    if value.is_empty() || value.starts_with(' ') {
                        found = Some((
                            value.strip_prefix(' ').unwrap_or(value).to_owned(),
                            file.clone(),
                        ));
                    }
                }
            }
        }
        found
    }

    /// Whether a datasource says that it is there, in a virtual machine of SmartOS.
    fn finds(&self, name: &str) -> bool {
        let file = |path: &str| self.tree.is_file(path);
        let seed = |folder: &str, files: &[&str]| {
            files
                .iter()
                .all(|name| file(&format!("var/lib/cloud/seed/{folder}/{name}")))
        };
        let writable = |folder: &str, files: &[&str]| {
            files.iter().all(|name| {
                file(&format!(
                    "writable/system-data/var/lib/cloud/seed/{folder}/{name}"
                ))
            })
        };
        let label = |names: &[&str]| {
            names
                .iter()
                .any(|name| self.labels.iter().any(|label| label == name))
        };
        let word = |name: &str| self.line.split_whitespace().any(|word| word == name);
        let has = |key: &str| self.config(key, None).is_some();
        match name {
            "SmartOS" => PRODUCT.starts_with("SmartDC"),
            "NoCloud" => {
                let on_line = self.ways.nocloud_on_line
                    && self
                        .line
                        .split(' ')
                        .any(|word| word.starts_with("ds=nocloud"));
                let files = ["meta-data", "user-data"];
                on_line
                    || ["nocloud", "nocloud-net"]
                        .iter()
                        .any(|folder| seed(folder, &files) || writable(folder, &files))
                    || label(&["cidata", "CIDATA"])
                    || self.ways.nocloud_in_config
                        && has("NoCloud")
                        && (has("user-data") && has("meta-data")
                            || self.ways.seedfrom && has("seedfrom"))
            }
            "ConfigDrive" => {
                // The folder is one of the machine that runs, whatever its root; that of the guest is empty but where somebody filled it.
                let seeded = "var/lib/cloud/seed/config_drive/openstack";
                let dates = self.tree.list(seeded);
                dates.iter().any(|date| {
                    date == "latest" && file(&format!("{seeded}/latest/meta_data.json"))
                }) || dates
                    .iter()
                    .any(|date| is_date(date) && file(&format!("{seeded}/{date}/meta_data.json")))
                    || label(&["CONFIG-2", "config-2"])
            }
            "MAAS" => {
                let iqn = "iqn.2004-05.com.ubuntu:maas";
                self.line.contains("cloud-config-url=") && self.line.contains(iqn) || has("MAAS")
            }
            "OpenNebula" => seed("opennebula", &["meta-data"]) || label(&["CONTEXT", "CDROM"]),
            "RbxCloud" => label(&["CLOUDMD", "cloudmd"]),
            "OVF" => seed("ovf", &["ovf-env.xml"]),
            "Azure" => seed("azure", &["ovf-env.xml"]),
            "Bigstep" => file("var/lib/cloud/data/seed/bigstep/url"),
            "Ec2" => seed("ec2", &["meta-data", "user-data"]),
            "AliYun" => seed("AliYun", &["meta-data", "user-data"]),
            "Vultr" => word("vultr") || file("etc/vultr"),
            "Scaleway" => word("scaleway") || file("var/run/scaleway"),
            _ => false,
        }
    }

    /// Whether Ec2 may be there for all it can tell: where it was told not to be strict.
    fn ec2_may_be(&self) -> bool {
        let of_ec2 = |name: &str| name.to_ascii_lowercase().contains("ec2");
        let key = "ci.datasource.ec2.strict_id=";
        let on_line = self
            .line
            .split(' ')
            .rev()
            .find_map(|word| word.strip_prefix(key))
            .map(ToOwned::to_owned);
        let strict = on_line.or_else(|| {
            self.config("strict_id", Some(&of_ec2))
                .map(|(value, _)| value)
        });
        matches!(strict.as_deref(), Some(value) if value == "false" || value == "warn" || value.starts_with("warn,"))
    }
}

/// A setting and where it stands.
type Named = Option<(String, &'static str)>;
