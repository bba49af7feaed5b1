//! Which packages make a base.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use super::DebianError;
use super::index::{Index, Package};
use super::version;

/// What a base has beyond what is essential, and why. The rest is the repository's to choose.
pub const BASE: &[&str] = &[
    // Installs the packages of build repositories.
    "apt",
    // apt checks the archive with these.
    "debian-archive-keyring",
    // apt and customize fetch over https.
    "ca-certificates",
    // A zone boots with it.
    "systemd-sysv",
    // systemctl and logins talk to systemd through it.
    "dbus",
    // What the LX boot script configures interfaces with.
    "ifupdown",
    // What administrators and scripts look at interfaces with.
    "iproute2",
    // /etc/services and /etc/protocols.
    "netbase",
    // ps, for scripts and people.
    "procps",
    // A way in; its host keys are made at first boot.
    "openssh-server",
    // Times of day in other zones than UTC.
    "tzdata",
];

/// The packages of a base, in an order in which each comes after what it needs (cycles aside).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// Essential packages and all they need: unpacked without dpkg.
    pub essential: Vec<Package>,
    /// The others: installed with dpkg.
    pub others: Vec<Package>,
}

impl Chosen {
    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &Package> {
        self.essential.iter().chain(&self.others)
    }
}

/// Chooses the essential packages, `extra`, and all that these need.
///
/// # Errors
///
/// A dependency can't be met, or two of the packages exclude each other.
pub fn resolve(index: &Index, extra: &[&str]) -> Result<Chosen, DebianError> {
    let mut resolver = Resolver {
        index,
        chosen: BTreeSet::new(),
        order: Vec::new(),
    };
    for package in index.packages().filter(|package| package.essential) {
        resolver.add(package)?;
    }
    // dpkg's maintainer scripts count on these two from the first; both are of priority required.
    for name in ["base-passwd", "mawk"] {
        if let Some(package) = index.get(name) {
            resolver.add(package)?;
        }
    }
    let essential = std::mem::take(&mut resolver.order);
    for name in extra {
        let relation = Relation {
            name,
            constraint: None,
        };
        let package = resolver
            .candidate(&relation)
            .ok_or_else(|| DebianError::Unresolvable {
                package: "the base".to_owned(),
                relation: (*name).to_owned(),
            })?;
        resolver.add(package)?;
    }
    let chosen = Chosen {
        essential: essential.into_iter().cloned().collect(),
        others: resolver.order.into_iter().cloned().collect(),
    };
    conflicts(&chosen)?;
    Ok(chosen)
}

/// One alternative of a dependency.
struct Relation<'a> {
    name: &'a str,
    constraint: Option<(&'a str, &'a str)>,
}

impl<'a> Relation<'a> {
    /// "name:any (>= 1.0) [arch]"
    fn parse(text: &'a str) -> Self {
        let text = text.split('[').next().unwrap_or(text).trim();
        let (name, constraint) = match text.split_once('(') {
            Some((name, rest)) => {
                let rest = rest.trim_end_matches([')', ' ']).trim();
                let end = rest
                    .find(|character| !"<>=".contains(character))
                    .unwrap_or(rest.len());
                let (operator, version) = rest.split_at(end);
                (name.trim(), Some((operator, version.trim())))
            }
            None => (text, None),
        };
        Self {
            name: name.split(':').next().unwrap_or(name),
            constraint,
        }
    }

    fn allows(&self, version: &str) -> bool {
        let Some((operator, wanted)) = self.constraint else {
            return true;
        };
        let order = version::compare(version, wanted);
        match operator {
            "<<" => order == Ordering::Less,
            "<=" | "<" => order != Ordering::Greater,
            "=" => order == Ordering::Equal,
            ">=" | ">" => order != Ordering::Less,
            ">>" => order == Ordering::Greater,
            _ => false,
        }
    }
}

struct Resolver<'a> {
    index: &'a Index,
    chosen: BTreeSet<&'a str>,
    order: Vec<&'a Package>,
}

impl<'a> Resolver<'a> {
    /// Adds a package after all that it needs. A hostile index can have chains of any length, so this doesn't call itself.
    fn add(&mut self, package: &'a Package) -> Result<(), DebianError> {
        if !self.chosen.insert(&package.name) {
            return Ok(());
        }
        let mut open = vec![(package, groups(package))];
        while let Some((package, groups)) = open.last_mut() {
            let Some(group) = groups.next() else {
                self.order.push(package);
                open.pop();
                continue;
            };
            let alternatives: Vec<_> = group.split('|').map(Relation::parse).collect();
            if alternatives.iter().any(|relation| self.met(relation)) {
                continue;
            }
            let candidate = alternatives
                .iter()
                .find_map(|relation| self.candidate(relation))
                .ok_or_else(|| DebianError::Unresolvable {
                    package: package.name.clone(),
                    relation: group.to_owned(),
                })?;
            if self.chosen.insert(&candidate.name) {
                open.push((candidate, self::groups(candidate)));
            }
        }
        Ok(())
    }

    fn met(&self, relation: &Relation) -> bool {
        self.chosen.contains(relation.name)
            && self
                .index
                .get(relation.name)
                .is_some_and(|package| relation.allows(&package.version))
            || self
                .providing(relation)
                .any(|package| self.chosen.contains(package.name.as_str()))
    }

