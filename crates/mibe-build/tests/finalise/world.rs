//! A sandbox with a made-up tree, and files outside of it that must stay as they are.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use mibe_build::finalise::{self, Report};
use mibe_build::lay::{self, Entry};
use mibe_sandbox::{Agent, Cancel, Job, JobFiles, Kind, Mode, Root, Sandbox};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

/// A test: its name and what it does.
pub type Case = (&'static str, fn());

/// When entries of copy/ were last changed, in seconds since 1970.
const MTIME: i64 = 1_000_000_000;

pub const JOBS: &[Job] = &[
    Job {
        name: "plant",
        run: |root, input| plant(root, &arguments::<Vec<Node>>(input.args)?).map(|()| Value::Null),
    },
    Job {
        name: "finalise",
        run: |root, _| {
            let report = finalise::finalise_lx(root).map_err(|error| error.to_string())?;
            serde_json::to_value(report).map_err(|error| error.to_string())
        },
    },
    Job {
        name: "lay",
        run: |root, input| {
            let (source, entries): (PathBuf, Vec<Entry>) = arguments(input.args)?;
            lay::lay(root, &source, &entries, MTIME).map_err(|error| error.to_string())?;
            Ok(Value::Null)
        },
    },
    Job {
        name: "list",
        run: |root, _| {
            let mut nodes = Vec::new();
            list(root, Path::new(""), &mut nodes).map_err(|error| error.to_string())?;
            serde_json::to_value(nodes).map_err(|error| error.to_string())
        },
    },
];

fn arguments<T: DeserializeOwned>(args: Value) -> Result<T, String> {
    serde_json::from_value(args).map_err(|error| error.to_string())
}

/// A file of a tree. Paths are bytes, relative to the root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    pub path: Vec<u8>,
    pub kind: Kind,
    pub mode: u32,
    pub owner: (u32, u32),
    /// Of a file its content, of a link its target.
    pub content: Vec<u8>,
}

impl Node {
    fn path(&self) -> PathBuf {
        PathBuf::from(OsString::from_vec(self.path.clone()))
    }

    /// "f 0644 0:0", "d 0755 0:0", "l -> target".
    fn what(&self) -> String {
        let letter = match self.kind {
            Kind::File => 'f',
            Kind::Dir => 'd',
            Kind::Symlink => return format!("l -> {}", String::from_utf8_lossy(&self.content)),
            _ => 's',
        };
        format!(
            "{letter} {:04o} {}:{}",
            self.mode, self.owner.0, self.owner.1
        )
    }
}

fn plant(root: &Root, nodes: &[Node]) -> Result<(), String> {
    for node in nodes {
        let path = node.path();
        let planted = || -> std::io::Result<()> {
            if let Some(parent) = path.parent() {
                root.create_dir_all(parent, 0o755)?;
            }
            match node.kind {
                Kind::Dir => root.create_dir_all(&path, 0o755)?,
                Kind::Symlink => {
                    let target = OsString::from_vec(node.content.clone());
                    return root.symlink(Path::new(&target), &path);
                }
                Kind::File => root.write(&path, 0o600, &node.content)?,
                kind => root.mknod(&path, kind.to_mode() | node.mode, 0, 0)?,
            }
            root.chown(&path, node.owner.0, node.owner.1)?;
            root.chmod(&path, node.mode)
        };
        planted().map_err(|error| format!("plant {}: {error}", path.display()))?;
    }
    Ok(())
}

fn list(root: &Root, directory: &Path, nodes: &mut Vec<Node>) -> std::io::Result<()> {
    for entry in root.read_dir(directory)? {
        let path = directory.join(&entry.name);
        let content = match entry.metadata.kind {
            Kind::File => root.read(&path, 1 << 20)?,
            Kind::Symlink => root.read_link(&path)?.into_os_string().into_vec(),
            _ => Vec::new(),
        };
        nodes.push(Node {
            path: path.as_os_str().as_bytes().to_vec(),
            kind: entry.metadata.kind,
            mode: entry.metadata.mode,
            owner: (entry.metadata.uid, entry.metadata.gid),
            content,
        });
        if entry.metadata.kind == Kind::Dir {
            list(root, &path, nodes)?;
        }
    }
    Ok(())
}

