//! Settings: `mibe.toml` of the home and of the user, `.mibecfg` of forks of the shell mibe.
//!
//! The first of these that has a setting counts: the home's `mibe.toml`, the user's (`$XDG_CONFIG_HOME/mibe/mibe.toml`), `.mibecfg` in
//! the user's home directory, `.mibecfg` in the home. Among the two `.mibecfg` the order is that of the fork that has them: it
//! reads the user's last.

mod table;

use std::collections::BTreeMap;
use std::env;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, Read as _};

use camino::{Utf8Path, Utf8PathBuf};
use mibe_recipe::{Code, Problem, Span, assignments, likeliest};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::error::HomeError;
use crate::home::Home;

pub use table::{Kind, OF_MIBECFG, SETTINGS, Setting};

/// Largest file of settings, in bytes.
const SIZE: u64 = 256 << 10;

/// What is set, and where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    values: BTreeMap<&'static str, Value>,
    /// What is odd about the files.
    pub warnings: Vec<Problem>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Value {
    Text(String),
    Number(u64),
    List(Vec<String>),
}

impl Settings {
    /// Reads the settings of a home and of the user.
    ///
    /// # Errors
    ///
    /// A file can't be read, or has a setting that there is not, or a value that one can't have: all of a file at once.
    pub fn read(home: &Home) -> Result<Self, HomeError> {
        let mut settings = Self::default();
        if home.is_found() {
            settings.shell(&home.path(".mibecfg"))?;
        }
        if let Some(user) = folder("HOME") {
            let path = user.join(".mibecfg");
            // A home that is the user's home directory has one such file.
            if !home.is_found() || path != home.path(".mibecfg") {
                settings.shell(&path)?;
            }
        }
        let config =
            folder("XDG_CONFIG_HOME").or_else(|| folder("HOME").map(|home| home.join(".config")));
        if let Some(config) = config {
            settings.toml(&config.join("mibe/mibe.toml"))?;
        }
        if home.is_found() {
            settings.toml(&home.path("mibe.toml"))?;
        }
        Ok(settings)
    }

