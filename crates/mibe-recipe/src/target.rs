//! Which kind of machine `type`, `brand` and `os` speak of.

use crate::codes::Code;
use crate::problem::{Collector, Located};
use crate::recipe::Target;

/// The machines that a key's value leaves possible; the first is what it means alone.
///
/// `brand` mostly holds a word for people ("Instance"), which says nothing here; the names of the platform's brands do.
fn meant(key: &str, value: &str) -> Option<&'static [Target]> {
    use Target::{Hvm, Lx, Native};
    Some(match (key, value) {
        ("type", "lx-dataset") | ("brand", "lx") => &[Lx],
        ("type", "zone-dataset") | ("brand", "joyent" | "joyent-minimal") => &[Native],
        ("type", "zvol") | ("brand", "kvm" | "bhyve") | ("os", "windows" | "bsd" | "other") => {
            &[Hvm]
        }
        ("os", "linux") => &[Lx, Hvm],
        ("os", "smartos" | "illumos") => &[Native, Hvm],
        ("brand", _) => &[Lx, Native, Hvm],
        _ => return None,
    })
}

/// What the values of `type`, `brand` and `os` (in this order) say together; `None` when they say nothing.
pub(crate) fn decide(
    values: [Option<Located<String>>; 3],
    problems: &mut Collector,
) -> Option<Located<Target>> {
    let mut said: Option<(&str, Located<&'static [Target]>)> = None;
    for (key, value) in ["type", "brand", "os"].into_iter().zip(values) {
        let Some(value) = value else { continue };
        let Some(means) = meant(key, &value) else {
            let shown = value.escape_debug();
            let advice = match key {
                "type" => "write lx-dataset, zone-dataset or zvol",
                _ => "write linux, smartos, illumos, bsd, windows or other",
            };
            problems.push(value.problem(
                Code::BadTarget,
                format!("`{key}` can't be `{shown}`"),
                advice,
            ));
            continue;
        };
        if means.len() == 3 {
            continue;
        }
        match &said {
            None => said = Some((key, value.with(means))),
            Some((earlier_key, earlier)) => {
                if !earlier.value.iter().any(|target| means.contains(target)) {
                    problems.push(value.problem(
                        Code::Contradiction,
                        format!(
                            "`{key}` and `{earlier_key}` (line {}) speak of different machines",
                            earlier.location.line
                        ),
                        "change one of the two, or leave one out",
                    ));
                }
            }
        }
    }
    said.and_then(|(_, means)| means.value.first().map(|&target| means.with(target)))
}
