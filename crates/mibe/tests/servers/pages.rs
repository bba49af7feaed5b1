//! The pages in a real browser.

use std::fs;

use serde_json::json;

use crate::images::{pair, uuid};
use crate::serving::{Serving, node};
use crate::support::{Who, World};

#[test]
fn people_find_their_way() {
    let world = World::new(Who::Root);
    let (one, two) = pair(&world);
    one.edit(|manifest| manifest["name"] = json!("base"));
    two.edit(|manifest| {
        manifest["description"] = json!("A web server, with all that it needs.");
        manifest["homepage"] = json!("https://example.org/web");
        manifest["tags"] = json!({
            "role": "www", "customer_metadata_keys": "mail_smarthost admin_password",
            "customer_metadata_description:mail_smarthost": "where mail goes", "customer_metadata_required:mail_smarthost": true,
            "customer_metadata_secret:admin_password": true,
        });
    });
    fs::write(
        world.home().join("images/web-2.png"),
        include_bytes!("icon.png"),
    )
    .unwrap();
    let serving = Serving::start(&world, "images", &[]);
    // Whoever wants new pictures for the documentation says where.
    let folder = std::env::var("MIBE_PICTURES")
        .unwrap_or_else(|_| world.folder.path().to_str().unwrap().to_owned());
    let seen = node("pages.js", &[&serving.url, &folder, "web", &uuid(2)]);
    assert_eq!(seen["errors"], json!([]), "{seen:#}");
    assert_eq!(
        seen["overflow"],
        json!([]),
        "a phone has to be moved sideways"
    );
    assert_eq!(seen["scripts"], 0);
    for (what, reached) in seen["reached"].as_object().unwrap() {
        assert_eq!(reached, true, "no key leads to: {what}");
    }
    assert_ne!(
        seen["outline"], "none",
        "where the keyboard is can't be seen"
    );
    assert_ne!(seen["light"], seen["dark"]);
    assert_eq!(seen["found"], 1);
    let has = |step: &str, words: &[&str]| {
        let text = seen["steps"][step].as_str().unwrap();
        for word in words {
            assert!(text.contains(word), "{step} lacks {word:?}: {text}");
        }
    };
    has(
        "list",
        &["2 images", "web 2", "base 1", "imgadm sources -a"],
    );
    has("search", &["1 of 2 images", "web 2"]);
    let import = format!("imgadm import -S {} {}", serving.url, uuid(2));
    has(
        "image",
        &[
            "web 2",
            "A web server",
            "mail_smarthost",
            "where mail goes",
            "required",
            "secret",
            "base 1",
            &import,
            "vmadm create",
            "\"brand\": \"lx\"",
        ],
    );
    has("files", &["root/"]);
    has("folder", &["etc/"]);
    has(
        "difference",
        &[
            "nginx",
            "/root/etc/added",
            "/root/etc/removed",
            "/root/etc/motd",
        ],
    );
}
