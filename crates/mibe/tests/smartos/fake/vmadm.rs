//! vmadm(8), as far as tools call it (smartos-live, `vmadm.js`, `VM.js`).

use std::fs;
use std::io::Read as _;
use std::process::Command;

use mibe_sandbox::{Agent, Mode, Sandbox};
use serde_json::{Map, Value, json};

use crate::state::{Dataset, Host, Vm, now};
use crate::zfs::remove;
use crate::{Done, Failure};

/// Properties that a zone may be created with (vmadm(8), PROPERTIES).
const PROPERTIES: &[&str] = &[
    "alias",
    "archive_on_delete",
    "autoboot",
    "billing_id",
    "brand",
    "cpu_cap",
    "cpu_shares",
    "customer_metadata",
    "delegate_dataset",
    "dns_domain",
    "do_not_inventory",
    "filesystems",
    "firewall_enabled",
    "fs_allowed",
    "hostname",
    "image_uuid",
    "indestructible_delegated",
    "indestructible_zoneroot",
    "init_name",
    "internal_metadata",
    "internal_metadata_namespaces",
    "kernel_version",
    "limit_priv",
    "maintain_resolvers",
    "max_locked_memory",
    "max_lwps",
    "max_msg_ids",
    "max_physical_memory",
    "max_sem_ids",
    "max_shm_ids",
    "max_shm_memory",
    "max_swap",
    "mdata_exec_timeout",
    "nics",
    "nowait",
    "owner_uuid",
    "package_name",
    "package_version",
    "quota",
    "ram",
    "resolvers",
    "routes",
    "spice_opts",
    "tags",
    "tmpfs",
    "uuid",
    "zfs_data_compression",
    "zfs_data_recsize",
    "zfs_io_priority",
    "zfs_root_compression",
    "zfs_root_recsize",
    "zlog_max_size",
    "zonename",
    "zpool",
];

pub fn run(host: &Host, words: &[&str]) -> Done {
    match words {
        ["get", uuid] => get(host, uuid),
        ["create"] => create(host, &payload()?),
        ["validate", "create"] => {
            let payload = payload()?;
            let bad = bad_properties(&payload);
            if bad.is_empty() {
                eprintln!(
                    "VALID 'create' payload for {} brand VMs.",
                    payload
                        .get("brand")
                        .and_then(Value::as_str)
                        .unwrap_or("undefined")
                );
                return Ok(());
            }
            let errors = json!({"bad_values": [], "bad_properties": bad, "missing_properties": []});
            Err(Failure::new(serde_json::to_string_pretty(&errors).unwrap()))
        }
        ["stop", uuid] => stop(host, uuid, false),
        ["stop", uuid, "-F"] => stop(host, uuid, true),
        ["delete", uuid] => delete(host, uuid),
        _ => Err(Failure::usage(format!(
            "Unknown command or option: {words:?}\nUsage: vmadm <command> [options]"
        ))),
    }
}

fn payload() -> Result<Map<String, Value>, Failure> {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).unwrap();
    match serde_json::from_str(&text) {
        Ok(Value::Object(payload)) => Ok(payload),
        _ => Err(Failure::new("Invalid JSON in payload")),
    }
}

fn bad_properties(payload: &Map<String, Value>) -> Vec<String> {
    payload
        .keys()
        .filter(|key| !PROPERTIES.contains(&key.as_str()))
        .cloned()
        .collect()
}

fn unknown(uuid: &str) -> Failure {
    Failure::new(format!("zoneadm: {uuid}: No such zone configured"))
}

fn get(host: &Host, uuid: &str) -> Done {
    let mut locked = host.lock();
    let vm = locked
        .state
        .vms
        .get_mut(uuid)
        .ok_or_else(|| unknown(uuid))?;
    // A zone that starts itself anew is seen stopped, and is up at the next look.
    if vm.state == "rebooting" {
        "stopped".clone_into(&mut vm.state);
        let seen = vm.clone();
        "running".clone_into(&mut vm.state);
        locked.save();
        show(host, uuid, &seen);
    } else {
        show(host, uuid, vm);
    }
    Ok(())
}