/// What is to stand in a tree before anything happens to it.
#[derive(Clone, Default)]
pub struct Tree(Vec<Node>);

impl Tree {
    fn node(mut self, path: &[u8], kind: Kind, mode: u32, content: &[u8]) -> Self {
        self.0.push(Node {
            path: path.to_vec(),
            kind,
            mode,
            owner: (0, 0),
            content: content.to_vec(),
        });
        self
    }

    /// A file 0644 root:root.
    pub fn file(self, path: &str, content: &str) -> Self {
        self.mode_file(path, 0o644, content)
    }

    pub fn mode_file(self, path: &str, mode: u32, content: &str) -> Self {
        self.node(path.as_bytes(), Kind::File, mode, content.as_bytes())
    }

    /// A file 0644 root:root whose name is any bytes.
    pub fn bytes_file(self, path: &[u8], content: &str) -> Self {
        self.node(path, Kind::File, 0o644, content.as_bytes())
    }

    pub fn dir(self, path: &str) -> Self {
        self.node(path.as_bytes(), Kind::Dir, 0o755, b"")
    }

    pub fn link(self, path: &str, target: &str) -> Self {
        self.node(path.as_bytes(), Kind::Symlink, 0o777, target.as_bytes())
    }

    pub fn fifo(self, path: &str) -> Self {
        self.node(path.as_bytes(), Kind::Fifo, 0o644, b"")
    }

    /// Gives what was planted last other permission bits and another owner.
    pub fn owned(mut self, mode: u32, uid: u32, gid: u32) -> Self {
        let last = self.0.last_mut().unwrap();
        (last.mode, last.owner) = (mode, (uid, gid));
        self
    }
}

/// A tree as it was listed, by path.
#[derive(Debug, PartialEq, Eq)]
pub struct Listing(BTreeMap<Vec<u8>, Node>);

impl Listing {
    pub fn has(&self, path: &str) -> bool {
        self.0.contains_key(path.as_bytes())
    }

    #[track_caller]
    fn node(&self, path: &str) -> &Node {
        let node = self.0.get(path.as_bytes());
        node.unwrap_or_else(|| panic!("nothing stands at {path}"))
    }

    /// See [`Node::what`].
    #[track_caller]
    pub fn what(&self, path: &str) -> String {
        self.node(path).what()
    }

    #[track_caller]
    pub fn text(&self, path: &str) -> String {
        String::from_utf8(self.node(path).content.clone()).unwrap()
    }

    /// The names below a directory.
    pub fn below(&self, path: &str) -> Vec<String> {
        let prefix = format!("{path}/");
        self.0
            .keys()
            .filter_map(|path| path.strip_prefix(prefix.as_bytes()))
            .map(|path| String::from_utf8_lossy(path).into_owned())
            .collect()
    }

    #[track_caller]
    pub fn assert_same(&self, other: &Self) {
        for (path, node) in &self.0 {
            assert_eq!(Some(node), other.0.get(path), "{}", node.path().display());
        }
        for (path, node) in &other.0 {
            assert_eq!(self.0.get(path), Some(node), "{}", node.path().display());
        }
    }
}

pub struct World {
    dir: tempfile::TempDir,
    sandbox: Option<Sandbox>,
}

/// What stands outside, below [`World::outside`].
const OUTSIDE: &[(&str, &str)] = &[("file", "as it was\n"), ("directory/file", "as it was\n")];

impl World {
    pub fn new(tree: &Tree) -> Self {
        let mut world = Self::empty();
        world.plant(tree);
        world
    }

