//! Ctrl-C, SIGTERM and SIGHUP end a build in order: the build machine is destroyed first.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use mibe_sandbox::Cancel;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::error::{CommandError, Kind};

/// The flag that the signals set. A second signal ends the process at once; `mibe clean` finds the rest.
///
/// # Errors
///
/// The handlers could not be installed.
pub fn cancel_on_signals() -> Result<Cancel, CommandError> {
    let cancel = Cancel::default();
    raise_on_signals(cancel.clone())?;
    Ok(cancel)
}

fn raise_on_signals(flag: Cancel) -> Result<(), CommandError> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])
        .map_err(|error| CommandError::new(Kind::Host, format!("signal handlers: {error}")))?;
    std::thread::spawn(move || {
        for signal in signals.forever() {
            if flag.is_cancelled() {
                let _ = signal_hook::low_level::emulate_default_handler(signal);
            }
            flag.cancel();
        }
    });
    Ok(())
}

/// The same flag, for what knows nothing of sandboxes.
///
/// # Errors
///
/// The handlers could not be installed.
pub fn flag_on_signals() -> Result<Arc<AtomicBool>, CommandError> {
    let flag = Arc::new(AtomicBool::new(false));
    raise_on_signals(Cancel::from_flag(Arc::clone(&flag)))?;
    Ok(flag)
}