    /// A setting that is a text, a word, a path or a UUID.
    pub fn text(&self, key: &str) -> Option<&str> {
        match self.values.get(key)? {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// A setting that is a number.
    pub fn number(&self, key: &str) -> Option<u64> {
        match self.values.get(key)? {
            Value::Number(number) => Some(*number),
            _ => None,
        }
    }

    /// A setting that is a list; empty where it is not set.
    pub fn list(&self, key: &str) -> &[String] {
        match self.values.get(key) {
            Some(Value::List(list)) => list,
            _ => &[],
        }
    }

    fn toml(&mut self, path: &Utf8Path) -> Result<(), HomeError> {
        let Some(bytes) = read(path)? else {
            return Ok(());
        };
        let mut problems = Vec::new();
        let values = parse_toml(path, &bytes, &mut problems);
        if !problems.is_empty() {
            // Tables come in the order of their names.
            problems.sort_by_key(|problem| problem.location.as_ref().map(|place| place.span.start));
            return Err(HomeError::Settings {
                file: path.to_owned(),
                problems,
            });
        }
        self.values.extend(values);
        Ok(())
    }

    /// `.mibecfg` is for a shell to run; what in it is no assignment is not for us.
    fn shell(&mut self, path: &Utf8Path) -> Result<(), HomeError> {
        let Some(bytes) = read(path)? else {
            return Ok(());
        };
        let (assigned, _) = assignments(path, &bytes);
        for assignment in assigned {
            let Some((_, key)) = OF_MIBECFG
                .iter()
                .find(|(key, _)| *key == assignment.key.value)
            else {
                continue;
            };
            let (Some(setting), false) = (key.and_then(find), assignment.value.is_empty()) else {
                continue;
            };
            match fit(setting, &assignment.value, path) {
                Ok(value) => {
                    self.values.insert(setting.key, value);
                }
                // The shell mibe took bzip2 too; what can't be kept must not stop a build that never asked for it.
                Err(advice) => self.warnings.push(Problem::in_text(
                    Code::UnusedKey,
                    path,
                    &bytes,
                    assignment.value.location.span,
                    format!("`{}` can't be this, and is not used", assignment.key.value),
                    advice,
                )),
            }
        }
        Ok(())
    }
}

fn folder(variable: &str) -> Option<Utf8PathBuf> {
    env::var(variable)
        .ok()
        .map(Utf8PathBuf::from)
        .filter(|path| path.is_absolute())
}

fn find(key: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.key == key)
}

fn read(path: &Utf8Path) -> Result<Option<Vec<u8>>, HomeError> {
    let mut bytes = Vec::new();
    let found = fs::File::open(path).and_then(|file| file.take(SIZE + 1).read_to_end(&mut bytes));
    match found {
        Ok(_) if bytes.len() as u64 > SIZE => Err(HomeError::io("read", path)(io::Error::other(
            format!("it is larger than {SIZE} bytes"),
        ))),
        Ok(_) => Ok(Some(bytes)),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(HomeError::io("read", path)(error)),
    }
}

/// A text as the value of a setting, or what to write instead.
fn fit(setting: &Setting, text: &str, file: &Utf8Path) -> Result<Value, String> {
    let wrong_text = text.is_empty() || text.chars().any(char::is_control);
    match setting.kind {
        _ if wrong_text => Err(format!("write {}", setting.example)),
        Kind::Text => Ok(Value::Text(text.to_owned())),
        Kind::Path => {
            let base = file.parent().unwrap_or(Utf8Path::new(""));
            let path = match (text.strip_prefix("~/"), folder("HOME")) {
                (Some(rest), Some(home)) => home.join(rest),
                _ => base.join(text),
            };
            Ok(Value::Text(path.into_string()))
        }
        Kind::Uuid => {
            let lower = text.to_ascii_lowercase();
            let good = lower.len() == 36
                && lower.bytes().enumerate().all(|(index, byte)| match index {
                    8 | 13 | 18 | 23 => byte == b'-',
                    _ => byte.is_ascii_hexdigit(),
                });
            if good {
                Ok(Value::Text(lower))
            } else {
                Err(format!("a UUID is 36 characters: {}", setting.example))
            }
        }
        Kind::Words(words) if words.contains(&text) => Ok(Value::Text(text.to_owned())),
        Kind::Words(words) => Err(format!("write one of {}", words.join(", "))),
        Kind::Number(..) | Kind::List => Err(format!("write {}", setting.example)),
    }
}

fn parse_toml(
    file: &Utf8Path,
    bytes: &[u8],
    problems: &mut Vec<Problem>,
) -> BTreeMap<&'static str, Value> {
    let mut tell = |code, span: std::ops::Range<usize>, message: String, advice: String| {
        let span = Span {
            start: span.start,
            end: span.end,
        };
        problems.push(Problem::in_text(code, file, bytes, span, message, advice));
    };
    let mut values = BTreeMap::new();
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let at = error.valid_up_to();
            tell(
                Code::NotUtf8,
                at..at + 1,
                "this byte is not UTF-8 text".to_owned(),
                "save the file as UTF-8".to_owned(),
            );
            return values;
        }
    };
    let document = match DeTable::parse(text) {
        Ok(document) => document,
        Err(error) => {
            tell(
                Code::BadSetting,
                error.span().unwrap_or(0..0),
                error.message().lines().collect::<Vec<_>>().join(", "),
                "settings are TOML: [table], key = \"value\"".to_owned(),
            );
            return values;
        }
    };
    for (table, inside) in document.into_inner() {
        let DeValue::Table(entries) = inside.get_ref() else {
            let name = table.get_ref();
            let places: Vec<&str> = SETTINGS
                .iter()
                .map(|setting| setting.key)
                .filter(|key| key.rsplit('.').next() == Some(name))
                .collect();
            let advice = match places.first().and_then(|key| key.split_once('.')) {
                Some((table, _)) => format!("put it under [{table}]"),
                None => format!("the tables are {}", tables().join(", ")),
            };
            tell(
                Code::UnknownSetting,
                table.span(),
                format!("no such setting: `{name}`"),
                advice,
            );
            continue;
        };
        if !tables().contains(&table.get_ref().as_ref()) {
            let advice = likeliest(table.get_ref(), tables(), 1).first().map_or_else(
                || format!("the tables are {}", tables().join(", ")),
                |name| format!("did you mean [{name}]?"),
            );
            tell(
                Code::UnknownSetting,
                table.span(),
                format!("no such table of settings: [{}]", table.get_ref()),
                advice,
            );
            continue;
        }
        for (key, value) in entries {
            let name = format!("{}.{}", table.get_ref(), key.get_ref());
            let Some(setting) = find(&name) else {
                let known = SETTINGS.iter().map(|setting| setting.key);
                let advice = likeliest(&name, known, 1).first().map_or_else(
                    || "docs/settings.md tells of all settings".to_owned(),
                    |near| format!("did you mean `{near}`?"),
                );
                tell(
                    Code::UnknownSetting,
                    key.span(),
                    format!("no such setting: `{name}`"),
                    advice,
                );
                continue;
            };
            match of_toml(setting, value, file) {
                Ok(value) => {
                    values.insert(setting.key, value);
                }
                Err(advice) => tell(
                    Code::BadSetting,
                    value.span(),
                    format!("`{name}` can't be this"),
                    advice,
                ),
            }
        }
    }
    values
}

