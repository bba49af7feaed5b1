//! The build machine's spec: what `vmadm create` is given.
//!
//! It is made of `etc/vm.json`, as Triton or `vmadm get` wrote it or by hand, of the base and of what the command line sets; without a file,
//! of the base and the host. What is of one machine only is left out or renewed, and each such thing is told. What vmadm would refuse is
//! refused here, before there is a machine.

use std::net::IpAddr;

use mibe_recipe::likeliest;
use serde_json::{Map, Value, json};

use super::properties::{CREATE, Kind, OF_ONE_MACHINE, OF_ONE_NIC, Property};

/// Memory of a build machine where nothing says otherwise, in MiB: compilers and package managers need some.
const MEMORY: u64 = 1024;
/// Its disk, in GiB.
const QUOTA: u64 = 20;
/// What LX zones show as their kernel where nothing says otherwise: as in images.
const KERNEL_VERSION: &str = "5.10.0";
/// Name servers of a zone whose spec names none.
const RESOLVERS: [&str; 2] = ["8.8.8.8", "8.8.4.4"];
/// The tag by which a machine of ours is known on the host.
pub const BUILD_KEY: &str = "mibe:build";

/// What a spec is made of.
#[derive(Clone, Debug)]
pub struct SpecInput<'a> {
    /// Text of `etc/vm.json`, or of another file, where there is one.
    pub file: Option<&'a str>,
    /// `KEY=VALUE` of the command line; `nics.0.ip=dhcp` reaches inside, a value that is JSON is taken as that.
    pub sets: &'a [(String, String)],
    /// UUID of the new machine.
    pub uuid: &'a str,
    /// Its alias.
    pub alias: &'a str,
    /// The build that it is for, as the journal knows it.
    pub build: &'a str,
    /// UUID of the base.
    pub image: &'a str,
    /// `joyent`, `joyent-minimal` or `lx`, as the base wants.
    pub brand: &'a str,
    /// The base's tag `kernel_version`.
    pub kernel_version: Option<&'a str>,
    /// The base's `min_ram`, in MiB.
    pub min_ram: Option<u64>,
    /// Name servers of the command line.
    pub resolvers: &'a [IpAddr],
    /// The host's nic tags, those of its administration first; empty when they are not known.
    pub nic_tags: &'a [String],
}

/// A payload that `vmadm create` takes.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    /// The payload.
    pub payload: Map<String, Value>,
    /// What was left out, renewed or set, for the log.
    pub notes: Vec<String>,
}

/// Makes the spec.
///
/// # Errors
///
/// All that vmadm would refuse, and what it would not understand.
pub fn spec(input: &SpecInput<'_>) -> Result<Spec, Vec<String>> {
    let mut notes = Vec::new();
    let mut payload = match input.file {
        Some(text) => from_file(text, input)?,
        None => Map::new(),
    };
    let by_file = input.file.is_some();
    leave_out(&mut payload, OF_ONE_MACHINE, "", &mut notes);
    if let Some(Value::Array(nics)) = payload.get_mut("nics") {
        for (index, nic) in nics.iter_mut().enumerate() {
            if let Value::Object(nic) = nic {
                leave_out(nic, OF_ONE_NIC, &format!("nics.{index}."), &mut notes);
            }
        }
    }
    let mut wrong = Vec::new();
    for (key, value) in input.sets {
        match set(&mut payload, key, value) {
            // Metadata may be secret, and notes go to the log.
            Ok(()) if key.contains("_metadata") => notes.push(format!("{key} is set")),
            Ok(()) => notes.push(format!("{key} is set to {value}")),
            Err(message) => wrong.push(message),
        }
    }
    complete(&mut payload, input, by_file, &mut notes);
    let brand = payload
        .get("brand")
        .and_then(Value::as_str)
        .unwrap_or(input.brand)
        .to_owned();
    if !["joyent", "joyent-minimal", "lx"].contains(&brand.as_str()) {
        wrong.push(format!(
            "a build machine is a zone of brand joyent, joyent-minimal or lx, and not {brand:?}"
        ));
    }
    check(&payload, CREATE, &brand, "", &mut wrong);
    check_nics(&payload, input, &mut wrong);
    if wrong.is_empty() {
        Ok(Spec { payload, notes })
    } else {
        Err(wrong)
    }
}

