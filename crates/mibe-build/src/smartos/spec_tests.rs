use super::*;

const UUID: &str = "11111111-2222-4333-8444-555555555555";
const IMAGE: &str = "7a3a8442-d9e9-4183-95be-602a300695ed";

fn input<'a>(
    file: Option<&'a str>,
    sets: &'a [(String, String)],
    nic_tags: &'a [String],
) -> SpecInput<'a> {
    SpecInput {
        file,
        sets,
        uuid: UUID,
        alias: "mibe-x",
        build: "20261123T000000Z-abcd",
        image: IMAGE,
        brand: "joyent",
        kernel_version: None,
        min_ram: Some(512),
        resolvers: &[],
        nic_tags,
    }
}

fn tags() -> Vec<String> {
    vec!["external".to_owned(), "admin".to_owned()]
}

fn sets(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

#[test]
fn without_a_file_the_host_and_the_base_make_one() {
    let tags = tags();
    let made = spec(&input(None, &[], &tags)).unwrap();
    assert_eq!(
        Value::Object(made.payload),
        json!({
            "uuid": UUID, "image_uuid": IMAGE, "brand": "joyent", "autoboot": true, "alias": "mibe-x", "hostname": "mibe-build",
            "max_physical_memory": 1024, "quota": 20, "resolvers": ["8.8.8.8", "8.8.4.4"],
            "nics": [{"nic_tag": "external", "ips": ["dhcp"], "primary": true}],
            "internal_metadata": {"mibe:build": "20261123T000000Z-abcd"},
        })
    );
    assert_eq!(made.notes, [""; 0]);
    let lx = SpecInput {
        brand: "lx",
        kernel_version: Some("4.10.0"),
        min_ram: Some(4096),
        resolvers: &["192.0.2.53".parse().unwrap()],
        ..input(None, &[], &tags)
    };
    let made = spec(&lx).unwrap().payload;
    assert_eq!(made["kernel_version"], "4.10.0");
    assert_eq!(made["max_physical_memory"], 4096);
    assert_eq!(made["resolvers"], json!(["192.0.2.53"]));
    let wrong = spec(&input(None, &[], &[])).unwrap_err();
    assert!(wrong[0].contains("no nics"), "{wrong:?}");
}

/// What `vmadm get` tells of a machine, with all that must not be another's.
#[test]
fn what_a_host_wrote_of_a_machine_is_made_another() {
    let file = json!({
        "zonename": "c10d83fc-6f09-11e6-82f7-378b2b9ac8db", "zonepath": "/zones/c10d83fc", "autoboot": false, "brand": "joyent",
        "limit_priv": "default", "v": 1, "image_uuid": "d34c301e-10c3-11e4-9b79-5f67ca448df0", "cpu_shares": 32, "zfs_io_priority": 40,
        "max_lwps": 4000, "max_physical_memory": 256, "max_swap": 8192, "cpu_cap": 800, "owner_uuid": "c31f59cb-e4f8-4fe4-a0ab-99d4559786ac",
        "tmpfs": 4096, "dns_domain": "local", "archive_on_delete": true, "indestructible_zoneroot": true, "resolvers": ["192.0.2.1"], "alias": "mine",
        "nics": [{"interface": "net0", "vlan_id": 1142, "nic_tag": "external", "gateway": "192.0.2.1", "ip": "192.0.2.155",
            "netmask": "255.255.255.240", "network_uuid": "307d7cc8-7128-4b52-91d1-d8c1fe6e088a", "mac": "52:54:00:12:34:56", "primary": "true"}],
        "uuid": "95dacbfa-69b5-11e4-a52c-bfcabaff8f0c", "server_uuid": "011d7768-6f0a-11e6-a0ef-dfecc3d7dc62", "datacenter_name": "us-east-1",
        "customer_metadata": {"a": "b"}, "internal_metadata": {"c": "d"}, "quota": 120, "state": "running", "create_timestamp": "2016-09-01T00:00:00.000Z",
        "snapshots": [], "zfs_filesystem": "zones/95dacbfa", "zoneid": 3, "pid": 77, "platform_buildstamp": "20220407T001427Z",
    })
    .to_string();
    let tags = tags();
    let made = spec(&input(Some(&file), &[], &tags)).unwrap();
    let payload = &made.payload;
    for gone in [
        "zonename",
        "zonepath",
        "v",
        "server_uuid",
        "datacenter_name",
        "state",
        "create_timestamp",
        "snapshots",
        "zfs_filesystem",
        "zoneid",
        "pid",
        "archive_on_delete",
        "indestructible_zoneroot",
    ] {
        assert!(!payload.contains_key(gone), "{gone}");
        assert!(
            made.notes.iter().any(|note| note.starts_with(gone)),
            "{gone}: {:?}",
            made.notes
        );
    }
    assert_eq!(payload["uuid"], UUID);
    assert_eq!(payload["image_uuid"], IMAGE);
    assert_eq!(payload["autoboot"], true);
    assert_eq!(payload["max_physical_memory"], 512);
    assert_eq!(payload["alias"], "mine");
    assert_eq!(payload["quota"], 120);
    assert_eq!(
        payload["internal_metadata"],
        json!({"c": "d", "mibe:build": "20261123T000000Z-abcd"})
    );
    assert_eq!(payload["customer_metadata"], json!({"a": "b"}));
    let nic = &payload["nics"][0];
    assert!(
        nic.get("mac").is_none() && nic.get("network_uuid").is_none() && nic["ip"] == "192.0.2.155",
        "{nic}"
    );
    assert!(
        made.notes.iter().any(|note| note.starts_with("nics.0.mac")),
        "{:?}",
        made.notes
    );
    // A spec that is made of one is the same but for what is said of it.
    let again = Value::Object(payload.clone()).to_string();
    let again = spec(&input(Some(&again), &[], &tags)).unwrap();
    assert_eq!(&again.payload, payload);
    assert_eq!(again.notes, [""; 0]);
}

#[test]
fn templates_are_filled_and_the_command_line_stands_over_all() {
    let file = r#"{"brand": "@brand@", "image_uuid": "@image_uuid@", "alias": "of-@alias@", "nics": [{"nic_tag": "admin", "ips": ["dhcp"]}]}"#;
    let tags = tags();
    let given = sets(&[
        ("quota", "50"),
        ("nics.0.ips", "[\"192.0.2.9/24\"]"),
        ("nics.1.nic_tag", "external"),
        ("nics.1.ip", "dhcp"),
        ("customer_metadata.key", "a value"),
        ("delegate_dataset", "true"),
    ]);
    let made = spec(&input(Some(file), &given, &tags)).unwrap().payload;
    assert_eq!(made["alias"], "of-mibe-x");
    assert_eq!(made["quota"], 50);
    assert_eq!(
        made["nics"],
        json!([{"nic_tag": "admin", "ips": ["192.0.2.9/24"]}, {"nic_tag": "external", "ip": "dhcp"}])
    );
    assert_eq!(made["customer_metadata"], json!({"key": "a value"}));
    assert_eq!(made["delegate_dataset"], true);
    // Nothing that makes a machine ours can be set away.
    let away = sets(&[
        ("uuid", IMAGE),
        ("internal_metadata", "{}"),
        ("indestructible_zoneroot", "true"),
    ]);
    let made = spec(&input(Some(file), &away, &tags)).unwrap().payload;
    assert_eq!(made["uuid"], UUID);
    assert_eq!(
        made["internal_metadata"][BUILD_KEY],
        "20261123T000000Z-abcd"
    );
    assert!(!made.contains_key("indestructible_zoneroot"));
}

#[test]
fn what_vmadm_would_refuse_is_refused_with_all_reasons() {
    let tags = tags();
    let file = r#"{"brand": "joyent", "max_phisical_memory": 512, "quota": "much", "kernel_version": "5.10", "resolvers": {}, "max_swap": 100,
        "customer_metadata": {"a": {}}, "autoboot": "maybe", "delegate_dataset": 2,
        "nics": [{"nic_tag": "nope", "ip": "300.1.1.1", "vlan_id": 5000}, {"ip": "192.0.2.4"}, {"nic_tag": "admin"}, 7]}"#;
    let wrong = spec(&input(Some(file), &[], &tags)).unwrap_err();
    for reason in [
        "vmadm knows no property max_phisical_memory to create a machine with; did you mean max_physical_memory?",
        "quota must be a whole number from 0, and is \"much\"",
        "vmadm knows no property kernel_version to create a machine with; zones of brand joyent have no such property",
        "resolvers must be a list of texts without commas, and is {}",
        "max_swap must be a whole number from 256, and is 100",
        "customer_metadata must be an object of texts, numbers and booleans, and is an object in \"a\"",
        "delegate_dataset must be true or false, and is 2",
        "nics.0.vlan_id must be a whole number from 0 to 4095, and is 5000",
        "nics.3 must be an object",
        "the host has no nic tag \"nope\" (nics.0): it has external, admin",
        "nics.0: \"300.1.1.1\" is no address",
        "nics.1 has no nic_tag",
        "nics.1: 192.0.2.4 needs a netmask, or a prefix: 192.0.2.4/24",
        "nics.2 has neither ips nor ip: \"ips\": [\"dhcp\"] is one way",
    ] {
        assert!(
            wrong.iter().any(|message| message == reason),
            "no {reason:?} in {wrong:#?}"
        );
    }
    assert_eq!(wrong.len(), 14, "{wrong:#?}");
    for (file, reason) in [
        ("{", "is not JSON"),
        ("[]", "is not a JSON object"),
        ("[{}, {}]", "is not a JSON object"),
        (r#"{"brand": "kvm", "nics": []}"#, "and not \"kvm\""),
    ] {
        let wrong = spec(&input(Some(file), &[], &tags)).unwrap_err();
        assert!(
            wrong.iter().any(|message| message.contains(reason)),
            "{wrong:?}"
        );
    }
    let bad = sets(&[("", "x"), ("nics.5.ip", "dhcp"), ("alias.x", "y")]);
    let wrong = spec(&input(Some(r#"{"alias": "a", "nics": []}"#), &bad, &tags)).unwrap_err();
    assert_eq!(wrong.len(), 3, "{wrong:?}");
}

proptest::proptest! {
    #[test]
    fn any_text_is_a_spec_or_reasons(file in "\\PC{0,80}", key in "[a-z.0-9]{0,12}", value in "\\PC{0,12}") {
        let given = [(key, value)];
        let tags = tags();
        if let Ok(made) = spec(&input(Some(&file), &given, &tags)) {
            proptest::prop_assert_eq!(&made.payload["uuid"], UUID);
        }
    }
}
