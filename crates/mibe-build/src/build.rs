//! Carries out a plan: the steps, written once for every builder.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use camino::Utf8Path;
use mibe_host::Outcome;
use mibe_image::file::{FinishedFile, ImageWriter};
use mibe_image::library;
use mibe_image::progress::Progress;

use crate::capture::{CaptureOptions, Captured};
use crate::error::BuildError;
use crate::journal::{Entry, Journal, Publication, Record};
use crate::log::BuildLog;
use crate::machine::{Builder, Machine, ResolvedBase, Script, outcome_in_words};
use crate::manifest;
use crate::packages::PackageManager;
use crate::paths::Paths;
use crate::plan::{Plan, Step};
use crate::report::Reporter;
use crate::work::{Guest, NewFile, Work};

/// Where customize stands in the build machine; scripts of the shell mibe remove themselves by this path.
const CUSTOMIZE: &str = "root/customize";

/// How a build is to go, beside what its plan says.
#[derive(Clone, Debug)]
pub struct BuildOptions {
    /// Folder of the log.
    pub logs: PathBuf,
    /// The user's folders.
    pub paths: Paths,
    /// Replace an existing image.
    pub force: bool,
    /// Leave the build machine when the build fails.
    pub keep_on_failure: bool,
    /// How long a call of a package manager may take.
    pub timeout_packages: Duration,
    /// How long customize may take.
    pub timeout_customize: Duration,
    /// Seconds since 1970: no file of the image is younger, and the image was published then.
    pub epoch: i64,
}

/// What a build made.
#[derive(Clone, Debug)]
pub struct Built {
    /// The image's file and its manifest.
    pub paths: library::ImagePaths,
    /// What the manifest says.
    pub image: mibe_image::manifest::Manifest,
    /// Bytes of the stream before compression.
    pub stream_size: u64,
    /// Entries in the file system, where they were counted.
    pub entries: Option<u64>,
    /// Name and version, and UUID, of the image that it was built on.
    pub base: Option<(String, String)>,
    /// The log of the build.
    pub log: PathBuf,
}

/// The image that a plan builds on, where it is known: a name may mean another one tomorrow.
fn based_on(plan: &Plan) -> Option<(String, String)> {
    let manifest = plan.base_manifest()?;
    let title = format!("{} {}", manifest.name, manifest.version);
    Some((title, manifest.uuid.clone()))
}

/// Builds an image.
///
/// # Errors
///
/// Whatever ended the build; its machine is destroyed then, and no file of the image is left.
pub fn build(
    plan: &Plan,
    options: &BuildOptions,
    builder: &mut dyn Builder,
    progress: &dyn Progress,
) -> Result<Built, BuildError> {
    let _alone = options
        .paths
        .own_repository(plan.repository.as_std_path())?;
    plan.image.check_free(options.force)?;
    let stamp = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ");
    let stem = plan.image.manifest().file_stem().unwrap_or("image");
    let log = BuildLog::create(&options.logs, &format!("{stem}-{stamp}.log"))?;
    let mut reporter = Reporter::new(progress, log);
    for warning in &plan.warnings {
        reporter.log.note(&format!("{warning}"));
    }
    output_folder(plan.image.file().parent().unwrap_or("".into()))?;
    let mut entry = Entry::new(
        builder.name(),
        &options.paths.machines(),
        plan.repository.as_str(),
    );
    reporter.start(Step::Resolve.name());
    let base = builder.resolve(plan, &mut entry, &mut |bytes| reporter.output(bytes));
    reporter.end(&base);
    let base = base.map_err(|error| error.with_log(&reporter.log))?;
    if let Some((title, uuid)) = based_on(plan) {
        reporter
            .log
            .note(&format!("the base is the image {title}, {uuid}"));
    }
    for note in &base.notes {
        reporter.log.note(note);
    }

    let mut record = Journal::new(options.paths.journal()).begin(entry)?;
    reporter.start(Step::Create.name());
    let created = builder.create(&base, &mut record, &mut |bytes| reporter.output(bytes));
    reporter.end(&created);
    let mut machine = match created {
        Ok(machine) => machine,
        Err(error) => {
            let kept = builder
                .remains()
                .filter(|_| options.keep_on_failure && !matches!(error, BuildError::Cancelled));
            if let Some(place) = kept {
                record.keep()?;
                reporter.kept(&place);
                return Err(error.with_log(&reporter.log));
            }
            match builder.abandon(&record.entry) {
                // An entry too many does no harm: there is nothing behind it.
                Ok(()) => drop(record.strike()),
                Err(left) => reporter.left(&left),
            }
            return Err(error.with_log(&reporter.log));
        }
    };
    let built = Run {
        plan,
        options,
        machine: machine.as_mut(),
        base: &base,
        record: &mut record,
        reporter: &mut reporter,
        manager: None,
        updated: false,
        again: builder.fetches_again(),
    }
    .steps();

    if let Err(error) = &built
        && options.keep_on_failure
        && !matches!(error, BuildError::Cancelled)
    {
        let place = machine.place();
        record.keep()?;
        reporter.kept(&place);
        return built;
    }
    if let Err(error) = machine.destroy().and_then(|()| record.strike()) {
        // The image is there, or what ended the build matters more.
        reporter.left(&error);
    }
    built
}