fn from_file(text: &str, input: &SpecInput<'_>) -> Result<Map<String, Value>, Vec<String>> {
    let text = text.trim_start_matches('\u{feff}');
    let mut value: Value = serde_json::from_str(text)
        .map_err(|error| vec![format!("the spec is not JSON: {error}")])?;
    // `vmadm list -j` and `json -a` write lists.
    if let Value::Array(items) = &mut value
        && items.len() == 1
    {
        value = items.remove(0);
    }
    fill(&mut value, input);
    match value {
        Value::Object(payload) => Ok(payload),
        _ => Err(vec!["the spec is not a JSON object".to_owned()]),
    }
}

/// Fills `@image_uuid@`, `@brand@` and `@alias@` of templates.
fn fill(value: &mut Value, input: &SpecInput<'_>) {
    match value {
        Value::String(text) => {
            for (mark, word) in [
                ("@image_uuid@", input.image),
                ("@brand@", input.brand),
                ("@alias@", input.alias),
            ] {
                if text.contains(mark) {
                    *text = text.replace(mark, word);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| fill(item, input)),
        Value::Object(entries) => entries.values_mut().for_each(|value| fill(value, input)),
        _ => {}
    }
}

fn leave_out(
    entries: &mut Map<String, Value>,
    names: &[&str],
    place: &str,
    notes: &mut Vec<String>,
) {
    for name in names {
        if entries.remove(*name).is_some() {
            notes.push(format!(
                "{place}{name} of the spec is left out: it is of another machine"
            ));
        }
    }
}

/// `nics.0.ip`: names and places in lists, parted by dots.
fn set(payload: &mut Map<String, Value>, key: &str, text: &str) -> Result<(), String> {
    let value = serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()));
    let mut parts = key.split('.');
    let first = parts.next().unwrap_or_default();
    if first.is_empty() {
        return Err(format!("{key:?} names no property to set"));
    }
    let mut at = payload.entry(first).or_insert(Value::Null);
    for part in parts {
        if at.is_null() {
            *at = if part.parse::<usize>().is_ok() {
                json!([])
            } else {
                json!({})
            };
        }
        at = match at {
            Value::Object(entries) => entries.entry(part).or_insert(Value::Null),
            Value::Array(items) => {
                let place: usize = part
                    .parse()
                    .map_err(|_| format!("{key}: a list has places, and {part:?} is none"))?;
                if place > items.len() {
                    return Err(format!("{key}: the list has {} entries", items.len()));
                }
                if place == items.len() {
                    items.push(Value::Null);
                }
                &mut items[place]
            }
            _ => return Err(format!("{key}: there is nothing below {part:?}")),
        };
    }
    *at = value;
    Ok(())
}

/// What every build machine has, and what it needs where nothing says otherwise.
fn complete(
    payload: &mut Map<String, Value>,
    input: &SpecInput<'_>,
    by_file: bool,
    notes: &mut Vec<String>,
) {
    let mut always = |name: &str, value: Value, why: &str| {
        match payload.get(name) {
            Some(old) if *old == value => {}
            Some(_) => notes.push(format!("{name} of the spec is {value} now: {why}")),
            None => {}
        }
        payload.insert(name.to_owned(), value);
    };
    always(
        "uuid",
        input.uuid.into(),
        "every build has a machine of its own",
    );
    always("image_uuid", input.image.into(), "it is the base");
    always(
        "autoboot",
        true.into(),
        "the build needs the machine running",
    );
    if payload.get("brand").is_none() {
        payload.insert("brand".into(), input.brand.into());
    }
    // A machine that can't go, or leaves something when it goes, is no build machine.
    for name in [
        "archive_on_delete",
        "indestructible_zoneroot",
        "indestructible_delegated",
    ] {
        if payload.get(name).is_some_and(is_true) {
            notes.push(format!(
                "{name} of the spec is left out: a build machine goes wholly"
            ));
        }
        payload.remove(name);
    }
    for (name, value) in [("alias", input.alias), ("hostname", "mibe-build")] {
        payload.entry(name).or_insert_with(|| value.into());
    }
    if !payload.contains_key("max_physical_memory") && !payload.contains_key("ram") {
        payload.insert(
            "max_physical_memory".into(),
            input.min_ram.unwrap_or(0).max(MEMORY).into(),
        );
    }
    for name in ["max_physical_memory", "ram"] {
        let Some(least) = input.min_ram else { continue };
        if payload
            .get(name)
            .and_then(integer)
            .is_some_and(|memory| memory < i64::try_from(least).unwrap_or(i64::MAX))
        {
            payload.insert(name.into(), least.into());
            notes.push(format!(
                "{name} of the spec is {least} now: the base needs as much"
            ));
        }
    }
    payload.entry("quota").or_insert_with(|| QUOTA.into());
    if !input.resolvers.is_empty() {
        payload.insert(
            "resolvers".into(),
            input.resolvers.iter().map(IpAddr::to_string).collect(),
        );
    } else if !by_file {
        payload
            .entry("resolvers")
            .or_insert_with(|| json!(RESOLVERS));
    }
    if payload.get("brand").and_then(Value::as_str) == Some("lx") {
        payload
            .entry("kernel_version")
            .or_insert_with(|| input.kernel_version.unwrap_or(KERNEL_VERSION).into());
    }
    if !by_file
        && !payload.contains_key("nics")
        && let Some(tag) = input.nic_tags.first()
    {
        payload.insert(
            "nics".into(),
            json!([{"nic_tag": tag, "ips": ["dhcp"], "primary": true}]),
        );
    }
    // The other side of the journal.
    let metadata = payload
        .entry("internal_metadata")
        .or_insert_with(|| json!({}));
    if let Value::Object(entries) = metadata {
        entries.insert(BUILD_KEY.into(), input.build.into());
    }
}

