//! Ctrl-C, SIGTERM and SIGHUP end a build in order: the build machine is destroyed first.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::error::{CommandError, Kind};

/// The flag that the signals set. A second signal ends the process at once; `mibe clean` finds the rest.
///
/// # Errors
///
/// The handlers could not be installed.
pub fn flag_on_signals() -> Result<Arc<AtomicBool>, CommandError> {
    let raised = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&raised);
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])
        .map_err(|error| CommandError::new(Kind::Host, format!("signal handlers: {error}")))?;
    std::thread::spawn(move || {
        for signal in signals.forever() {
            if flag.swap(true, Ordering::SeqCst) {
                let _ = signal_hook::low_level::emulate_default_handler(signal);
            }
        }
    });
    Ok(raised)
}
