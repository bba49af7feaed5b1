//! Draws what a build tells: bars on a terminal, lines elsewhere, or JSON objects.

use std::io::{IsTerminal as _, Write as _};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use mibe_image::progress::{Event, NoProgress, Progress, VERSION};

use crate::cli::ProgressName;
use crate::output::plain;
use crate::units;

/// What shows the progress of a build.
pub fn of(name: ProgressName, verbose: bool) -> Arc<dyn Progress> {
    match name {
        ProgressName::None => Arc::new(NoProgress),
        ProgressName::Json => Arc::new(JsonLines { verbose }),
        ProgressName::Auto if std::io::stderr().is_terminal() => Arc::new(Bars {
            verbose,
            bar: Mutex::new(None),
        }),
        ProgressName::Auto | ProgressName::Plain => Arc::new(Lines {
            verbose,
            bytes: Mutex::new(None),
        }),
    }
}

/// A line for what a step's end says.
fn finished(mark: &str, step: &str, milliseconds: u64, bytes: Option<u64>) -> String {
    let time = units::duration(Duration::from_millis(milliseconds));
    let bytes = bytes.map(units::bytes).unwrap_or_default();
    format!("{mark} {step:<18} {time:>12}  {bytes}")
        .trim_end()
        .to_owned()
}

/// JSON objects, one a line, on standard output. Each has the version of the format and the kind of event.
struct JsonLines {
    verbose: bool,
}

impl Progress for JsonLines {
    fn event(&self, event: Event) {
        if matches!(event, Event::Log { .. }) && !self.verbose {
            return;
        }
        let Ok(mut object) = serde_json::to_value(&event) else {
            return;
        };
        if let Some(fields) = object.as_object_mut() {
            fields.insert("version".to_owned(), VERSION.into());
        }
        // A reader that went away must not end the build.
        let _ = writeln!(std::io::stdout(), "{object}");
    }
}

/// A line a step, on standard error.
struct Lines {
    verbose: bool,
    /// Bytes that the step at hand has done.
    bytes: Mutex<Option<u64>>,
}

impl Lines {
    fn bytes(&self, done: Option<u64>) -> Option<u64> {
        self.bytes
            .lock()
            .ok()
            .and_then(|mut bytes| std::mem::replace(&mut *bytes, done))
    }
}

impl Progress for Lines {
    fn event(&self, event: Event) {
        let line = match event {
            Event::StepFinished { step, milliseconds } => {
                finished("done  ", &step, milliseconds, self.bytes(None))
            }
            Event::StepFailed {
                step, milliseconds, ..
            } => finished("failed", &step, milliseconds, self.bytes(None)),
            Event::Bytes { done, .. } => {
                self.bytes(Some(done));
                return;
            }
            Event::Log { line, .. } if self.verbose => format!("  | {line}"),
            Event::Message { text } => format!("note: {}", plain(&text)),
            Event::Warning { text, advice } => warning(&text, advice.as_deref()),
            // The others say nothing that a line must say.
            _ => return,
        };
        let _ = writeln!(std::io::stderr(), "{line}");
    }
}

fn warning(text: &str, advice: Option<&str>) -> String {
    match advice {
        Some(advice) => format!("warning: {}\n  hint: {}", plain(text), plain(advice)),
        None => format!("warning: {}", plain(text)),
    }
}

/// The step at hand with a spinner, its time and its bytes; steps that ended stay above it.
struct Bars {
    verbose: bool,
    bar: Mutex<Option<Shown>>,
}

struct Shown {
    bar: ProgressBar,
    bytes: Option<u64>,
}

const SPINNER: &str = "{spinner} {prefix:<18} {elapsed:>12}  {wide_msg}";

impl Bars {
    fn start(&self, step: &str) {
        let bar = ProgressBar::new_spinner().with_prefix(step.to_owned());
        if let Ok(style) = ProgressStyle::with_template(SPINNER) {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(100));
        self.replace(Some(Shown { bar, bytes: None }));
    }

    fn end(&self, mark: &str, step: &str, milliseconds: u64) {
        let bytes = self.replace(None).and_then(|shown| shown.bytes);
        let _ = writeln!(
            std::io::stderr(),
            "{}",
            finished(mark, step, milliseconds, bytes)
        );
    }

    fn replace(&self, next: Option<Shown>) -> Option<Shown> {
        let mut shown = self.bar.lock().ok()?;
        let previous = std::mem::replace(&mut *shown, next);
        if let Some(previous) = &previous {
            previous.bar.finish_and_clear();
        }
        previous
    }

    fn with(&self, change: impl FnOnce(&mut Shown)) {
        if let Ok(mut shown) = self.bar.lock()
            && let Some(shown) = &mut *shown
        {
            change(shown);
        }
    }

    /// A line above the spinner, or where it would be.
    fn above(&self, line: &str) {
        if let Ok(shown) = self.bar.lock()
            && let Some(shown) = &*shown
        {
            shown.bar.println(line);
            return;
        }
        let _ = writeln!(std::io::stderr(), "{line}");
    }
}

impl Progress for Bars {
    fn event(&self, event: Event) {
        match event {
            Event::StepStarted { step } => self.start(&step),
            Event::StepFinished { step, milliseconds } => self.end("✓", &step, milliseconds),
            Event::StepFailed {
                step, milliseconds, ..
            } => self.end("✗", &step, milliseconds),
            Event::Bytes { done, total, .. } => self.with(|shown| {
                shown.bytes = Some(done);
                shown.bar.set_message(match total {
                    Some(total) => format!("{} of {}", units::bytes(done), units::bytes(total)),
                    None => units::bytes(done),
                });
            }),
            Event::Log { line, .. } if self.verbose => self.above(&format!("  │ {line}")),
            Event::Log { line, .. } => self.with(|shown| shown.bar.set_message(line)),
            Event::Message { text } => self.above(&format!("note: {}", plain(&text))),
            Event::Warning { text, advice } => self.above(&warning(&text, advice.as_deref())),
            _ => {}
        }
    }
}
