//! What `vmadm create` takes for zones (smartos-live, `src/vm/node_modules/proptable.js` and vmadm(8)).

/// What a property may be, by the rules of vmadm's own check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    /// `true`, `false`, and the words and numbers that vmadm takes for them.
    Boolean,
    /// A whole number, or a text that is one, of at least the first and at most the second.
    Integer(i64, i64),
    Uuid,
    /// Texts or numbers without commas, or a text of them with commas between.
    List,
    /// Names to texts, numbers and booleans.
    Flat,
    /// A list of objects with properties of their own.
    Objects(&'static [Property]),
}

/// A property.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Property {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// The brands that have it, where not all do.
    pub(super) brands: &'static [&'static str],
}

const fn all(name: &'static str, kind: Kind) -> Property {
    Property {
        name,
        kind,
        brands: &[],
    }
}

const fn of(name: &'static str, kind: Kind, brands: &'static [&'static str]) -> Property {
    Property { name, kind, brands }
}

use Kind::{Boolean, Flat, Integer, List, Objects, Text, Uuid};

const ANY: Kind = Integer(0, i64::MAX);

/// Those that a payload of `vmadm create` may have.
#[rustfmt::skip]
pub(super) const CREATE: &[Property] = &[
    all("alias", Text), all("archive_on_delete", Boolean), all("autoboot", Boolean), all("billing_id", Text), all("brand", Text),
    all("cpu_cap", ANY), all("cpu_shares", ANY), all("customer_metadata", Flat), all("dataset_uuid", Uuid), all("delegate_dataset", Boolean),
    all("dns_domain", Text), all("do_not_inventory", Boolean), of("docker", Boolean, &["lx", "joyent-minimal"]), all("filesystems", Objects(FILESYSTEMS)),
    all("firewall_enabled", Boolean), all("fs_allowed", List), all("hostname", Text), all("image_uuid", Uuid), all("indestructible_delegated", Boolean),
    all("indestructible_zoneroot", Boolean), all("init_name", Text), all("internal_metadata", Flat), all("internal_metadata_namespaces", List),
    of("kernel_version", Text, &["lx"]), all("limit_priv", List), all("maintain_resolvers", Boolean), all("max_locked_memory", ANY),
    all("max_lwps", ANY), all("max_msg_ids", ANY), all("max_physical_memory", ANY), all("max_sem_ids", ANY), all("max_shm_ids", ANY),
    all("max_shm_memory", ANY), all("max_swap", Integer(256, i64::MAX)), all("mdata_exec_timeout", ANY), all("nics", Objects(NICS)),
    all("nowait", Boolean), all("owner_uuid", Text), all("package_name", Text), all("package_version", Text), all("quota", ANY), all("ram", ANY),
    all("resolvers", List), all("restart_init", Boolean), all("routes", Flat), all("tags", Flat), all("tmpfs", ANY), all("uuid", Uuid),
    all("zfs_data_compression", Text), all("zfs_data_recsize", ANY), all("zfs_filesystem_limit", ANY), all("zfs_io_priority", ANY),
    all("zfs_root_compression", Text), all("zfs_root_recsize", ANY), all("zfs_snapshot_limit", ANY), all("zfs_storage_pool_name", Text),
    all("zlog_max_size", ANY), all("zonename", Text), all("zpool", Text),
];

#[rustfmt::skip]
const NICS: &[Property] = &[
    all("allow_dhcp_spoofing", Boolean), all("allow_ip_spoofing", Boolean), all("allow_mac_spoofing", Boolean), all("allow_restricted_traffic", Boolean),
    all("allowed_dhcp_cids", List), all("allowed_ips", List), all("blocked_outgoing_ports", List), all("dhcp_server", Boolean), all("gateway", Text),
    all("gateways", List), all("interface", Text), all("ip", Text), all("ips", List), all("mac", Text), all("mtu", Integer(576, 9000)), all("netmask", Text),
    all("network_uuid", Uuid), all("nic_tag", Text), all("primary", Boolean), all("vlan_id", Integer(0, 4095)), all("vrrp_primary_ip", Text),
    all("vrrp_vrid", Integer(0, 255)),
];

const FILESYSTEMS: &[Property] = &[
    all("options", List),
    all("raw", Text),
    all("source", Text),
    all("target", Text),
    all("type", Text),
];

/// What `vmadm get` and Triton tell of a machine and `vmadm create` does not take, or what is of that one machine: none of it is for another.
pub(super) const OF_ONE_MACHINE: &[&str] = &[
    "boot_timestamp",
    "compute_node",
    "create_only",
    "create_timestamp",
    "created_at",
    "datacenter_name",
    "datasets",
    "destroyed",
    "exit_status",
    "exit_timestamp",
    "free_space",
    "headnode_id",
    "hvm",
    "last_modified",
    "pid",
    "platform_buildstamp",
    "server_uuid",
    "snapshots",
    "state",
    "transition",
    "transition_expire",
    "transition_to",
    "type",
    "updated_at",
    "v",
    "zfs_filesystem",
    "zlog_mode",
    "zlog_name",
    "zone_state",
    "zonedid",
    "zoneid",
    "zonename",
    "zonepath",
];

/// The same of a network interface: the address on the wire and the network of the owner.
pub(super) const OF_ONE_NIC: &[&str] = &[
    "mac",
    "network_uuid",
    "networks",
    "owner_uuid",
    "model",
    "nic_tags_provided",
];
