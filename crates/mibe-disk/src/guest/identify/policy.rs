//! What ds-identify is to do with what it finds.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Search,
    Report,
    Enabled,
    Disabled,
}

/// What is to be done with what was found.
pub(super) struct Policy {
    pub mode: Mode,
    pub first: bool,
    pub maybe: bool,
    pub enabled_if_none: bool,
    pub from: &'static str,
}

impl Policy {
    /// A policy over the one that holds otherwise.
    pub(super) fn of(otherwise: &str, said: &str) -> Self {
        let mut policy = Self {
            mode: Mode::Search,
            first: false,
            maybe: false,
            enabled_if_none: false,
            from: "cloud-init",
        };
        for word in otherwise.split(',').chain(said.split(',')) {
            match word {
                "enabled" => policy.mode = Mode::Enabled,
                "disabled" => policy.mode = Mode::Disabled,
                "search" => policy.mode = Mode::Search,
                "report" => policy.mode = Mode::Report,
                "found=all" => policy.first = false,
                "found=first" => policy.first = true,
                "maybe=all" => policy.maybe = true,
                "maybe=none" => policy.maybe = false,
                "notfound=enabled" => policy.enabled_if_none = true,
                "notfound=disabled" => policy.enabled_if_none = false,
                _ => {}
            }
        }
        policy
    }

    pub(super) fn named(self, from: &'static str) -> Self {
        if from.is_empty() {
            self
        } else {
            Self { from, ..self }
        }
    }
}
