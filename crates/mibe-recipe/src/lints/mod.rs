//! What `mibe check` finds beyond what a build needs to know.
//!
//! A lint looks at what was read, and never runs anything. Those of severity error name what a build would fail of later.

mod lists;
mod manifest;
mod misnamed;
mod motd;
mod script;
mod secrets;
mod shell_words;
mod submodules;
mod tree;

use camino::Utf8Path;

use crate::problem::{Collector, Problem};
use crate::recipe::{Parts, Recipe};

/// All that can be known of a repository without building it.
#[derive(Clone, Debug)]
pub struct Checked {
    /// What it says, if it can be built.
    pub recipe: Option<Recipe>,
    /// What was found, errors first.
    pub findings: Vec<Problem>,
}

impl Checked {
    /// Whether anything was found that stops a build.
    pub fn has_errors(&self) -> bool {
        self.findings.iter().any(Problem::is_error)
    }
}

/// Checks the build repository in `directory`.
pub fn check(directory: &Utf8Path) -> Checked {
    let mut problems = Collector::default();
    let parts = match Parts::read(directory, &mut problems) {
        Ok(parts) => parts,
        Err(found) => {
            return Checked {
                recipe: None,
                findings: found.0,
            };
        }
    };
    let system = parts.recipe.as_ref().and_then(manifest::system);
    if let Some(recipe) = &parts.recipe {
        manifest::check(recipe, &mut problems);
    }
    lists::check(&parts, &mut problems);
    if let Some(customize) = &parts.customize {
        script::check(customize, system, &mut problems);
        secrets::check("customize".into(), &customize.contents, &mut problems);
    }
    if let Some(motd) = &parts.motd {
        motd::check(motd, &mut problems);
    }
    tree::check(directory, &parts.copy, &mut problems);
    submodules::check(directory, &mut problems);
    misnamed::check(directory, &mut problems);
    let failed = problems.has_errors();
    Checked {
        findings: problems.finish(),
        recipe: parts.into_recipe().filter(|_| !failed),
    }
}
