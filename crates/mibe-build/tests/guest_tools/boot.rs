//! What boot makes of a zone and its metadata.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::zone::everywhere;

#[test]
fn a_zone_configures_itself_and_reports() {
    everywhere(|zone| {
        zone.metadata("sdc:hostname", "web-1");
        zone.metadata("sdc:dns_domain", "example.org");
        zone.metadata("sdc:resolvers", r#"["192.0.2.1","2001:db8::1"]"#);
        zone.metadata(
            "sdc:routes",
            r#"[{"linklocal":false,"dst":"198.51.100.0/24","gateway":"192.0.2.9"}]"#,
        );
        zone.metadata(
            "root_authorized_keys",
            "ssh-ed25519 AAAA one\r\nssh-rsa BBBB two",
        );
        zone.metadata("user-data", "some\ndata");
        zone.metadata("user-script", "#!/bin/sh\nexit 0\n");
        zone.metadata("sdc:operator-script", "#!/bin/sh\nexit 0\n");
        let output = zone.boot();
        let log = zone.read("var/log/triton.log");
        assert!(output.status.success(), "{log}");
        assert_eq!(zone.mode("var/svc/provision_success"), 0o640);
        assert_eq!(zone.read("etc/hostname"), "web-1\n");
        assert_eq!(zone.mode("etc/hostname"), 0o644);
        assert_eq!(zone.read("kernel-hostname"), "web-1\n");
        assert_eq!(
            zone.read("etc/hosts"),
            "127.0.0.1\tlocalhost\n127.0.0.1\tweb-1.example.org web-1 # mibe-guest\n"
        );
        assert_eq!(zone.mode("etc/hosts"), 0o644);
        assert_eq!(
            zone.read("etc/resolv.conf"),
            "# From sdc:resolvers, by mibe-guest.\nsearch example.org\nnameserver 192.0.2.1\nnameserver 2001:db8::1\n"
        );
        assert_eq!(zone.mode("etc/resolv.conf"), 0o644);
        assert_eq!(
            zone.read("root/.ssh/authorized_keys"),
            "ssh-ed25519 AAAA one\nssh-rsa BBBB two\n"
        );
        assert_eq!(zone.mode("root/.ssh/authorized_keys"), 0o600);
        assert_eq!(zone.mode("root/.ssh"), 0o700);
        assert!(zone.exists("etc/ssh/ssh_host_ed25519_key"));
        let id = zone.read("etc/machine-id");
        assert_eq!(id.trim_end().len(), 32);
        assert!(
            id.trim_end().bytes().all(|byte| byte.is_ascii_hexdigit()),
            "{id}"
        );
        assert_eq!(zone.mode("etc/machine-id"), 0o444);
        assert_eq!(zone.read("var/db/mdata-user-data"), "some\ndata\n");
        assert_eq!(zone.mode("var/db/mdata-user-data"), 0o600);
        assert_eq!(zone.mode("var/svc/mdata-user-script"), 0o700);
        assert_eq!(zone.mode("var/svc/mdata-operator-script"), 0o700);
        assert!(log.contains("provisioned"), "{log}");
        // The journal or console reads the same.
        assert!(String::from_utf8_lossy(&output.stdout).contains("provisioned"));
    });
}

#[test]
fn a_second_boot_changes_nothing_but_what_metadata_changed() {
    everywhere(|zone| {
        zone.metadata("sdc:hostname", "web-1");
        zone.metadata("sdc:resolvers", r#"["192.0.2.1"]"#);
        zone.metadata("root_authorized_keys", "ssh-ed25519 AAAA one");
        zone.metadata("user-script", "#!/bin/sh\n");
        zone.boot();
        let kept = ["etc/machine-id", "etc/hosts", "etc/ssh/ssh_host_rsa_key"];
        let before = kept.map(|path| zone.read(path));
        assert!(zone.boot().status.success());
        assert_eq!(kept.map(|path| zone.read(path)), before);

        // The administrator's own work stays.
        zone.file("etc/hostname", 0o644, b"renamed\n");
        zone.file("root/.ssh/authorized_keys", 0o600, b"mine\n");
        zone.boot();
        assert_eq!(zone.read("etc/hostname"), "renamed\n");
        assert_eq!(zone.read("root/.ssh/authorized_keys"), "mine\n");
        assert_eq!(
            zone.read("etc/hosts"),
            "127.0.0.1\tlocalhost\n127.0.0.1\trenamed # mibe-guest\n"
        );

        // So it does when metadata is away for a boot.
        zone.file("broken", 0o644, b"");
        zone.boot();
        assert_eq!(zone.read("etc/hostname"), "renamed\n");
        assert!(zone.exists("var/svc/mdata-user-script"));
        fs::remove_file(zone.path("broken")).unwrap();

        zone.metadata("sdc:hostname", "web-2");
        zone.metadata("sdc:resolvers", r#"["192.0.2.2"]"#);
        fs::remove_file(zone.path("metadata/user-script")).unwrap();
        zone.boot();
        assert_eq!(zone.read("etc/hostname"), "web-2\n");
        assert_eq!(zone.read("kernel-hostname"), "web-2\n");
        assert!(zone.read("etc/hosts").contains("\tweb-2 # mibe-guest\n"));
        assert!(!zone.read("etc/hosts").contains("renamed"));
        assert!(
            zone.read("etc/resolv.conf")
                .contains("nameserver 192.0.2.2\n")
        );
        assert!(!zone.read("etc/resolv.conf").contains("192.0.2.1"));
        assert!(!zone.exists("var/svc/mdata-user-script"));
    });
}

#[test]
fn without_any_metadata_the_zone_comes_up() {
    everywhere(|zone| {
        zone.metadata("user-script", "");
        zone.metadata("sdc:alias", "the-alias");
        assert!(
            zone.boot().status.success(),
            "{}",
            zone.read("var/log/triton.log")
        );
        assert_eq!(zone.read("etc/hostname"), "the-alias\n");
        assert_eq!(zone.read("etc/resolv.conf"), "");
        assert!(!zone.exists("root/.ssh"));
        assert!(!zone.exists("var/db/mdata-user-data"));
        assert!(!zone.exists("var/svc/mdata-user-script"));
    });
}

#[test]
fn what_the_platform_and_the_image_wrote_stays() {
    everywhere(|zone| {
        let resolv = b"# AUTOMATIC ZONE CONFIG\nnameserver 203.0.113.1\n";
        let hosts = b"127.0.0.1 localhost\n192.0.2.7 web-1.example.net web-1\n# end";
        zone.file("etc/resolv.conf", 0o644, resolv);
        zone.file("etc/hosts", 0o644, hosts);
        zone.file("etc/ssh/ssh_host_rsa_key", 0o600, b"the image's\n");
        zone.file(
            "etc/machine-id",
            0o444,
            b"0123456789abcdef0123456789abcdef\n",
        );
        zone.metadata("sdc:hostname", "web-1");
        zone.metadata("sdc:resolvers", r#"["192.0.2.1"]"#);
        zone.boot();
        assert_eq!(zone.read("etc/resolv.conf").as_bytes(), resolv);
        assert_eq!(
            zone.read("etc/hosts"),
            "127.0.0.1 localhost\n192.0.2.7 web-1.example.net web-1\n# end\n"
        );
        assert_eq!(zone.read("etc/ssh/ssh_host_rsa_key"), "the image's\n");
        assert!(!zone.exists("etc/ssh/ssh_host_ed25519_key"));
        assert_eq!(
            zone.read("etc/machine-id"),
            "0123456789abcdef0123456789abcdef\n"
        );
    });
}

#[test]
fn the_id_that_systemd_made_for_this_boot_is_kept() {
    everywhere(|zone| {
        let id = "fedcba9876543210fedcba9876543210\n";
        zone.file("run/machine-id", 0o444, id.as_bytes());
        zone.boot();
        assert_eq!(zone.read("etc/machine-id"), id);
    });
}

#[test]
fn hostile_values_are_left_out_and_never_run() {
    let names = [
        "$(touch pwned)",
        "`touch pwned`",
        "a; touch pwned",
        "web\n127.0.0.1 evil",
        "-f",
        "../../etc/x",
        "localhost",
        "a..b",
        "\u{e4}",
        &"a".repeat(300),
    ];
    everywhere(|zone| {
        for name in names {
            for key in ["sdc:hostname", "sdc:alias", "sdc:dns_domain"] {
                zone.metadata(key, name);
            }
            zone.metadata(
                "sdc:resolvers",
                "[\"192.0.2.1\\nsearch evil\",\"$(touch pwned)\",\"options x\",\"*\",\"1.2.3\",\"192.0.2.1\n\noptions evil\"]",
            );
            let output = zone.boot();
            let hosts = zone.read("etc/hosts");
            assert!(
                !hosts.contains("evil") && !hosts.contains("pwned"),
                "{hosts}"
            );
            let resolv = zone.read("etc/resolv.conf");
            for line in resolv.lines() {
                assert!(
                    line.starts_with("# From") || line == "nameserver 192.0.2.1",
                    "{resolv}"
                );
            }
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            let log = zone.read("var/log/triton.log");
            assert!(log.contains("sdc:hostname: not a host name"), "{log}");
            assert!(!said.contains("pwned") && !log.contains("pwned"), "{log}");
            assert!(!said.contains("evil"), "{said}");
        }
        assert!(!zone.exists("pwned") && !Path::new("pwned").exists());

        // Text for people and programs passes as it is, whatever it says.
        let text = "x'\"$(touch pwned)`touch pwned`\\n\n-n\n%s\n";
        zone.metadata("root_authorized_keys", text);
        zone.metadata("user-data", text);
        zone.metadata("user-script", text);
        zone.boot();
        for path in [
            "root/.ssh/authorized_keys",
            "var/db/mdata-user-data",
            "var/svc/mdata-user-script",
        ] {
            assert_eq!(zone.read(path), text, "{path}");
        }
        assert!(!zone.exists("pwned") && !Path::new("pwned").exists());
    });
}

#[test]
fn a_long_name_is_shortened_to_its_first_part() {
    everywhere(|zone| {
        zone.metadata("sdc:hostname", &format!("web.{}.example", "a".repeat(60)));
        zone.boot();
        assert_eq!(zone.read("etc/hostname"), "web\n");
    });
}

#[test]
fn a_value_without_end_is_left_out() {
    everywhere(|zone| {
        zone.metadata("user-data", &"x".repeat(5 << 20));
        zone.metadata("user-script", "#!/bin/sh\n");
        assert_eq!(zone.boot().status.code(), Some(1));
        assert!(!zone.exists("var/db/mdata-user-data"));
        assert!(zone.exists("var/svc/mdata-user-script"));
        assert!(
            zone.read("var/log/triton.log")
                .contains("step user_data failed")
        );
    });
}

#[test]
fn a_metadata_service_that_hangs_is_asked_once() {
    everywhere(|zone| {
        zone.file("hang", 0o644, b"");
        let start = Instant::now();
        zone.boot();
        assert!(
            start.elapsed() < Duration::from_secs(30),
            "{:?}",
            start.elapsed()
        );
        assert_eq!(zone.read("asked"), "sdc:hostname\n");
        let log = zone.read("var/log/triton.log");
        assert!(log.contains("no answer within 2 s"), "{log}");
        assert!(zone.exists("etc/ssh/ssh_host_rsa_key"));
        assert_eq!(zone.read("etc/resolv.conf"), "");
    });
}

#[test]
fn a_broken_or_missing_metadata_service_stops_nothing() {
    everywhere(|zone| {
        zone.file("broken", 0o644, b"");
        assert_eq!(zone.boot().status.code(), Some(1));
        let log = zone.read("var/log/triton.log");
        assert!(log.contains("mdata-get ended with status 2"), "{log}");
        assert!(!zone.exists("root/.ssh/authorized_keys"));
        assert!(zone.exists("etc/ssh/ssh_host_rsa_key"));

        zone.file("var/svc/provisioning", 0o640, b"");
        fs::remove_file(zone.path("native/usr/sbin/mdata-get")).unwrap();
        zone.boot();
        assert!(
            zone.read("var/log/triton.log")
                .contains("going on without metadata")
        );
    });
}

#[test]
fn a_step_that_fails_stops_no_other() {
    everywhere(|zone| {
        zone.metadata("sdc:hostname", "web-1");
        zone.metadata("root_authorized_keys", "ssh-ed25519 AAAA one");
        zone.metadata("sdc:resolvers", "192.0.2.1");
        zone.metadata("user-script", "#!/bin/sh\n");
        zone.file("bin/hostname", 0o755, b"#!/bin/sh\nexit 1\n");
        zone.file("usr/bin/ssh-keygen", 0o755, b"#!/bin/sh\nexec sleep 600\n");
        zone.file(
            "native/usr/sbin/zfs",
            0o755,
            b"#!/bin/sh\necho no zfs >&2; exit 1\n",
        );
        zone.file("root/.ssh", 0o644, b"in the way");
        fs::remove_file(zone.path("etc/hosts")).unwrap();
        fs::create_dir(zone.path("etc/hosts")).unwrap();
        assert_eq!(zone.boot().status.code(), Some(1));
        let log = zone.read("var/log/triton.log");
        for step in [
            "hostname",
            "hosts",
            "resolvers",
            "root_keys",
            "ssh_host_keys",
            "data_sets",
        ] {
            assert!(
                log.contains(&format!("step {step} failed")),
                "{step}: {log}"
            );
        }
        assert!(log.contains("no zfs"), "{log}");
        assert!(zone.exists("var/svc/mdata-user-script"));
    });
}

#[test]
fn half_made_host_keys_are_made_anew() {
    everywhere(|zone| {
        zone.file("etc/ssh/ssh_host_rsa_key", 0o600, b"");
        zone.boot();
        assert_eq!(zone.read("etc/ssh/ssh_host_rsa_key"), "secret\n");
    });
}

#[test]
fn the_certificate_that_finalising_took_out_is_made_anew_once() {
    const MAKE_SSL_CERT: &str = "#!/bin/sh\nroot=${0%/usr/sbin/*}\n\
        echo \"$1\" >>\"$root/etc/ssl/private/ssl-cert-snakeoil.key\"\n";
    everywhere(|zone| {
        fs::create_dir_all(zone.path("etc/ssl/private")).unwrap();
        let key = "etc/ssl/private/ssl-cert-snakeoil.key";
        zone.boot();
        assert!(!zone.exists(key), "an image without ssl-cert");
        zone.file("usr/sbin/make-ssl-cert", 0o755, MAKE_SSL_CERT.as_bytes());
        for _ in 0..2 {
            zone.boot();
            assert_eq!(zone.read(key), "generate-default-snakeoil\n");
        }
    });
}

#[test]
fn neither_a_useful_timeout_nor_an_output_is_needed() {
    everywhere(|zone| {
        zone.metadata("sdc:hostname", "web-1");
        zone.file("fakes/timeout", 0o755, b"#!/bin/sh\nexit 1\n");
        let mut words = zone.shell.to_vec();
        let boot = zone.path("usr/lib/mibe-guest/boot");
        words.extend([boot.to_str().unwrap(), ">&-", "2>&-"]);
        let status = zone.sh(&words.join(" ")).status().unwrap();
        assert!(status.success(), "{}", zone.read("var/log/triton.log"));
        assert_eq!(zone.read("kernel-hostname"), "web-1\n");
        assert!(zone.exists("var/svc/provision_success"));
    });
}

#[test]
fn a_grown_log_moves_aside() {
    everywhere(|zone| {
        zone.file("var/log/triton.log", 0o600, &vec![b'x'; (1 << 20) + 1]);
        zone.boot();
        assert!(zone.exists("var/log/triton.log.1"));
        assert!(zone.read("var/log/triton.log").len() < 10_000);
    });
}
