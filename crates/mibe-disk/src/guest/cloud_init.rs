//! The guest's cloud-init, and what makes it use the metadata of SmartOS.

use serde::Serialize;

use super::identify::{Decision, Identify};
use super::tree::Tree;

/// Most bytes of a file that are read.
const LIMIT: u64 = 1 << 20;

const FOLDER: &str = "etc/cloud/cloud.cfg.d";
const DISABLED: &str = "etc/cloud/cloud-init.disabled";
const IDENTIFY: &str = "etc/cloud/ds-identify.cfg";

/// What is known of the guest's cloud-init.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CloudInit {
    /// Its version, where it could be found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The datasources that it tries on SmartOS, in order; none when it is switched off.
    pub datasources: Vec<String>,
    /// Why.
    pub reason: String,
    /// Whether it uses the metadata of SmartOS.
    pub smartos: bool,
    /// The user that it makes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_user: Option<String>,
    /// Files whose `datasource_list` ds-identify does not see and cloud-init does.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unseen_lists: Vec<String>,
    /// What on the kernel's command line speaks to it (`ds=nocloud`).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub on_command_line: Vec<String>,
}

impl CloudInit {
    /// Looks at the cloud-init of a guest; `None`: there is none. `line` is the kernel's command line, `labels` are those of the disk's file systems.
    pub fn of(tree: &dyn Tree, line: &str, labels: &[String]) -> Option<Self> {
        let programs = [
            "usr/bin/cloud-init",
            "usr/local/bin/cloud-init",
            "bin/cloud-init",
        ];
        let identify = Identify::new(tree, line, labels);
        if identify.is_none() && !programs.iter().any(|path| tree.exists(path)) {
            return None;
        }
        let decision = match identify {
            Some(identify) => identify.decide(),
            None => without_identify(tree, line),
        };
        let smartos = decision.is_smartos();
        let (datasources, reason) = match decision {
            Decision::Disabled(reason) => (Vec::new(), reason),
            Decision::Sources(list, reason) => (list, reason),
        };
        let keys = [
            "ds=",
            "ci.ds=",
            "ci.datasource=",
            "ci.di.policy=",
            "cloud-init=",
        ];
        let on_command_line = line
            .split_whitespace()
            .filter(|word| keys.iter().any(|key| word.starts_with(key)));
        Some(Self {
            version: version(tree),
            datasources,
            reason,
            smartos,
            default_user: default_user(tree),
            unseen_lists: files(tree)
                .filter(|(_, text)| has_block_list(text))
                .map(|(name, _)| name)
                .collect(),
            on_command_line: on_command_line.map(ToOwned::to_owned).collect(),
        })
    }
}

/// What cloud-init tries where it has no ds-identify: what the last of its files lists.
fn without_identify(tree: &dyn Tree, line: &str) -> Decision {
    if tree.is_file(DISABLED)
        || line
            .split_whitespace()
            .any(|word| word == "cloud-init=disabled")
    {
        return Decision::Disabled("it is switched off".into());
    }
    let listed = files(tree)
        .filter_map(|(name, text)| Some((name, flow_list(&text)?)))
        .last();
    match listed {
        Some((name, list)) => Decision::Sources(list, format!("{name} lists them")),
        None => Decision::Sources(
            vec!["SmartOS".into()],
            "nothing narrows what it looks for".into(),
        ),
    }
}

/// The files of configuration, in the order in which they are read.
fn files(tree: &dyn Tree) -> impl Iterator<Item = (String, String)> {
    let names = tree
        .list(FOLDER)
        .into_iter()
        .filter(|name| name.strip_suffix(".cfg").is_some());
    let paths = std::iter::once("etc/cloud/cloud.cfg".to_owned())
        .chain(names.map(|name| format!("{FOLDER}/{name}")));
    paths.filter_map(|path| {
        let text = tree.read(&path, LIMIT)?;
        Some((
            format!("/{path}"),
            String::from_utf8_lossy(&text).into_owned(),
        ))
    })
}

/// The list of datasources that stands on one line of a file.
fn flow_list(text: &str) -> Option<Vec<String>> {
    let line = text
        .lines()
        .rev()
        .find_map(|line| line.strip_prefix("datasource_list:"))?;
    let inner = line
        .split('#')
        .next()?
        .trim()
        .strip_prefix('[')?
        .strip_suffix(']')?;
    let names = inner
        .split(',')
        .map(|name| name.trim().trim_matches(['"', '\'']).to_owned());
    Some(names.filter(|name| !name.is_empty()).collect())
}

