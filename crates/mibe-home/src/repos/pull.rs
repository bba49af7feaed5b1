//! Pulls: fast-forward only. What is changed, diverged or unfinished is told of and left as it is.

use camino::Utf8Path;

use crate::repos::git::{Failure, Git, Kind, Limits, Until, failure};
use crate::repos::list::Entry;
use crate::repos::outcome::{Outcome, plural};

/// What git keeps while something is unfinished (gitrepository-layout, and the state files of rebase and sequencer).
const UNFINISHED: [(&str, &str); 7] = [
    ("MERGE_HEAD", "a merge"),
    ("rebase-merge", "a rebase"),
    ("rebase-apply", "a rebase"),
    ("CHERRY_PICK_HEAD", "a cherry-pick"),
    ("REVERT_HEAD", "a revert"),
    ("BISECT_LOG", "a bisection"),
    ("sequencer", "a sequence of picks"),
];

/// Values that the server's branch had before that are looked at.
const REMEMBERED: usize = 20;

/// Brings an entry of the list up to date in `repos`.
pub fn pull(git: &Git, entry: &Entry, repos: &Utf8Path, limits: Limits<'_>) -> Outcome {
    let folder = repos.join(&entry.name);
    if folder.symlink_metadata().is_err() {
        return Outcome::good(
            &entry.name,
            "missing",
            "not cloned; `mibe repos clone` does",
        );
    }
    if !folder.join(".git").exists() {
        return Outcome::bad(
            &entry.name,
            "in the way",
            format!("{folder} is no git repository"),
            "move it away and clone it, or take the entry out of the list",
        );
    }
    let until = limits.start();
    let pull = Pull {
        git,
        entry,
        folder: &folder,
        until: &until,
    };
    pull.run()
        .unwrap_or_else(|failure| Outcome::failure(&entry.name, &failure))
}

struct Pull<'a> {
    git: &'a Git,
    entry: &'a Entry,
    folder: &'a Utf8Path,
    until: &'a Until<'a>,
}