fn of_toml(
    setting: &Setting,
    value: &Spanned<DeValue<'_>>,
    file: &Utf8Path,
) -> Result<Value, String> {
    match (setting.kind, value.get_ref()) {
        (Kind::Number(least, most), DeValue::Integer(number)) => {
            u64::from_str_radix(number.as_str(), number.radix())
                .ok()
                .filter(|number| (least..=most).contains(number))
                .map(Value::Number)
                .ok_or_else(|| format!("write a number from {least} to {most}"))
        }
        (Kind::Number(..), _) => Err(format!("write a number, as in {}", setting.example)),
        (Kind::List, DeValue::Array(items)) => items
            .iter()
            .map(|item| match item.get_ref() {
                DeValue::String(text) if !text.chars().any(char::is_control) => {
                    Ok(text.to_string())
                }
                _ => Err(format!("write a list of texts, as in {}", setting.example)),
            })
            .collect::<Result<_, _>>()
            .map(Value::List),
        (Kind::List, _) => Err(format!("write a list, as in {}", setting.example)),
        (_, DeValue::String(text)) => fit(setting, text, file),
        _ => Err(format!("write a text in quotes, as in {}", setting.example)),
    }
}

fn tables() -> Vec<&'static str> {
    let mut tables: Vec<&str> = SETTINGS
        .iter()
        .filter_map(|setting| setting.key.split('.').next())
        .collect();
    tables.dedup();
    tables
}

/// A `mibe.toml` with every setting as a comment.
pub fn commented() -> String {
    let mut text = String::from(
        "# Settings of mibe; take the # away from those to change. docs/settings.md tells more.\n",
    );
    let mut table = "";
    for setting in SETTINGS {
        let Some((of, key)) = setting.key.split_once('.') else {
            continue;
        };
        if of != table {
            table = of;
            // Writing to a String cannot fail.
            let _ = write!(text, "\n[{table}]\n");
        }
        let _ = write!(
            text,
            "\n# {}\n# {key} = {}\n",
            setting.meaning, setting.example
        );
    }
    text
}

/// The page that lists every setting, in Markdown: `docs/settings.md`.
pub fn page() -> String {
    let mut page = String::from(
        "# Settings\n\nSettings are read from `mibe.toml` in the home, then from `$XDG_CONFIG_HOME/mibe/mibe.toml` (`~/.config/mibe/mibe.toml`); \
         the first that has one counts. What the command line says stands over all of them, and what a repository's manifest says over \
         those under `image` and over `build.base` and `build.compression`. A setting that there is not is an error.\n\n\
         | setting | for example | what it does |\n|---|---|---|\n",
    );
    for setting in SETTINGS {
        // Writing to a String cannot fail.
        let _ = writeln!(
            page,
            "| `{}` | `{}` | {} |",
            setting.key, setting.example, setting.meaning
        );
    }
    page.push_str(
        "\nIn a file, `build.mirror = …` stands as `mirror = …` under `[build]`. `mibe init-home` writes a `mibe.toml` with all of them as \
         comments.\n\n## .mibecfg\n\nThe files `.mibecfg` in the home and in the user's home directory, which forks of the shell mibe read, \
         are read too (the user's stands over the home's, `mibe.toml` over both); no shell runs them.\n\n| key | setting |\n|---|---|\n",
    );
    for (key, setting) in OF_MIBECFG {
        let setting = setting.map_or_else(
            || "nothing: image manifests name an owner by its UUID alone".to_owned(),
            |setting| format!("`{setting}`"),
        );
        let _ = writeln!(page, "| `{key}` | {setting} |");
    }
    page
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