/// Whether a file lists datasources one a line.
fn has_block_list(text: &str) -> bool {
    let mut lines = text
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default())
        .filter(|line| !line.trim().is_empty());
    while let Some(line) = lines.next() {
        let is_key = line.trim_end().trim_matches(['"', '\'']) == "datasource_list:";
        if is_key
            && lines
                .next()
                .is_some_and(|next| next.trim_start().starts_with("- "))
        {
            return true;
        }
    }
    false
}

/// The user of the last file that names one: `system_info`, `default_user`, `name`.
fn default_user(tree: &dyn Tree) -> Option<String> {
    let mut found = None;
    for (_, text) in files(tree) {
        let mut path: Vec<(usize, String)> = Vec::new();
        for line in text.lines() {
            let trimmed = line.trim_start();
            let Some((key, value)) = trimmed
                .split_once(':')
                .filter(|_| !trimmed.starts_with(['#', '-']))
            else {
                continue;
            };
            let depth = line.len() - trimmed.len();
            path.retain(|(above, _)| *above < depth);
            path.push((depth, key.trim().trim_matches(['"', '\'']).to_owned()));
            let keys: Vec<&str> = path.iter().map(|(_, key)| key.as_str()).collect();
            if keys == ["system_info", "default_user", "name"] {
                let name = value
                    .split(" #")
                    .next()
                    .unwrap_or_default()
                    .trim()
                    .trim_matches(['"', '\'']);
                let plain = |character: char| {
                    character.is_ascii_alphanumeric() || "._-".contains(character)
                };
                if !name.is_empty() && name.len() <= 32 && name.chars().all(plain) {
                    found = Some(name.to_owned());
                }
            }
        }
    }
    found
}

/// The version, from the module that says it.
fn version(tree: &dyn Tree) -> Option<String> {
    let mut folders = vec!["usr/lib/python3/dist-packages".to_owned()];
    for lib in ["usr/lib", "usr/local/lib"] {
        let versions = tree
            .list(lib)
            .into_iter()
            .filter(|name| name.starts_with("python3."));
        folders.extend(versions.map(|name| format!("{lib}/{name}/site-packages")));
    }
    let text = folders
        .iter()
        .find_map(|folder| tree.read(&format!("{folder}/cloudinit/version.py"), LIMIT))?;
    let text = String::from_utf8_lossy(&text);
    let value = |key: &str| {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(key)?.trim_start().strip_prefix('='))?;
        let value = line.trim().trim_matches(['"', '\'']);
        (!value.is_empty() && !value.starts_with('@') && value.len() < 64).then(|| value.to_owned())
    };
    value("_PACKAGED_VERSION").or_else(|| value("__VERSION__"))
}

/// A file to be written or removed (`None`) so that cloud-init uses the metadata of SmartOS, and why.
pub type FileChange = (String, Option<Vec<u8>>, &'static str);

/// What makes a cloud-init use the metadata of SmartOS: whatever is in its way, and a list that stands last. What is as it should be is left alone.
pub fn smartos_changes(tree: &dyn Tree) -> Vec<FileChange> {
    let mut changes: Vec<FileChange> = Vec::new();
    if tree.exists(DISABLED) {
        changes.push((DISABLED.into(), None, "it switches cloud-init off"));
    }
    if let Some(content) = tree.read(IDENTIFY, LIMIT) {
        let text = String::from_utf8_lossy(&content);
        let says = |line: &&str| {
            matches!(
                line.split(':').next().map(str::trim),
                Some("datasource" | "policy")
            )
        };
        if text.lines().map(str::trim).any(|line| says(&line)) {
            // All of its own words for one that is found, and for none.
            let content = "# Written by mibe: cloud-init decides by what it finds.\npolicy: search,found=all,maybe=none,notfound=disabled\n";
            if text != content {
                changes.push((
                    IDENTIFY.into(),
                    Some(content.into()),
                    "it decides without looking",
                ));
            }
        }
    }
    let content = "# Written by mibe: on SmartOS and Triton, metadata come by the second serial port.\n\
        datasource_list: [ SmartOS ]\n\
        # The keys that are given to the machine are root's, too.\n\
        disable_root: false\n";
    // The last file wins.
    let last = files(tree)
        .map(|(name, text)| (name.trim_start_matches('/').to_owned(), text))
        .filter(|(_, text)| {
            text.lines().any(|line| {
                line.split('#')
                    .next()
                    .unwrap_or_default()
                    .contains("datasource_list")
            })
        })
        .last();
    let usual = format!("{FOLDER}/90_smartos.cfg");
    let name = match &last {
        Some((name, _)) if *name > usual && name.starts_with(FOLDER) => {
            format!("{}_smartos.cfg", name.trim_end_matches(".cfg"))
        }
        _ => usual,
    };
    if !matches!(&last, Some((last, text)) if last.ends_with("smartos.cfg") && text == content) {
        changes.push((name, Some(content.into()), "the datasource of SmartOS"));
    }
    changes
}
