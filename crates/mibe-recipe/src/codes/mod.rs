//! Every kind of finding, with what its page says.

use std::fmt::Write as _;

use serde::Serialize;

macro_rules! codes {
    ($($variant:ident $severity:ident $name:literal $title:literal $why:literal $mend:literal)*) => {
        /// A kind of finding. Its name stays the same between versions.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code {
            $(#[doc = $title] $variant,)*
        }

        impl Code {
            /// All of them, in the order of the documentation.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// Its name ("unclosed-quote").
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }

            /// Whether it stops a build.
            pub const fn severity(self) -> Severity {
                match self { $(Self::$variant => Severity::$severity),* }
            }

            /// What it is, in a line.
            pub const fn title(self) -> &'static str {
                match self { $(Self::$variant => $title),* }
            }

            /// Why it matters.
            pub const fn why(self) -> &'static str {
                match self { $(Self::$variant => $why),* }
            }

            /// What to do about it, in general; each finding says it of its place.
            pub const fn mend(self) -> &'static str {
                match self { $(Self::$variant => $mend),* }
            }
        }
    };
}

mod table;

pub use table::Code;

/// The page that lists every kind of finding, in Markdown: `docs/findings.md`.
pub fn findings_page() -> String {
    let mut page = String::from(
        "# Findings\n\nWhat `mibe check` tells of a build repository. An *error* stops a build; a *warning* is likely not what was \
         meant, and stops `mibe check --strict` only; an *info* is worth knowing. `mibe check --explain CODE` prints one of these.\n",
    );
    for code in Code::ALL {
        // Writing to a String cannot fail.
        let _ = write!(
            page,
            "\n## {code}\n\n*{}.* {}.\n\n- Why: {}\n- Mend: {}\n",
            code.severity(),
            code.title(),
            code.why(),
            code.mend()
        );
    }
    page
}

impl Code {
    /// The kind of that name.
    pub fn find(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.name() == name)
    }

    /// The kind whose name is nearest to a name that none has.
    pub fn nearest(name: &str) -> Option<Self> {
        crate::suggest::nearest(name, Self::ALL.iter().map(|code| code.name())).and_then(Self::find)
    }
}

impl Serialize for Code {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl std::fmt::Display for Code {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(self.name())
    }
}