/// Makes the folder of the image, and writes to it: what can't be written at the end of a build should not be begun.
pub(crate) fn output_folder(folder: &Utf8Path) -> Result<(), BuildError> {
    let folder = if folder.as_str().is_empty() {
        ".".into()
    } else {
        folder
    };
    std::fs::create_dir_all(folder)
        .and_then(|()| tempfile::tempfile_in(folder))
        .map(drop)
        .map_err(BuildError::io("write to the folder", folder.as_std_path()))
}

/// Starts the file of an image, whose hidden names the journal has first.
pub(crate) fn begin_file(
    image: &library::ImagePaths,
    record: &mut Record,
) -> Result<ImageWriter, BuildError> {
    let tag = record.entry.id.clone();
    for draft in image.drafts(&tag) {
        record.add_partial(&absolute(&draft)?)?;
    }
    Ok(ImageWriter::create(image, &tag)?)
}

/// Writes down that an image is about to get its names.
pub(crate) fn announce(image: &library::ImagePaths, record: &mut Record) -> Result<(), BuildError> {
    record.publish(Publication {
        file: absolute(image.file())?,
        manifest: absolute(image.manifest())?,
    })
}

/// A build under way.
struct Run<'a, 'p> {
    plan: &'a Plan,
    options: &'a BuildOptions,
    machine: &'a mut dyn Machine,
    base: &'a ResolvedBase,
    record: &'a mut Record,
    reporter: &'a mut Reporter<'p>,
    manager: Option<PackageManager>,
    updated: bool,
    /// Whether what fetches packages gets a second try.
    again: bool,
}

impl Run<'_, '_> {
    fn steps(&mut self) -> Result<Built, BuildError> {
        let found = self.machine.work(&Work::Inspect)?;
        self.manager = found.package_manager;
        self.reporter.log.note(&format!(
            "the base is {}, its package manager {}",
            found.distribution,
            found
                .package_manager
                .map_or("unknown", PackageManager::name)
        ));
        if self.plan.steps.contains(&Step::Finalise) {
            self.machine.work(&Work::Prepare(self.guest()))?;
        }
        for step in &self.plan.steps {
            match step {
                Step::DeletePackages(names) => {
                    self.step(step, |run| {
                        run.packages(names, PackageManager::remove, false)
                    })?;
                }
                Step::Packages(names) => {
                    self.step(step, |run| {
                        run.packages(names, PackageManager::install, true)
                    })?;
                }
                Step::Copy { .. } => self.step(step, |run| {
                    let work = Work::Lay {
                        source: absolute(&run.plan.repository.join("copy"))?,
                        entries: run.plan.entries.clone(),
                        mtime: run.options.epoch,
                    };
                    run.machine.work(&work).map(drop)
                })?,
                Step::MotdProduct => self.step(step, Self::motd_product)?,
                Step::Customize => self.step(step, Self::customize)?,
                Step::Finalise => self.step(step, Self::finalise)?,
                // Done before the machine was there, or below, as each needs what the one before left.
                Step::Resolve | Step::Create | Step::Capture | Step::Manifest => {}
            }
        }
        self.finish()
    }

    /// What kind of machine the tree is the root of.
    fn guest(&self) -> Guest {
        match self.plan.disk {
            Some(_) => Guest::Machine,
            None => Guest::Zone,
        }
    }

