//! What a list of images is to hold, the same for who asks and who answers (IMGAPI's ListImages).

use mibe_image::manifest::{Manifest, State};
use serde_json::Value;

use crate::error::Error;

/// A text that a field must be, or have in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Text {
    /// Just this.
    Is(String),
    /// This is a part of it; case counts.
    Has(String),
    /// Anything but this.
    IsNot(String),
}

impl Text {
    /// As it stands in a query: `~` before a part, `!` before what it must not be.
    pub fn of_query(value: &str) -> Self {
        match (value.strip_prefix('~'), value.strip_prefix('!')) {
            (Some(part), _) => Self::Has(part.to_owned()),
            (_, Some(other)) => Self::IsNot(other.to_owned()),
            _ => Self::Is(value.to_owned()),
        }
    }

    fn fits(&self, text: &str) -> bool {
        match self {
            Self::Is(this) => text == this,
            Self::Has(part) => text.contains(part),
            Self::IsNot(other) => text != other,
        }
    }

    fn query(&self) -> String {
        match self {
            Self::Is(this) => this.clone(),
            Self::Has(part) => format!("~{part}"),
            Self::IsNot(other) => format!("!{other}"),
        }
    }
}

/// Which states are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum States {
    /// Those that can be used.
    #[default]
    Active,
    /// Those of one state.
    Only(State),
    /// All.
    All,
}

/// What images are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Their name.
    pub name: Option<Text>,
    /// Their version.
    pub version: Option<Text>,
    /// Their os.
    pub os: Option<Text>,
    /// Their type.
    pub kind: Option<Text>,
    /// UUID of their owner.
    pub owner: Option<String>,
    /// Whether they are public.
    pub public: Option<bool>,
    /// Their state.
    pub states: States,
    /// Tags and their values, as text; all must fit.
    pub tags: Vec<(String, String)>,
    /// Billing tags; all must be there.
    pub billing_tags: Vec<String>,
}

impl Filter {
    /// Understands `KEY=VALUE` and `KEY~PART`, as on a command line.
    ///
    /// # Errors
    ///
    /// The key is not known, or there is neither sign.
    pub fn add_argument(&mut self, argument: &str) -> Result<(), Error> {
        let wrong = |why: &str| {
            Error::usage(
                format!("{argument:?} is no filter: {why}"),
                &[
                    "a filter is KEY=VALUE or KEY~PART, with name, version, os, type, owner, public, state, tag.KEY or billing_tag as KEY: name~base type=lx-dataset",
                ],
            )
        };
        let at = argument
            .find(['=', '~'])
            .ok_or_else(|| wrong("it has neither = nor ~"))?;
        let (key, value) = argument.split_at(at);
        // "name=~base" is what IMGAPI itself has.
        let value = value.strip_prefix('=').unwrap_or(value);
        self.add(key, value).map_err(|why| wrong(&why))
    }

    /// Understands a parameter of a query; `limit`, `marker` and the like are not for it.
    ///
    /// # Errors
    ///
    /// What is wrong, in words: the key is not known, or can't have that value.
    pub fn add(&mut self, key: &str, value: &str) -> Result<(), String> {
        match key {
            "name" => self.name = Some(Text::of_query(value)),
            "version" => self.version = Some(Text::of_query(value)),
            "os" => self.os = Some(Text::of_query(value)),
            "type" => self.kind = Some(Text::of_query(value)),
            "owner" => self.owner = Some(value.to_owned()),
            "public" => {
                self.public = Some(match value {
                    "true" => true,
                    "false" => false,
                    _ => return Err(format!("public is true or false, not {value:?}")),
                });
            }
            "state" => {
                self.states = match value {
                    "active" => States::Active,
                    "all" => States::All,
                    word => States::Only(
                        State::ALL
                            .iter()
                            .copied()
                            .find(|state| state.name() == word)
                            .ok_or_else(|| format!("there is no state {value:?}"))?,
                    ),
                };
            }
            "billing_tag" => self.billing_tags.push(value.to_owned()),
            _ => match key.strip_prefix("tag.").filter(|key| !key.is_empty()) {
                Some(key) => self.tags.push((key.to_owned(), value.to_owned())),
                None => return Err(format!("there is no key {key:?}")),
            },
        }
        Ok(())
    }