fn show(host: &Host, uuid: &str, vm: &Vm) {
    let mut shown = vm.payload.clone();
    let dataset = dataset_of(&vm.payload);
    for (key, value) in [
        ("zonename", uuid.into()),
        (
            "zonepath",
            host.mountpoint(&dataset).to_str().unwrap().into(),
        ),
        ("zfs_filesystem", dataset.as_str().into()),
        ("state", vm.state.as_str().into()),
        (
            "zone_state",
            if vm.state == "running" {
                "running"
            } else {
                "installed"
            }
            .into(),
        ),
        ("create_timestamp", "2026-01-01T00:00:00.000Z".into()),
        ("boot_timestamp", "2026-01-01T00:00:01.000Z".into()),
        ("server_uuid", "564d5fde-93a2-4b0b-9c2d-0a1b2c3d4e5f".into()),
    ] {
        shown.insert(key.to_owned(), value);
    }
    // Kept in the zone's own dataset, and gone with it (VM.js, metadata.json).
    let metadata = fs::read(host.mountpoint(&dataset).join("config/metadata.json"));
    let metadata: Value = metadata
        .ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .unwrap_or_else(|| json!({}));
    for key in ["customer_metadata", "internal_metadata"] {
        shown.insert(
            key.to_owned(),
            metadata.get(key).cloned().unwrap_or_else(|| json!({})),
        );
    }
    println!(
        "{}",
        serde_json::to_string_pretty(&Value::Object(shown)).unwrap()
    );
}

fn text<'a>(payload: &'a Map<String, Value>, key: &str) -> &'a str {
    payload.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn dataset_of(payload: &Map<String, Value>) -> String {
    let pool = match text(payload, "zpool") {
        "" => "zones",
        pool => pool,
    };
    format!("{pool}/{}", text(payload, "uuid"))
}

/// How long a zone boots, in milliseconds.
fn boot_time(host: &Host) -> u128 {
    fs::read_to_string(host.path("boot-time"))
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(0)
}

fn create(host: &Host, payload: &Map<String, Value>) -> Done {
    let bad = bad_properties(payload);
    if !bad.is_empty() {
        return Err(Failure::new(format!(
            "Invalid value(s) for: {}",
            bad.join(",")
        )));
    }
    let (uuid, image) = (text(payload, "uuid"), text(payload, "image_uuid"));
    let mut locked = host.lock();
    if locked.state.vms.contains_key(uuid) {
        return Err(Failure::new(format!("VM with UUID {uuid} already exists")));
    }
    let manifest = locked
        .state
        .images
        .get(image)
        .cloned()
        .ok_or_else(|| Failure::new(format!("Error: image {image} not found")))?;
    let brand = text(payload, "brand");
    let kind = manifest["type"].as_str().unwrap();
    if (brand == "lx") != (kind == "lx-dataset") {
        return Err(Failure::new(format!(
            "provisioning dataset {image} with brand {brand} is not supported"
        )));
    }
    let dataset = dataset_of(payload);
    let pool = dataset.split('/').next().unwrap().to_owned();
    // The image's own snapshot, or one made for this VM.
    let of_image = locked
        .state
        .datasets
        .get_mut(&format!("{pool}/{image}"))
        .ok_or_else(|| Failure::new(format!("Error: image {image} not found on pool {pool}")))?;
    let label = if of_image.snapshots.contains_key("final") {
        "final"
    } else {
        of_image.snapshots.insert(uuid.to_owned(), 1);
        uuid
    };
    let mut clone = Dataset::default();
    clone
        .properties
        .insert("origin".to_owned(), format!("{pool}/{image}@{label}"));
    locked.state.datasets.insert(dataset.clone(), clone);
    locked.state.vms.insert(
        uuid.to_owned(),
        Vm {
            payload: payload.clone(),
            state: "provisioning".to_owned(),
            boots_until: 0,
            booted: false,
        },
    );
    locked.save();
    drop(locked);

    // From here on, others can look at it as it comes about.
    let zonepath = host.mountpoint(&dataset);
    let _ = fs::remove_dir_all(&zonepath);
    fs::create_dir_all(zonepath.parent().unwrap()).unwrap();
    Sandbox::create(&Agent::current(), &zonepath, Mode::Root).unwrap();
    let copied = Command::new("cp")
        .arg("-a")
        .arg(host.mountpoint(&format!("{pool}/{image}")).join("root"))
        .arg(&zonepath)
        .status()
        .unwrap();
    assert!(copied.success());
    pause(host, "create-pause");
    for folder in ["config", "cores"] {
        fs::create_dir_all(zonepath.join(folder)).unwrap();
    }
    let metadata = json!({
        "customer_metadata": payload.get("customer_metadata").cloned().unwrap_or(json!({})),
        "internal_metadata": payload.get("internal_metadata").cloned().unwrap_or(json!({})),
    });
    fs::write(zonepath.join("config/metadata.json"), metadata.to_string()).unwrap();
    fs::write(zonepath.join("config/tags.json"), "{}").unwrap();
    let root = zonepath.join("root");
    let resolvers: Vec<String> = payload
        .get("resolvers")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(|address| format!("nameserver {address}\n"))
        .collect();
    fs::write(root.join("etc/resolv.conf"), resolvers.concat()).unwrap();
    if brand == "lx" {
        fs::write(
            root.join("etc/hostname"),
            format!("{}\n", text(payload, "hostname")),
        )
        .unwrap();
    } else {
        fs::write(root.join("etc/hostname.net0"), "").unwrap();
        fs::write(root.join("etc/dhcp.net0"), "").unwrap();
    }
    let mut hosts = fs::read_to_string(root.join("etc/hosts")).unwrap_or_default();
    hosts = format!(
        "{hosts}127.0.0.1\tlocalhost {}\n",
        text(payload, "hostname")
    );
    fs::write(root.join("etc/hosts"), hosts).unwrap();
    let fails = root.join("etc/fails-to-provision").exists();
    let state = if fails { "failed" } else { "running" };
    if !fails {
        fs::create_dir_all(root.join("var/svc")).unwrap();
        fs::write(root.join("var/svc/provision_success"), "").unwrap();
    }
    let mut locked = host.lock();
    // Deleted meanwhile.
    let Some(vm) = locked.state.vms.get_mut(uuid) else {
        return Err(unknown(uuid));
    };
    state.clone_into(&mut vm.state);
    vm.boots_until = now() + boot_time(host);
    locked.save();
    if fails {
        return Err(Failure::new(format!(
            "timed out waiting for /var/svc/provisioning to move for {uuid}"
        )));
    }
    eprintln!("Successfully created VM {uuid}");
    Ok(())
}