    /// The package that meets a relation: itself, or its first provider by priority and name.
    fn candidate(&self, relation: &Relation) -> Option<&'a Package> {
        let real = self
            .index
            .get(relation.name)
            .filter(|package| relation.allows(&package.version));
        real.or_else(|| {
            self.providing(relation)
                .min_by_key(|package| (rank(&package.priority), package.name.clone()))
        })
    }

    fn providing(&self, relation: &Relation) -> impl Iterator<Item = &'a Package> {
        let index = self.index;
        index
            .providers(relation.name)
            .iter()
            .filter(move |(_, version)| match version {
                Some(version) => relation.allows(version),
                // What is provided without a version meets no versioned relation (policy 7.5).
                None => relation.constraint.is_none(),
            })
            .filter_map(move |(name, _)| index.get(name))
    }
}

/// The relations of a package that must all be met, alternatives together.
fn groups(package: &Package) -> impl Iterator<Item = &str> {
    package
        .pre_depends
        .split(',')
        .chain(package.depends.split(','))
        .map(str::trim)
        .filter(|group| !group.is_empty())
}

fn rank(priority: &str) -> u8 {
    match priority {
        "required" => 0,
        "important" => 1,
        "standard" => 2,
        "optional" => 3,
        _ => 4,
    }
}

fn conflicts(chosen: &Chosen) -> Result<(), DebianError> {
    let by_name: BTreeMap<&str, &Package> = chosen
        .all()
        .map(|package| (package.name.as_str(), package))
        .collect();
    for package in chosen.all() {
        for relation in package
            .conflicts
            .split(',')
            .map(str::trim)
            .filter(|relation| !relation.is_empty())
            .map(Relation::parse)
        {
            let other = by_name
                .get(relation.name)
                .filter(|other| other.name != package.name && relation.allows(&other.version));
            if let Some(other) = other {
                return Err(DebianError::Conflict {
                    one: package.name.clone(),
                    other: other.name.clone(),
                });
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(text: &str) -> Index {
        let mut index = Index::default();
        let file = format!("\nFilename: x.deb\nSize: 1\nSHA256: {}\n\n", "0".repeat(64));
        let text: Vec<_> = text.split("\n\n").map(str::trim).collect();
        let text = text.join(&file) + &file;
        index.read(text.as_bytes(), "http://mirror").unwrap();
        index
    }

    fn names(packages: &[Package]) -> Vec<&str> {
        packages
            .iter()
            .map(|package| package.name.as_str())
            .collect()
    }

    #[test]
    fn dependencies_come_first_and_the_newest_version_wins() {
        let index = index(
            "Package: libc6\nVersion: 2.36-9\n\n\
             Package: libc6\nVersion: 2.36-9+deb12u10\n\n\
             Package: bash\nVersion: 5.2\nEssential: yes\nPre-Depends: libc6 (>= 2.36)\n\n\
             Package: tool\nVersion: 1\nDepends: missing | awk:any, bash (>= 5)\n\n\
             Package: gawk\nVersion: 1\nPriority: optional\nProvides: awk\n\n\
             Package: mawk\nVersion: 1\nPriority: required\nProvides: awk",
        );
        let chosen = resolve(&index, &["tool"]).unwrap();
        assert_eq!(names(&chosen.essential), ["libc6", "bash", "mawk"]);
        assert_eq!(names(&chosen.others), ["tool"]);
        assert_eq!(chosen.essential[0].version, "2.36-9+deb12u10");
    }

    #[test]
    fn what_can_not_be_met_is_named() {
        let index = index(
            "Package: tool\nVersion: 1\nDepends: lib (>= 2)\n\nPackage: lib\nVersion: 1.9\n\n\
             Package: virtual-user\nVersion: 1\nDepends: thing (>= 1)\n\nPackage: giver\nVersion: 3\nProvides: thing",
        );
        for (package, relation) in [("tool", "lib (>= 2)"), ("virtual-user", "thing (>= 1)")] {
            match resolve(&index, &[package]) {
                Err(DebianError::Unresolvable {
                    package: by,
                    relation: what,
                }) => assert_eq!((by.as_str(), what.as_str()), (package, relation)),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn packages_that_exclude_each_other_are_an_error() {
        let index = index(
            "Package: one\nVersion: 1\nBreaks: other (<< 2)\n\nPackage: other\nVersion: 1\n\n\
             Package: third\nVersion: 1\nConflicts: third, other (<< 1)",
        );
        assert!(matches!(
            resolve(&index, &["one", "other"]),
            Err(DebianError::Conflict { .. })
        ));
        assert!(resolve(&index, &["other", "third"]).is_ok());
    }

    #[test]
    fn long_chains_need_no_stack() {
        let text: Vec<String> = (0..50_000)
            .map(|number| {
                format!(
                    "Package: p{number}\nVersion: 1\nDepends: p{}",
                    (number + 1) % 50_000
                )
            })
            .collect();
        let index = index(&text.join("\n\n"));
        let chosen = resolve(&index, &["p0"]).unwrap();
        assert_eq!(chosen.others.len(), 50_000);
        assert_eq!(chosen.others[0].name, "p49999");
    }

    #[test]
    fn cycles_end() {
        let index =
            index("Package: a\nVersion: 1\nDepends: b\n\nPackage: b\nVersion: 1\nDepends: a");
        assert_eq!(names(&resolve(&index, &["a"]).unwrap().others), ["b", "a"]);
    }
}
