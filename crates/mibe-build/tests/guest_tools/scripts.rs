//! The scripts that metadata brings, and the example's.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::zone::everywhere;

#[test]
fn scripts_run_in_order_with_a_log_each() {
    everywhere(|zone| {
        // No #! line: a shell runs it all the same.
        zone.metadata(
            "user-script",
            "echo user >>order; echo to-stdout; echo to-stderr >&2; pwd; umask; echo \"$HOME\"; ls /proc/$$/fd/3; exit 9\n",
        );
        zone.metadata(
            "sdc:operator-script",
            "#!/bin/sh\necho operator >>order; exit 7\n",
        );
        zone.boot();
        let output = zone.run("scripts");
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(zone.read("order"), "operator\nuser\n");
        let log = zone.read("var/log/triton.log");
        assert!(
            log.contains("operator-script: ended with status 7"),
            "{log}"
        );
        assert!(log.contains("user-script: ended with status 9"), "{log}");
        let root = zone.root.path().display();
        let output = zone.read("var/log/mdata-user-script.log");
        assert!(
            output.starts_with(&format!(
                "to-stdout\nto-stderr\n{root}\n0022\n{root}/root\n"
            )),
            "{output}"
        );
        assert!(
            output.contains("No such file"),
            "descriptor 3 is open: {output}"
        );
        assert_eq!(zone.mode("var/log/mdata-user-script.log"), 0o600);

        // At every boot.
        zone.metadata("user-script", "#!/bin/sh\necho again >>order\n");
        fs::remove_file(zone.path("metadata/sdc:operator-script")).unwrap();
        zone.boot();
        assert!(zone.run("scripts").status.success());
        assert_eq!(zone.read("order"), "operator\nuser\nagain\n");
    });
}

#[test]
fn without_scripts_there_is_nothing_to_run() {
    everywhere(|zone| {
        zone.boot();
        assert!(zone.run("scripts").status.success());
        assert!(!zone.exists("var/log/mdata-user-script.log"));
    });
}

#[test]
fn the_report_does_not_wait_for_a_script_that_never_ends() {
    everywhere(|zone| {
        zone.metadata("user-script", "#!/bin/sh\necho started\nexec sleep 600\n");
        zone.boot();
        let mut child = zone
            .command("scripts")
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let log = zone.path("var/log/mdata-user-script.log");
        let start = Instant::now();
        while fs::read_to_string(&log).unwrap_or_default() != "started\n" {
            assert!(start.elapsed() < Duration::from_secs(20), "never started");
            std::thread::sleep(Duration::from_millis(20));
        }
        // The limits of boot (2 s here) are not for scripts.
        std::thread::sleep(Duration::from_secs(3));
        assert!(child.try_wait().unwrap().is_none());
        end(child.id());
        assert!(!child.wait().unwrap().success());
        assert!(
            zone.read("var/log/triton.log")
                .contains("user-script: ended with status")
        );
    });
}

/// Ends the children of a process, found by their parent in /proc.
fn end(parent: u32) {
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else {
            continue;
        };
        // pid (name) state ppid …
        let ppid = stat
            .rsplit_once(") ")
            .and_then(|(_, rest)| rest.split(' ').nth(1))
            .and_then(|ppid| ppid.parse::<u32>().ok());
        if ppid == Some(parent) {
            let pid: u32 = entry.file_name().to_str().unwrap().parse().unwrap();
            end(pid);
            let status = Command::new("kill").arg(pid.to_string()).status().unwrap();
            assert!(status.success());
        }
    }
}

/// The page of examples/hello-lx, which stands on the guest tools and the same metadata.
#[test]
fn the_example_writes_its_page_from_metadata() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../examples/hello-lx/copy/usr/local/sbin/hello-page");
    everywhere(|zone| {
        let program = format!(
            "#!/bin/sh\nexec '{}' \"$@\"\n",
            zone.path("native/usr/sbin/mdata-get").display()
        );
        zone.file("fakes/mdata-get", 0o755, program.as_bytes());
        zone.file("tools/hello-page", 0o755, &fs::read(&script).unwrap());
        let render = || {
            let mut command = zone.command("../../../tools/hello-page");
            let status = command.arg(zone.path("page/index.html")).status().unwrap();
            assert!(status.success());
            zone.read("page/index.html")
        };
        let page = render();
        assert!(
            page.contains("<h1>Hello</h1>") && page.contains("no words of its own"),
            "{page}"
        );
        assert_eq!(zone.mode("page/index.html"), 0o644);
        zone.metadata("hello:title", "<script>&$(touch pwned)`touch pwned`");
        zone.metadata("hello:text", "one\ntwo");
        let page = render();
        assert!(
            page.contains("<h1>&lt;script&gt;&amp;$(touch pwned)`touch pwned`</h1>"),
            "{page}"
        );
        assert!(page.contains("<p>one\ntwo</p>"), "{page}");
        assert!(!Path::new("pwned").exists());
    });
}