    /// The parameters of a query that say it.
    pub(crate) fn query(&self) -> Vec<(String, String)> {
        let mut query = Vec::new();
        let mut add = |key: &str, value: Option<String>| {
            query.extend(value.map(|value| (key.to_owned(), value)));
        };
        add("name", self.name.as_ref().map(Text::query));
        add("version", self.version.as_ref().map(Text::query));
        // Servers know no parts of these; what they can't filter is filtered here.
        let plain = |text: &Option<Text>| match text {
            Some(Text::Is(text)) => Some(text.clone()),
            _ => None,
        };
        add("os", plain(&self.os));
        add("type", plain(&self.kind));
        add("owner", self.owner.clone());
        add("public", self.public.map(|public| public.to_string()));
        add(
            "state",
            match self.states {
                States::Active => None,
                States::Only(state) => Some(state.name().to_owned()),
                States::All => Some("all".to_owned()),
            },
        );
        for (key, value) in &self.tags {
            add(&format!("tag.{key}"), Some(value.clone()));
        }
        for tag in &self.billing_tags {
            add("billing_tag", Some(tag.clone()));
        }
        query
    }

    /// Whether an image is wanted.
    pub fn fits(&self, image: &Manifest) -> bool {
        let text = |wanted: &Option<Text>, text: &str| {
            wanted.as_ref().is_none_or(|wanted| wanted.fits(text))
        };
        let tag = |(key, value): &(String, String)| {
            let found = image.tags.as_ref().and_then(|tags| tags.get(key));
            found.is_some_and(|found| match found {
                Value::String(text) => text == value,
                other => value.parse::<Value>().is_ok_and(|value| value == *other),
            })
        };
        let billing = |tag: &String| image.billing_tags.iter().flatten().any(|own| own == tag);
        text(&self.name, &image.name)
            && text(&self.version, &image.version)
            && text(&self.os, image.os.name())
            && text(&self.kind, image.kind.name())
            && self
                .owner
                .as_ref()
                .is_none_or(|owner| image.owner.as_ref() == Some(owner))
            && self
                .public
                .is_none_or(|public| image.public.unwrap_or(false) == public)
            && match self.states {
                States::All => true,
                States::Active => state(image) == State::Active,
                States::Only(wanted) => state(image) == wanted,
            }
            && self.tags.iter().all(tag)
            && self.billing_tags.iter().all(billing)
    }
}

/// The state of an image by what its manifest says: what says nothing of it is an image of a library, which can be used.
pub fn state(image: &Manifest) -> State {
    match (image.state, image.activated, image.disabled) {
        (Some(state @ (State::Creating | State::Failed)), _, _) => state,
        (_, Some(false), _) => State::Unactivated,
        (_, _, Some(true)) => State::Disabled,
        (Some(state), _, _) => state,
        (None, _, _) => State::Active,
    }
}

#[cfg(test)]
mod tests {
    use mibe_image::manifest::{ImageType, Os};

    use super::*;

    fn image() -> Manifest {
        let mut image = Manifest::new(
            "7b5981c4-1889-11e6-9dfc-f31f0a3b5d4e",
            "base-64-lts",
            "22.4.0",
            ImageType::ZoneDataset,
            Os::Smartos,
        );
        image.public = Some(true);
        let tags = serde_json::json!({"role": "os", "bits": 64, "good": true});
        image.tags = tags.as_object().cloned();
        image.billing_tags = Some(vec!["promo".into()]);
        image
    }

    #[test]
    fn every_key_decides() {
        let fits = |arguments: &[&str]| {
            let mut filter = Filter::default();
            for argument in arguments {
                filter.add_argument(argument).unwrap();
            }
            filter.fits(&image())
        };
        for good in [
            "name=base-64-lts",
            "name~64",
            "name=~64",
            "version~22",
            "os=smartos",
            "type=zone-dataset",
            "type=!zvol",
            "public=true",
            "state=active",
            "state=all",
            "tag.role=os",
            "tag.bits=64",
            "tag.good=true",
            "billing_tag=promo",
        ] {
            assert!(fits(&[good]), "{good}");
        }
        for bad in [
            "name=base",
            "name~LTS",
            "version=22",
            "os=linux",
            "type=!zone-dataset",
            "public=false",
            "state=disabled",
            "state=unactivated",
            "tag.role=o",
            "tag.none=1",
            "billing_tag=x",
            "owner=9dce1460-0c4c-4417-ab8b-25ca478c5a78",
        ] {
            assert!(!fits(&[bad]), "{bad}");
        }
        assert!(!fits(&["name~64", "os=linux"]));
        for wrong in [
            "name",
            "colour=red",
            "public=maybe",
            "state=odd",
            "tag.=x",
            "",
        ] {
            assert!(Filter::default().add_argument(wrong).is_err(), "{wrong}");
        }
    }
}
