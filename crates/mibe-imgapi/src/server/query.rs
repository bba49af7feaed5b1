//! What stands behind `?` in a request.

use super::refusal::Refusal;
use super::store::Channel;

/// Keys and values, in their order.
#[derive(Debug, Default)]
pub struct Query(Vec<(String, String)>);

impl Query {
    pub fn new(text: Option<&str>) -> Self {
        let pairs = form_urlencoded::parse(text.unwrap_or_default().as_bytes());
        Self(pairs.into_owned().collect())
    }

    /// The value of a key; an empty one counts as none.
    pub fn get(&self, key: &str) -> Option<&str> {
        let found = self.0.iter().find(|(own, _)| own == key);
        found
            .map(|(_, value)| value.as_str())
            .filter(|value| !value.is_empty())
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn flag(&self, key: &str) -> Result<bool, Refusal> {
        match self.get(key) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(other) => Err(Refusal::parameter(
                key,
                "Invalid",
                format!("invalid \"{key}\": {other:?} is neither true nor false"),
            )),
        }
    }

    /// The channel that is meant: `None` for all, where there are none or where `*` may stand for all.
    pub fn channel<'a>(
        &self,
        channels: &'a [Channel],
        star: bool,
    ) -> Result<Option<&'a str>, Refusal> {
        let Some(first) = channels.first() else {
            return Ok(None);
        };
        match self.get("channel") {
            None => Ok(Some(&first.name)),
            Some("*") if star => Ok(None),
            Some(name) => channels
                .iter()
                .find(|channel| channel.name == name)
                .map(|channel| Some(&*channel.name))
                .ok_or_else(|| {
                    Refusal::validation("channel", "Invalid", format!("unknown channel: {name}"))
                }),
        }
    }
}