    fn step<T>(
        &mut self,
        step: &Step,
        work: impl FnOnce(&mut Self) -> Result<T, BuildError>,
    ) -> Result<T, BuildError> {
        self.reporter.start(step.name());
        let result = work(self);
        self.reporter.end(&result);
        result
    }

    /// Installs or removes packages with the image's own package manager.
    fn packages(
        &mut self,
        names: &[String],
        command: fn(PackageManager) -> Vec<&'static str>,
        fetches: bool,
    ) -> Result<(), BuildError> {
        let Some(manager) = self.manager else {
            return Err(BuildError::Base {
                message: "the base has no package manager that mibe knows (apt-get, dnf, yum, apk, xbps-install, pkgin, pkg_add)".to_owned(),
                hints: vec!["take a base that has one, or empty packages and delete_packages".to_owned()],
                source: None,
            });
        };
        let words = |words: Vec<&'static str>| words.into_iter().map(OsString::from);
        if fetches && !self.updated {
            let update: Vec<_> = words(manager.update()).collect();
            if !update.is_empty() {
                self.manage(manager, update, true)?;
            }
            self.updated = true;
        }
        // In the order of the file, those by URL with what takes them.
        let is_url = |name: &&String| name.contains("://");
        for names in names.chunk_by(|one, next| is_url(&one) == is_url(&next)) {
            let manager = match names.first().filter(is_url).and(manager.by_url()) {
                Some(by_url) => by_url,
                None => manager,
            };
            let argv = words(command(manager))
                .chain(names.iter().map(OsString::from))
                .collect();
            self.manage(manager, argv, fetches)?;
        }
        Ok(())
    }

    fn manage(
        &mut self,
        manager: PackageManager,
        argv: Vec<OsString>,
        fetches: bool,
    ) -> Result<(), BuildError> {
        let what = argv
            .iter()
            .take(2)
            .map(|word| word.to_string_lossy().into_owned())
            .collect::<Vec<_>>()
            .join(" ");
        let script = Script {
            argv,
            env: manager
                .environment()
                .iter()
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
            cwd: "/".to_owned(),
            timeout: self.options.timeout_packages,
        };
        let hints = [
            "see whether every name in packages and delete_packages is one of the base's distribution",
            "if names could not be resolved, give the build a name server with --resolver",
        ];
        let first = self.run(&what, &script, &hints);
        match first {
            Err(BuildError::Script { how, .. }) if fetches && self.again => {
                self.reporter
                    .message(&format!("{what} {how}; trying it once more"));
                self.run(&what, &script, &hints)
            }
            first => first,
        }
    }

    fn motd_product(&mut self) -> Result<(), BuildError> {
        let recipe = &self.plan.recipe;
        let mut files = vec![NewFile {
            path: "etc/product".into(),
            mode: 0o644,
            content: recipe.product_text(Some(&self.base.title)).into_bytes(),
        }];
        if let Some(content) = recipe.motd_text() {
            files.push(NewFile {
                path: "etc/motd".into(),
                mode: 0o644,
                content,
            });
        }
        self.machine.work(&Work::Write(files)).map(drop)
    }

    fn customize(&mut self) -> Result<(), BuildError> {
        let Some(customize) = &self.plan.recipe.customize else {
            return Ok(());
        };
        let file = NewFile {
            path: CUSTOMIZE.into(),
            mode: 0o755,
            content: customize.contents.clone(),
        };
        self.machine.work(&Work::Write(vec![file]))?;
        let path = format!("/{CUSTOMIZE}");
        let argv = if customize.interpreter.is_some() {
            vec![path.into()]
        } else {
            // What a shell does with a script that names no interpreter.
            vec!["/bin/sh".into(), path.into()]
        };
        let mut env = vec![];
        if let Some(manager) = self.manager {
            env.extend(
                manager
                    .environment()
                    .iter()
                    .map(|(name, value)| (name.into(), value.into())),
            );
        }
        let script = Script {
            argv,
            env,
            cwd: "/root".to_owned(),
            timeout: self.options.timeout_customize,
        };
        let hints: &[&str] = if self.options.keep_on_failure {
            &[]
        } else {
            &["run again with --keep-on-failure to look into the build machine"]
        };
        self.run("customize", &script, hints)?;
        self.machine.work(&Work::Remove(CUSTOMIZE.into())).map(drop)
    }