/// Takes its time, where a test wants it to.
fn pause(host: &Host, name: &str) {
    let time = fs::read_to_string(host.path(name)).ok();
    if let Some(time) = time.and_then(|text| text.trim().parse().ok()) {
        std::thread::sleep(std::time::Duration::from_millis(time));
    }
}

fn stop(host: &Host, uuid: &str, force: bool) -> Done {
    let mut locked = host.lock();
    let vm = locked
        .state
        .vms
        .get_mut(uuid)
        .ok_or_else(|| unknown(uuid))?;
    if vm.state != "running" {
        eprintln!(
            "VM {uuid} is already not 'running' (currently: {})",
            vm.state
        );
        return Ok(());
    }
    let dataset = dataset_of(&vm.payload);
    if !force
        && host
            .mountpoint(&dataset)
            .join("root/etc/ignores-stop")
            .exists()
    {
        return Err(Failure::new(format!("Unable to stop VM {uuid}: timed out")));
    }
    "stopped".clone_into(&mut vm.state);
    locked.save();
    end_processes(host, uuid);
    eprintln!("Successfully completed stop for VM {uuid}");
    Ok(())
}

fn delete(host: &Host, uuid: &str) -> Done {
    let mut locked = host.lock();
    let Some(vm) = locked.state.vms.get(uuid).cloned() else {
        return Err(Failure::new(format!(
            "Failed to delete VM {uuid}: VM {uuid} not found"
        )));
    };
    for name in ["indestructible_zoneroot", "indestructible_delegated"] {
        if vm.payload.get(name) == Some(&Value::Bool(true)) {
            return Err(Failure::new(format!(
                "Failed to delete VM {uuid}: {name} is set, cannot delete"
            )));
        }
    }
    end_processes(host, uuid);
    let dataset = dataset_of(&vm.payload);
    if let Some(found) = locked.state.datasets.get(&dataset) {
        let origin = found.properties.get("origin").cloned().unwrap_or_default();
        remove(host, &mut locked.state, &dataset, true)?;
        // "we never delete an @final snapshot"
        if let Some((image, label)) = origin.split_once('@')
            && label != "final"
            && let Some(image) = locked.state.datasets.get_mut(image)
        {
            image.snapshots.remove(label);
        }
    }
    locked.state.vms.remove(uuid);
    locked.save();
    eprintln!("Successfully deleted VM {uuid}");
    Ok(())
}

/// Ends what runs in the zone.
fn end_processes(host: &Host, uuid: &str) {
    let Ok(entries) = fs::read_dir(host.path("running")) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name().into_string().unwrap();
        if let Some(pid) = name.strip_prefix(&format!("{uuid}.")) {
            let _ = Command::new("kill").args(["-KILL", pid]).output();
            let _ = fs::remove_file(entry.path());
        }
    }
    // Their agents die with them, a moment later.
    std::thread::sleep(std::time::Duration::from_millis(20));
}
