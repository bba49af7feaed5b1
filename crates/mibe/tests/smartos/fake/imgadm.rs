//! imgadm(8), as far as tools call it.

use std::fs;

use serde_json::{Value, json};

use crate::state::{Dataset, Host, State};
use crate::zfs::copy_dataset;
use crate::{Done, Failure};

fn not_installed(verb: &str, pool: &str, uuid: &str) -> Failure {
    Failure {
        status: 3,
        words: format!(
            "imgadm {verb}: error (ImageNotInstalled): image \"{uuid}\" was not found on zpool \"{pool}\""
        ),
    }
}

fn not_found(verb: &str, uuid: &str) -> Failure {
    Failure {
        status: 3,
        words: format!("imgadm {verb}: error (ImageNotFound): image \"{uuid}\" was not found"),
    }
}

fn print(value: &Value) {
    println!("{}", serde_json::to_string_pretty(value).unwrap());
}

pub fn run(host: &Host, words: &[&str]) -> Done {
    match words {
        ["get", "-P", pool, uuid] => {
            let state = host.lock().state;
            let image = state
                .images
                .get(*uuid)
                .ok_or_else(|| not_installed("get", pool, uuid))?;
            print(
                &json!({"manifest": image, "zpool": pool, "source": "https://images.example.org"}),
            );
            Ok(())
        }
        ["show", uuid] => {
            let state = host.lock().state;
            print(
                state
                    .sources
                    .get(*uuid)
                    .ok_or_else(|| not_found("show", uuid))?,
            );
            Ok(())
        }
        ["list", "-j"] => {
            let state = host.lock().state;
            let mut list: Vec<Value> = state
                .images
                .values()
                .map(|manifest| json!({"manifest": manifest, "zpool": "zones", "cloneable": true}))
                .collect();
            // Docker images have manifests of their own kind.
            list.push(json!({"manifest": {"v": 2, "uuid": "x", "type": "docker", "config": {}}}));
            print(&Value::Array(list));
            Ok(())
        }
        ["avail", "-j"] => {
            let state = host.lock().state;
            let list: Vec<Value> = state
                .sources
                .values()
                .map(|manifest| json!({"manifest": manifest, "source": "https://images.example.org"}))
                .collect();
            print(&Value::Array(list));
            Ok(())
        }
        ["import", "-q", "-P", pool, uuid] => {
            let mut locked = host.lock();
            if locked.state.images.contains_key(*uuid) {
                println!("Image {uuid} is already installed, skipping");
                return Ok(());
            }
            let manifest = locked.state.sources.get(*uuid).cloned();
            let manifest = manifest.ok_or_else(|| Failure {
                status: 1,
                words: format!(
                    "imgadm import: error (ActiveImageNotFound): an active image \"{uuid}\" was not found in image sources"
                ),
            })?;
            install(host, &mut locked.state, pool, uuid, &manifest);
            locked.save();
            println!("Imported image {uuid}");
            Ok(())
        }
        _ => Err(Failure::new(format!(
            "imgadm: error (UnknownCommand): unknown command or option: {words:?}"
        ))),
    }
}

/// Puts an image of the sources in place.
fn install(host: &Host, state: &mut State, pool: &str, uuid: &str, manifest: &Value) {
    let source = host.path("source").join(uuid);
    let name = format!("{pool}/{uuid}");
    copy_dataset(&source.join("tree"), &host.mountpoint(&name));
    fs::create_dir_all(host.path("streams")).unwrap();
    fs::copy(source.join("stream"), host.stream(uuid)).unwrap();
    let guid = manifest["files"][0]["dataset_guid"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    let mut dataset = Dataset::default();
    dataset.snapshots.insert("final".to_owned(), guid);
    state.datasets.insert(name, dataset);
    state.images.insert(uuid.to_owned(), manifest.clone());
}
