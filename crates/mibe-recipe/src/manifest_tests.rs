use super::*;
use crate::dialect::shell;
use crate::problem::Source;
use crate::recipe::Target;

fn read(text: &str) -> (Option<Recipe>, Vec<String>) {
    let mut problems = Collector::default();
    let assignments = shell::parse(
        Source {
            file: "manifest".into(),
            bytes: text.as_bytes(),
        },
        &mut problems,
    );
    let fields = interpret(assignments, "manifest".into(), &mut problems);
    let problems = problems.finish();
    assert!(problems.iter().all(|problem| !problem.advice.is_empty()));
    (
        fields.map(|fields| fields.0),
        problems
            .iter()
            .map(|problem| format!("{problem} | {}", problem.advice))
            .collect(),
    )
}

/// The only problem of a manifest with a good name and version before `line`, which is its second.
fn problem(line: &str) -> String {
    let (_, problems) = read(&format!("name=x version=1\n{line}\n"));
    assert_eq!(problems.len(), 1, "{line}: {problems:?}");
    problems[0].clone()
}

fn recipe(text: &str) -> Recipe {
    let (recipe, problems) = read(text);
    assert_eq!(problems, [""; 0], "{text}");
    recipe.unwrap()
}

#[test]
fn every_key_finds_its_field() {
    let recipe = recipe(
        "name=\"core mbox\"\norganization=\"SkyLime\"\nbrand=\"Instance\"\nversion=\"20.1.0\"\ndescription=\"A \"\n\
         homepage=\"https://example.com/?a&b\"\nusers=\"root  admin\"\nrole=database\nlbaas=true\nbillingtags=\"a b\"\n\
         urn=sdc:sdc:x:1\nbase=\"208F9314-29cf-4bec-9d8b-c0697d00c929\"\nminram=512\nmaxram=\"1024\"\n\
         imageuuid=\"1c3b2d4e-0000-4000-8000-000000000000\"\nowneruuid=\"2c3b2d4e-0000-4000-8000-000000000000\"\n\
         ownername=me\nrestricted_to_uuid=\"3c3b2d4e-0000-4000-8000-000000000000\"\nnetworks=\"net0 extra\"\n\
         net0=public\nextra=\"for storage\"\nkernel_version=5.10.0\nmin_platform=20220407T001427Z\ncompression=none\n\
         os=linux\ntype=lx-dataset\n",
    );
    let text = |value: &Option<Located<String>>| value.as_ref().map(|value| value.value.clone());
    assert_eq!(
        (recipe.name.value.as_str(), recipe.version.value.as_str()),
        ("core mbox", "20.1.0")
    );
    assert_eq!(text(&recipe.organization).as_deref(), Some("SkyLime"));
    assert_eq!(text(&recipe.brand).as_deref(), Some("Instance"));
    assert_eq!(text(&recipe.description).as_deref(), Some("A "));
    assert_eq!(
        text(&recipe.homepage).as_deref(),
        Some("https://example.com/?a&b")
    );
    let users: Vec<&str> = recipe
        .users
        .iter()
        .map(|user| user.value.as_str())
        .collect();
    assert_eq!(users, ["root", "admin"]);
    assert_eq!(text(&recipe.role).as_deref(), Some("database"));
    assert_eq!(recipe.lbaas.as_ref().map(|value| value.value), Some(true));
    assert_eq!(recipe.billing_tags.len(), 2);
    assert_eq!(
        text(&recipe.base).as_deref(),
        Some("208f9314-29cf-4bec-9d8b-c0697d00c929")
    );
    assert_eq!(
        (recipe.min_ram.unwrap().value, recipe.max_ram.unwrap().value),
        (512, 1024)
    );
    assert_eq!(
        text(&recipe.image_uuid).as_deref(),
        Some("1c3b2d4e-0000-4000-8000-000000000000")
    );
    assert_eq!(text(&recipe.owner_name).as_deref(), Some("me"));
    assert_eq!(
        recipe.networks[1].value,
        Network {
            name: "extra".into(),
            description: "for storage".into()
        }
    );
    assert_eq!(recipe.target.unwrap().value, Target::Lx);
    assert_eq!(recipe.version.location.line, 4);
    assert_eq!(recipe.version.location.text, "version=\"20.1.0\"");
}

#[test]
fn both_styles_of_names() {
    let named = |text: &str| {
        let recipe = recipe(text);
        (recipe.name.value, recipe.version.value)
    };
    assert_eq!(
        named("name=example\nversion=1.0.0"),
        ("example".into(), "1.0.0".into())
    );
    assert_eq!(
        named("name=example-1.0.0"),
        ("example".into(), "1.0.0".into())
    );
    assert_eq!(
        named("name=example-1.0.0\nversion=\"\""),
        ("example".into(), "1.0.0".into())
    );
    assert_eq!(
        named("name=top\nversion=0.6.7-5"),
        ("top".into(), "0.6.7-5".into())
    );
    assert_eq!(named("name=top-0.6.7-5"), ("top".into(), "0.6.7-5".into()));
    assert_eq!(
        named("name=base-64\nversion=15.3.0a"),
        ("base-64".into(), "15.3.0a".into())
    );
    let (recipe, problems) = read("name=example-1.0\nversion=1.0");
    assert_eq!(recipe.unwrap().name.value, "example-1.0");
    assert!(
        problems[0].starts_with("manifest:1:6: warning: the name ends with the version"),
        "{problems:?}"
    );
    for (text, start) in [
        (
            "name=example",
            "manifest:1:6: error: the image has no version",
        ),
        ("version=1", "manifest: error: the image has no name"),
        ("", "manifest: error: the image has no name"),
        (
            "name=\" \"\nversion=1",
            "manifest: error: the image has no name",
        ),
        (
            "name=a&b\nversion=1",
            "manifest:1:7: error: `&` can't stand in a value",
        ),
        (
            "name=\"a&b\"\nversion=1",
            "manifest:1:7: error: `&` can't be in an image's name",
        ),
        (
            "name=a\nversion=\"1 0\"",
            "manifest:2:10: error: ` ` can't be in an image's version",
        ),
    ] {
        let (recipe, problems) = read(text);
        assert!(
            recipe.is_none() && problems[0].starts_with(start),
            "{text}: {problems:?}"
        );
    }
    assert!(
        read(&format!("name={}\nversion=1", "n".repeat(513)))
            .0
            .is_none()
    );
    assert!(
        read(&format!("name=n\nversion={}", "1".repeat(129)))
            .0
            .is_none()
    );
}