    /// A world whose tree may name its outside.
    pub fn empty() -> Self {
        let dir = tempfile::Builder::new()
            .prefix("mibe-finalise-test-")
            .tempdir()
            .unwrap();
        for (path, content) in OUTSIDE {
            let path = dir.path().join("outside").join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        fs::create_dir(dir.path().join("copy")).unwrap();
        let modes = if privileged() {
            &[Mode::Root][..]
        } else {
            &[Mode::Subuid, Mode::Single]
        };
        let agent = Agent::current();
        let mode = modes
            .iter()
            .find(|mode| Sandbox::probe(&agent, **mode, dir.path()).is_ok())
            .expect("this user can have no sandbox (see `mibe doctor`)");
        let sandbox = Sandbox::create(&agent, &dir.path().join("sandbox"), *mode).unwrap();
        Self {
            dir,
            sandbox: Some(sandbox),
        }
    }

    /// What nothing may touch; from the root of the tree it is at ../../outside.
    pub fn outside(&self) -> PathBuf {
        self.dir.path().join("outside")
    }

    /// The host's copy/ folder.
    pub fn copy(&self) -> PathBuf {
        self.dir.path().join("copy")
    }

    fn job<R: DeserializeOwned>(&self, name: &str, args: &impl Serialize) -> Result<R, String> {
        let sandbox = self.sandbox.as_ref().unwrap();
        let answer = sandbox.job(name, args, JobFiles::default(), &Cancel::new());
        self.assert_outside();
        answer.map_err(|error| error.to_string())
    }

    #[track_caller]
    fn assert_outside(&self) {
        let mut found = Vec::new();
        let mut pending = vec![self.outside()];
        while let Some(directory) = pending.pop() {
            for entry in fs::read_dir(directory).unwrap() {
                let entry = entry.unwrap();
                if entry.file_type().unwrap().is_dir() {
                    pending.push(entry.path());
                } else {
                    let path = entry.path();
                    let name = path.strip_prefix(self.outside()).unwrap().to_owned();
                    found.push((name, fs::read_to_string(path).unwrap()));
                }
            }
        }
        found.sort();
        let mut expected: Vec<_> = OUTSIDE
            .iter()
            .map(|(path, content)| (PathBuf::from(path), (*content).to_owned()))
            .collect();
        expected.sort();
        assert_eq!(found, expected, "outside of the sandbox");
    }

    #[track_caller]
    pub fn plant(&mut self, tree: &Tree) {
        self.job::<()>("plant", &tree.0).unwrap();
    }

    /// Finalises the tree; the error as the user sees it.
    pub fn try_finalise(&self) -> Result<Report, String> {
        self.job("finalise", &())
    }

    #[track_caller]
    pub fn finalise(&self) -> Report {
        self.try_finalise().unwrap()
    }

    /// Lays `entries` of [`World::copy`] over the tree.
    pub fn lay(&self, entries: &[Entry]) -> Result<(), String> {
        self.job("lay", &(self.copy(), entries))
    }

    #[track_caller]
    pub fn list(&self) -> Listing {
        let nodes: Vec<Node> = self.job("list", &()).unwrap();
        let by_path = nodes.into_iter().map(|node| (node.path.clone(), node));
        Listing(by_path.collect())
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(sandbox) = self.sandbox.take() {
            let _ = sandbox.destroy();
        }
    }
}

fn privileged() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

/// The one message that holds `word`.
#[track_caller]
pub fn message<'a>(messages: &'a [String], word: &str) -> &'a str {
    let found: Vec<_> = messages.iter().filter(|text| text.contains(word)).collect();
    assert_eq!(found.len(), 1, "with {word:?}: {messages:#?}");
    found[0]
}

#[track_caller]
pub fn assert_silent(messages: &[String], word: &str) {
    let found: Vec<_> = messages.iter().filter(|text| text.contains(word)).collect();
    assert!(found.is_empty(), "{found:#?}");
}