/// What vmadm takes for true.
fn is_true(value: &Value) -> bool {
    matches!(value, Value::Bool(true))
        || matches!(value.as_str(), Some("true" | "1"))
        || value.as_i64() == Some(1)
}

/// A whole number, written as one or as a text.
fn integer(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => number.as_i64().or_else(|| {
            number
                .as_f64()
                .filter(|number| number.fract() == 0.0 && number.abs() < 9e15)
                .map(|number| number as i64)
        }),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

/// The rules that vmadm checks a payload by.
fn check(
    entries: &Map<String, Value>,
    table: &[Property],
    brand: &str,
    place: &str,
    wrong: &mut Vec<String>,
) {
    for (name, value) in entries {
        let property = table.iter().find(|property| {
            property.name == name
                && (property.brands.is_empty() || property.brands.contains(&brand))
        });
        let Some(property) = property else {
            let known = table.iter().map(|property| property.name);
            let hint = match likeliest(name, known, 1).first() {
                Some(near) if *near != name => format!("; did you mean {near}?"),
                Some(_) => format!("; zones of brand {brand} have no such property"),
                None => String::new(),
            };
            wrong.push(format!(
                "vmadm knows no property {place}{name} to create a machine with{hint}"
            ));
            continue;
        };
        let place = format!("{place}{name}");
        match property.kind {
            Kind::Objects(table) => match value {
                Value::Array(items) => {
                    for (index, item) in items.iter().enumerate() {
                        match item {
                            Value::Object(entries) => {
                                check(entries, table, brand, &format!("{place}.{index}."), wrong);
                            }
                            _ => wrong.push(format!("{place}.{index} must be an object")),
                        }
                    }
                }
                _ => wrong.push(format!("{place} must be a list of objects")),
            },
            kind => {
                if let Some(wanted) = refused(kind, value) {
                    wrong.push(format!(
                        "{place} must be {wanted}, and is {}",
                        told(kind, value)
                    ));
                }
            }
        }
    }
}

/// What a value is. Objects of texts are metadata, of which nothing but the keys is told: passwords are among them.
fn told(kind: Kind, value: &Value) -> String {
    let Kind::Flat = kind else {
        return value.to_string();
    };
    let kind = |value: &Value| match value {
        Value::Null => "null",
        Value::Bool(_) | Value::Number(_) | Value::String(_) => "a text, number or boolean",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    };
    let Value::Object(entries) = value else {
        return kind(value).to_owned();
    };
    let odd = entries
        .iter()
        .filter(|(_, value)| value.is_null() || value.is_array() || value.is_object())
        .map(|(key, value)| format!("{} in {key:?}", kind(value)));
    odd.collect::<Vec<_>>().join(", ")
}

/// What a value should be that vmadm would refuse.
fn refused(kind: Kind, value: &Value) -> Option<String> {
    let unset = value.is_null() || value.as_str().is_some_and(|text| text.trim().is_empty());
    let simple = |value: &Value| value.is_string() || value.is_number();
    let good = match kind {
        Kind::Text => unset || value.is_string(),
        Kind::Boolean => {
            value.is_boolean()
                || matches!(value.as_str(), Some("true" | "false" | "0" | "1"))
                || matches!(value.as_i64(), Some(0 | 1))
        }
        Kind::Integer(least, most) => {
            unset || integer(value).is_some_and(|number| (least..=most).contains(&number))
        }
        Kind::Uuid => value
            .as_str()
            .is_some_and(|text| uuid::Uuid::try_parse(text).is_ok() && text.len() == 36),
        Kind::List => match value {
            Value::String(_) => true,
            Value::Array(items) => items
                .iter()
                .all(|item| simple(item) && item.as_str().is_none_or(|text| !text.contains(','))),
            _ => false,
        },
        Kind::Flat => match value {
            Value::Object(entries) => entries
                .values()
                .all(|value| simple(value) || value.is_boolean()),
            _ => false,
        },
        Kind::Objects(_) => true,
    };
    if good {
        return None;
    }
    Some(match kind {
        Kind::Text => "a text".to_owned(),
        Kind::Boolean => "true or false".to_owned(),
        Kind::Integer(least, i64::MAX) => format!("a whole number from {least}"),
        Kind::Integer(least, most) => format!("a whole number from {least} to {most}"),
        Kind::Uuid => "a UUID".to_owned(),
        Kind::List => "a list of texts without commas".to_owned(),
        Kind::Flat => "an object of texts, numbers and booleans".to_owned(),
        Kind::Objects(_) => "a list of objects".to_owned(),
    })
}

/// What vmadm says of interfaces only when it makes them.
fn check_nics(payload: &Map<String, Value>, input: &SpecInput<'_>, wrong: &mut Vec<String>) {
    let Some(Value::Array(nics)) = payload.get("nics") else {
        if !payload.contains_key("nics") {
            wrong.push("the spec has no nics, and the nic tags of the host are not known: a build needs the network".to_owned());
        }
        return;
    };
    for (index, nic) in nics.iter().enumerate() {
        let Value::Object(nic) = nic else { continue };
        let text = |name: &str| {
            nic.get(name)
                .and_then(Value::as_str)
                .filter(|text| !text.is_empty())
        };
        match text("nic_tag") {
            None => wrong.push(format!("nics.{index} has no nic_tag")),
            // An etherstub or a tag on a virtual network is known by another name.
            Some(tag)
                if !input.nic_tags.is_empty()
                    && !tag.contains('/')
                    && !input.nic_tags.iter().any(|known| known == tag) =>
            {
                wrong.push(format!(
                    "the host has no nic tag {tag:?} (nics.{index}): it has {}",
                    input.nic_tags.join(", ")
                ));
            }
            Some(_) => {}
        }
        let mut addresses: Vec<&str> = text("ip").into_iter().collect();
        match nic.get("ips") {
            Some(Value::Array(ips)) => addresses.extend(ips.iter().filter_map(Value::as_str)),
            Some(Value::String(ips)) => {
                addresses.extend(ips.split(',').filter(|ip| !ip.is_empty()));
            }
            _ => {}
        }
        if addresses.is_empty() {
            wrong.push(format!(
                "nics.{index} has neither ips nor ip: \"ips\": [\"dhcp\"] is one way"
            ));
        }
        for address in addresses {
            let (ip, prefix) = address
                .split_once('/')
                .map_or((address, None), |(ip, prefix)| (ip, Some(prefix)));
            let dynamic = matches!(address, "dhcp" | "addrconf");
            let parsed = ip.parse::<IpAddr>().ok();
            let bits = if parsed.is_some_and(|ip| ip.is_ipv6()) {
                128
            } else {
                32
            };
            let good_prefix =
                prefix.is_none_or(|prefix| prefix.parse::<u8>().is_ok_and(|prefix| prefix <= bits));
            if !dynamic && (parsed.is_none() || !good_prefix) {
                wrong.push(format!("nics.{index}: {address:?} is no address"));
            } else if !dynamic && prefix.is_none() && text("netmask").is_none() {
                wrong.push(format!(
                    "nics.{index}: {address} needs a netmask, or a prefix: {address}/24"
                ));
            }
        }
        for name in ["netmask", "gateway"] {
            if let Some(value) = text(name)
                && value.parse::<IpAddr>().is_err()
            {
                wrong.push(format!("nics.{index}: the {name} {value:?} is no address"));
            }
        }
    }
}

#[cfg(test)]
#[path = "spec_tests.rs"]
mod tests;