    /// Runs a script; anything but exit status 0 is an error with its last output.
    fn run(&mut self, what: &str, script: &Script, hints: &[&str]) -> Result<(), BuildError> {
        let reporter = &mut *self.reporter;
        let outcome = self
            .machine
            .run(script, &mut |bytes| reporter.output(bytes))?;
        let not_found = outcome == Outcome::Exited(127);
        let how = match outcome {
            Outcome::Exited(0) => return Ok(()),
            Outcome::Cancelled => return Err(BuildError::Cancelled),
            Outcome::Exited(127) if self.reporter.log.tail().is_empty() => {
                "could not be started: its program or interpreter is not in the image".to_owned()
            }
            outcome => outcome_in_words(outcome, script.timeout),
        };
        Err(BuildError::Script {
            what: what.to_owned(),
            how,
            tail: self.reporter.log.tail(),
            log: Some(self.reporter.log.path().to_owned()),
            hints: not_found
                .then_some("127 says that a program was not found: one that it calls, or the interpreter in its first line")
                .into_iter()
                .chain(hints.iter().copied())
                .map(ToOwned::to_owned)
                .collect(),
        })
    }

    fn finalise(&mut self) -> Result<(), BuildError> {
        // Whatever the script did: the shell mibe ran it from there, and it must not be in the image.
        self.machine.work(&Work::Remove(CUSTOMIZE.into()))?;
        let report = self.machine.work(&Work::Finalise(self.guest()))?.finalised;
        for note in &report.notes {
            self.reporter.log.note(note);
        }
        for warning in &report.warnings {
            self.reporter.warning(warning);
        }
        Ok(())
    }

    /// Captures the machine and writes the image.
    fn finish(&mut self) -> Result<Built, BuildError> {
        let (captured, file) = self.step(&Step::Capture, Self::capture)?;
        for socket in &captured.sockets {
            self.reporter
                .log
                .note(&format!("left out a socket: {socket}"));
        }
        if let Some(disk) = &captured.disk {
            for note in &disk.notes {
                self.reporter.log.note(note);
            }
            for warning in &disk.warnings {
                self.reporter.warning(warning);
            }
        }
        if let Some(difference) = &captured.difference {
            self.reporter.log.note(&format!(
                "against the base: {} files new, {} changed, {} removed",
                difference.new, difference.changed, difference.removed
            ));
        }
        let image = manifest::manifest(self.plan, &captured, &file, self.options.epoch)?;
        let stream_size = file.raw_size();
        let (paths, force) = (&self.plan.image, self.options.force);
        announce(paths, self.record)?;
        self.step(&Step::Manifest, |_| {
            Ok(library::publish(file, &image, paths, force)?)
        })?;
        Ok(Built {
            paths: paths.clone(),
            image,
            stream_size,
            entries: captured.entries,
            base: based_on(self.plan),
            log: self.reporter.log.path().to_owned(),
        })
    }

    fn capture(&mut self) -> Result<(Captured, FinishedFile), BuildError> {
        let options = CaptureOptions {
            snapshot: format!("mibe/{}@final", manifest::dataset_name(&self.plan.recipe)),
            epoch: self.options.epoch,
            base: match self.base.image.as_ref().filter(|_| self.plan.incremental) {
                Some(image) => Some(image.files()?),
                None => None,
            },
        };
        let writer = begin_file(&self.plan.image, self.record)?;
        let mut counted = Counted {
            inner: writer,
            count: 0,
            shown: 0,
            reporter: self.reporter,
        };
        let captured = self.machine.capture(&options, &mut counted)?;
        counted.reporter.bytes(counted.count, None);
        let file = counted.inner.finish()?;
        Ok((captured, file))
    }
}

/// A path that is right in another process's working directory, too.
fn absolute(path: &Utf8Path) -> Result<PathBuf, BuildError> {
    std::path::absolute(path).map_err(BuildError::io("find", path.as_std_path()))
}

/// Tells how many bytes went through.
struct Counted<'a, 'p, W> {
    inner: W,
    count: u64,
    shown: u64,
    reporter: &'a Reporter<'p>,
}

/// Bytes between two reports; a terminal shows some ten a second.
const REPORT_EVERY: u64 = 8 << 20;

impl<W: Write> Write for Counted<'_, '_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.count += count as u64;
        if self.count - self.shown >= REPORT_EVERY {
            self.shown = self.count;
            self.reporter.bytes(self.count, None);
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