#[test]
fn values_are_checked_where_they_stand() {
    for (line, start) in [
        (
            "homepage=example.com",
            "manifest:2:10: error: the homepage is not an http",
        ),
        ("homepage=https://", "manifest:2:10: error: the homepage"),
        (
            "minram=512M",
            "manifest:2:8: error: `minram` is not a whole number",
        ),
        ("minram=0", "manifest:2:8: error: `minram`"),
        ("minram=+5", "manifest:2:8: error: `minram`"),
        ("maxram=99999999999", "manifest:2:8: error: `maxram`"),
        (
            "minram=2;maxram=1",
            "manifest:2:17: error: `maxram` is below `minram` (line 2)",
        ),
        (
            "users=\"root -x\"",
            "manifest:2:8: error: `-x` is no user name",
        ),
        (
            "users=\"root root\"",
            "manifest:2:8: warning: the user `root`",
        ),
        (
            "manifest_uuid=1",
            "manifest:2:15: error: `manifest_uuid` is not a UUID",
        ),
        (
            "owneruuid=2c3b2d4e-0000-4000-8000-0000000000001",
            "manifest:2:11: error: `owneruuid`",
        ),
        (
            "base=208f9314-29cf-4bec-9d8b-c0697d00c9291",
            "manifest:2:6: error: the base looks like a UUID, but has 37",
        ),
        ("lbaas=yes", "manifest:2:7: error: `lbaas`"),
        (
            "compression=bzip2",
            "manifest:2:13: error: the compression `bzip2`",
        ),
        (
            "kernel_version=new",
            "manifest:2:16: error: this is no version of a Linux",
        ),
        (
            "min_platform=20111231T000000Z",
            "manifest:2:14: error: this is no version of a SmartOS",
        ),
        (
            "networks=net0",
            "manifest:2:10: warning: nothing says what the network `net0`",
        ),
        ("net0=public", "manifest:2:1: warning: `net0` is not used"),
        (
            "metadata=x",
            "manifest:2:10: warning: `metadata` is not used",
        ),
        ("os=plan9", "manifest:2:4: error: `os` can't be `plan9`"),
        ("type=dataset", "manifest:2:6: error: `type` can't be"),
        (
            "os=smartos; type=lx-dataset",
            "manifest:2:4: error: `os` and `type` (line 2) speak of different",
        ),
        (
            "brand=joyent; type=lx-dataset",
            "manifest:2:7: error: `brand` and `type`",
        ),
        (
            "manifest_uuid=1c3b2d4e-0000-4000-8000-000000000000\nimageuuid=2c3b2d4e-0000-4000-8000-000000000000",
            "manifest:3:11: error: `imageuuid`",
        ),
    ] {
        let problem = problem(line);
        assert!(problem.starts_with(start), "{line}: {problem}");
    }
    let long = format!("description=\"{}\"", "ü".repeat(10_241));
    assert!(problem(&long).contains("10241 characters"));
    for empty in ["minram=\"\"", "users=\"\"", "homepage=''", "base="] {
        recipe(&format!("name=x version=1\n{empty}"));
    }
}

#[test]
fn unknown_and_doubled_keys_are_warnings() {
    assert_eq!(
        problem("ame=y"),
        "manifest:2:1: warning: no such key: `ame` | did you mean `name`?"
    );
    assert!(problem("desciption=y").ends_with("did you mean `description`?"));
    assert!(problem("zzzzzz=y").starts_with("manifest:2:1: warning: no such key: `zzzzzz`"));
    let (recipe, problems) = read("name=a version=1\nname=b");
    assert_eq!(recipe.unwrap().name.value, "b");
    assert_eq!(
        problems,
        [
            "manifest:2:1: warning: `name` is given a second time; the value of line 1 is lost | remove one of the two"
        ]
    );
}

#[test]
fn targets() {
    for (line, target) in [
        ("", None),
        ("brand=Instance", None),
        ("os=linux", Some(Target::Lx)),
        ("brand=lx", Some(Target::Lx)),
        ("type=lx-dataset", Some(Target::Lx)),
        ("os=smartos", Some(Target::Native)),
        (
            "type=zone-dataset; os=smartos; brand=joyent-minimal",
            Some(Target::Native),
        ),
        ("type=zvol; os=linux", Some(Target::Hvm)),
        ("brand=bhyve; os=linux", Some(Target::Hvm)),
        ("os=windows", Some(Target::Hvm)),
    ] {
        let recipe = recipe(&format!("name=x version=1\n{line}"));
        assert_eq!(recipe.target.map(|target| target.value), target, "{line}");
    }
}