impl Pull<'_> {
    fn run(&self) -> Result<Outcome, Failure> {
        if let Some(outcome) = self.unfinished()?.or(self.changed()?) {
            return Ok(outcome);
        }
        if let Some(outcome) = self.other_origin()? {
            return Ok(outcome);
        }
        self.fetch()?;
        if let Some(outcome) = self.moved_tag()? {
            return Ok(outcome);
        }
        let switched = match &self.entry.reference {
            Some(reference) => match self.switch(reference)? {
                Switch::No(outcome) => return Ok(outcome),
                Switch::Done(switched) => switched,
            },
            None => false,
        };
        let Some(head) = self.commit("HEAD")? else {
            return Ok(self.good("up to date", "no commits yet"));
        };
        let branch = self.branch()?;
        let Some(branch) = branch else {
            return Ok(match &self.entry.reference {
                Some(reference) if switched => self.good("updated", format!("now at {reference}")),
                Some(reference) => self.good("up to date", format!("at {reference}")),
                None => self.bad(
                    "detached",
                    format!("at {}, on no branch", short(&head)),
                    format!("git -C {} checkout BRANCH, or name what is meant in etc/repos.list: NAME@COMMIT", self.folder),
                ),
            });
        };
        let Some(upstream) = self.commit("@{upstream}")? else {
            return Ok(self.bad(
                "no upstream",
                format!("the branch {branch} follows none of the server"),
                "git branch --set-upstream-to=origin/BRANCH, or check out another",
            ));
        };
        let (ahead, behind) = self.distance("HEAD", "@{upstream}")?;
        match (ahead, behind) {
            (0, 0) if switched => Ok(self.good("updated", format!("now on {branch}"))),
            (0, 0) => Ok(self.good("up to date", branch)),
            (_, 0) => Ok(self.good(
                "ahead",
                format!("{} of your own on {branch}", plural(ahead, "commit")),
            )),
            (0, _) => self.forward(&branch, behind),
            _ => Ok(self.diverged(&branch, &head, &upstream, ahead, behind)?),
        }
    }

    fn good(&self, state: &'static str, detail: impl Into<String>) -> Outcome {
        Outcome::good(&self.entry.name, state, detail)
    }

    fn bad(
        &self,
        state: &'static str,
        detail: impl Into<String>,
        advice: impl Into<String>,
    ) -> Outcome {
        Outcome::bad(&self.entry.name, state, detail, advice)
    }

    /// git without the repository's own programs: nothing of it is run because somebody pulls.
    fn run_git(&self, arguments: &[&str]) -> Result<super::git::Output, Failure> {
        let tame = [
            "-c",
            "core.hooksPath=/dev/null",
            "-c",
            "core.fsmonitor=false",
        ];
        self.git
            .run(tame.iter().chain(arguments), Some(self.folder), self.until)
    }

    fn must(&self, arguments: &[&str]) -> Result<super::git::Output, Failure> {
        let output = self.run_git(arguments)?;
        if output.success() {
            Ok(output)
        } else {
            Err(failure(&output.stderr))
        }
    }

    fn unfinished(&self) -> Result<Option<Outcome>, Failure> {
        let directory = self.must(&["rev-parse", "--absolute-git-dir"])?.stdout;
        let directory = Utf8Path::new(directory.trim_end_matches('\n'));
        Ok(UNFINISHED
            .iter()
            .find(|(file, _)| directory.join(file).exists())
            .map(|(_, what)| {
                self.bad(
                    "unfinished",
                    format!("{what} is under way; untouched"),
                    "end it with git, then pull again",
                )
            }))
    }

    fn changed(&self) -> Result<Option<Outcome>, Failure> {
        let status = self.must(&[
            "status",
            "--porcelain",
            "--untracked-files=no",
            "--ignore-submodules=none",
        ])?;
        let count = status.stdout.lines().count();
        Ok((count > 0).then(|| {
            self.bad(
                "dirty",
                format!("{} changed; untouched", plural(count, "file")),
                "commit, stash or undo the changes, then pull again",
            )
        }))
    }

    fn fetch(&self) -> Result<(), Failure> {
        let remote = self.run_git(&["remote", "get-url", "origin"])?;
        if !remote.success() {
            return Err(Failure {
                kind: Kind::Other,
                message: "it has no remote named origin".to_owned(),
            });
        }
        self.must(&[
            "fetch",
            "--quiet",
            "--prune",
            "--recurse-submodules=no",
            "origin",
        ])
        .map(drop)
    }

    /// The commit that a name stands for, if there is one.
    fn commit(&self, name: &str) -> Result<Option<String>, Failure> {
        let output = self.run_git(&[
            "rev-parse",
            "--verify",
            "--quiet",
            "--end-of-options",
            &format!("{name}^{{commit}}"),
        ])?;
        Ok(output
            .success()
            .then(|| output.stdout.trim().to_owned())
            .filter(|commit| !commit.is_empty()))
    }

    fn branch(&self) -> Result<Option<String>, Failure> {
        let output = self.run_git(&["symbolic-ref", "--quiet", "--short", "HEAD"])?;
        Ok(output.success().then(|| output.stdout.trim().to_owned()))
    }

    /// Commits that only the one has, and that only the other has.
    fn distance(&self, one: &str, other: &str) -> Result<(usize, usize), Failure> {
        let counts = self.must(&[
            "rev-list",
            "--left-right",
            "--count",
            &format!("{one}...{other}"),
        ])?;
        let mut numbers = counts
            .stdout
            .split_whitespace()
            .map(|number| number.parse().unwrap_or(0));
        Ok((numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)))
    }

    fn forward(&self, branch: &str, behind: usize) -> Result<Outcome, Failure> {
        let merged = self.run_git(&["merge", "--ff-only", "--quiet", "@{upstream}"])?;
        if !merged.success() {
            if merged.stderr.contains("untracked working tree files") {
                return Ok(self.bad(
                    "in the way",
                    "files that git does not know stand where new ones would; untouched",
                    "move them away, then pull again (git merge --ff-only names them)",
                ));
            }
            return Err(failure(&merged.stderr));
        }
        self.submodules()?;
        Ok(self.good(
            "updated",
            format!("{} on {branch}", plural(behind, "new commit")),
        ))
    }

    fn submodules(&self) -> Result<(), Failure> {
        if self.folder.join(".gitmodules").exists() {
            self.must(&["submodule", "--quiet", "update", "--init", "--recursive"])?;
        }
        Ok(())
    }

    fn diverged(
        &self,
        branch: &str,
        head: &str,
        upstream: &str,
        ahead: usize,
        behind: usize,
    ) -> Result<Outcome, Failure> {
        if self.was_upstream(head, upstream)? {
            return Ok(self.bad(
                "rewritten",
                format!(
                    "the server's {branch} was rewritten (force-pushed); untouched at {}",
                    short(head)
                ),
                "git reset --keep @{upstream} takes the new one; nothing of your own is on it",
            ));
        }
        Ok(self.bad(
            "diverged",
            format!("{branch} is {ahead} ahead and {behind} behind; untouched"),
            "git rebase or merge it by hand",
        ))
    }

    /// Whether all of `head` once was on the server's branch, as git remembers it.
    fn was_upstream(&self, head: &str, upstream: &str) -> Result<bool, Failure> {
        let name = self
            .must(&["rev-parse", "--symbolic-full-name", "@{upstream}"])?
            .stdout;
        for place in 1..REMEMBERED {
            let Some(before) = self.commit(&format!("{}@{{{place}}}", name.trim()))? else {
                return Ok(false);
            };
            let contained = || self.run_git(&["merge-base", "--is-ancestor", head, &before]);
            if before != upstream && contained()?.success() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// A clone of something else than what the list names now.
    fn other_origin(&self) -> Result<Option<Outcome>, Failure> {
        // As it was written: settings of the user may rewrite it for both.
        let origin = self.run_git(&["config", "--get", "remote.origin.url"])?;
        let origin = origin.stdout.trim();
        let same = |url: &str| {
            url.trim_end_matches('/')
                .trim_end_matches(".git")
                .to_owned()
        };
        Ok(
            (!origin.is_empty() && same(origin) != same(&self.entry.url)).then(|| {
                self.bad(
                    "other origin",
                    format!(
                        "it was cloned from {origin}, and the list says {}; untouched",
                        self.entry.url
                    ),
                    format!(
                        "if it moved: git -C {} remote set-url origin {}",
                        self.folder, self.entry.url
                    ),
                )
            }),
        )
    }

    /// A tag of the list that is another on the server: git never moves a tag by itself.
    fn moved_tag(&self) -> Result<Option<Outcome>, Failure> {
        let Some(reference) = &self.entry.reference else {
            return Ok(None);
        };
        let name = format!("refs/tags/{reference}");
        let Some(own) = self.commit(&name)? else {
            return Ok(None);
        };
        if self
            .commit(&format!("refs/remotes/origin/{reference}"))?
            .is_some()
        {
            return Ok(None);
        }
        let peeled = format!("{name}^{{}}");
        let remote = self.must(&["ls-remote", "origin", &name, &peeled])?.stdout;
        // The commit behind an annotated tag comes after the tag itself.
        let theirs = remote
            .lines()
            .filter_map(|line| line.split_whitespace().next())
            .next_back();
        Ok(match theirs {
            Some(theirs) if theirs != own => Some(self.bad(
                "moved tag",
                format!("{reference} is {} here and {} on the server; untouched", short(&own), short(theirs)),
                format!("git -C {} fetch --force origin tag {reference} takes the new one, then pull again", self.folder),
            )),
            _ => None,
        })
    }

    /// Checks out what the list names, if nothing would be lost.
    fn switch(&self, reference: &str) -> Result<Switch, Failure> {
        let remote = format!("refs/remotes/origin/{reference}");
        let is_branch = self.commit(&remote)?.is_some();
        let current = self.branch()?;
        if is_branch && current.as_deref() == Some(reference) {
            return Ok(Switch::Done(false));
        }
        let wanted = if is_branch {
            None
        } else {
            let Some(commit) = self.commit(reference)? else {
                return Err(Failure {
                    kind: Kind::NoRef,
                    message: format!("there is no branch, tag or commit {reference}"),
                });
            };
            if current.is_none() && self.commit("HEAD")?.as_ref() == Some(&commit) {
                return Ok(Switch::Done(false));
            }
            Some(commit)
        };
        if current.is_none() {
            let named = self.must(&["for-each-ref", "--count=1", "--contains", "HEAD"])?;
            if named.stdout.trim().is_empty() {
                let outcome = self.bad(
                    "detached",
                    format!(
                        "at commits that no branch has, and the list says {reference}; untouched"
                    ),
                    "git branch NAME keeps them, then pull again",
                );
                return Ok(Switch::No(outcome));
            }
        }
        let checked_out = match &wanted {
            Some(commit) => self.run_git(&["checkout", "--quiet", "--detach", commit, "--"])?,
            None => self.run_git(&["checkout", "--quiet", reference, "--"])?,
        };
        if !checked_out.success() {
            let outcome = self.bad(
                "other ref",
                format!(
                    "the list says {reference}, which can't be checked out: {}",
                    failure(&checked_out.stderr).message
                ),
                "git checkout it by hand",
            );
            return Ok(Switch::No(outcome));
        }
        self.submodules()?;
        Ok(Switch::Done(true))
    }
}

enum Switch {
    /// Whether anything was done.
    Done(bool),
    /// It would have lost something.
    No(Outcome),
}

fn short(commit: &str) -> &str {
    commit.get(..10).unwrap_or(commit)
}
