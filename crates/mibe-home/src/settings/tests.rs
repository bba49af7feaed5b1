use super::*;

fn parse(text: &str) -> (BTreeMap<&'static str, Value>, Vec<String>) {
    let mut problems = Vec::new();
    let values = parse_toml("/h/mibe.toml".into(), text.as_bytes(), &mut problems);
    problems
        .sort_by_key(|problem: &Problem| problem.location.as_ref().map(|place| place.span.start));
    let problems = problems
        .iter()
        .map(|problem| format!("{problem} [{}] {}", problem.code, problem.advice))
        .collect();
    (values, problems)
}

#[test]
fn the_file_of_a_new_home_sets_nothing_and_each_line_of_it_can_be_taken() {
    assert_eq!(parse(&commented()), (BTreeMap::new(), Vec::new()));
    let all: String = commented()
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(setting)
                if setting
                    .split_once(" = ")
                    .is_some_and(|(key, _)| !key.contains(' ')) =>
            {
                setting.to_owned() + "\n"
            }
            _ => line.to_owned() + "\n",
        })
        .collect();
    let (values, problems) = parse(&all);
    assert_eq!(problems, [""; 0]);
    assert_eq!(values.len(), SETTINGS.len());
    assert_eq!(values["build.output"], Value::Text("/h/images".to_owned()));
    assert_eq!(values["repos.jobs"], Value::Number(4));
}

#[test]
fn every_mistake_is_told_with_its_place() {
    let (_, problems) = parse(
        "mirror = \"x\"\n[biuld]\n[build]\nmirrror = 1\nsandbox = \"magic\"\ntimeout_customize = 0\nresolvers = \"1.2.3.4\"\nkeyring = 3\n[image]\nowner = \"me\"\n[other]\n",
    );
    assert_eq!(
        problems,
        [
            "/h/mibe.toml:1:1: error: no such setting: `mirror` [unknown-setting] put it under [build]",
            "/h/mibe.toml:2:2: error: no such table of settings: [biuld] [unknown-setting] did you mean [build]?",
            "/h/mibe.toml:4:1: error: no such setting: `build.mirrror` [unknown-setting] did you mean `build.mirror`?",
            "/h/mibe.toml:5:11: error: `build.sandbox` can't be this [bad-setting] write one of auto, root, subuid, single",
            "/h/mibe.toml:6:21: error: `build.timeout_customize` can't be this [bad-setting] write a number from 1 to 604800",
            "/h/mibe.toml:7:13: error: `build.resolvers` can't be this [bad-setting] write a list, as in [\"192.0.2.53\"]",
            "/h/mibe.toml:8:11: error: `build.keyring` can't be this [bad-setting] write a text in quotes, as in \"keys/mirror.gpg\"",
            "/h/mibe.toml:10:9: error: `image.owner` can't be this [bad-setting] a UUID is 36 characters: \"9dce1460-0c4c-4417-ab8b-25ca478c5a78\"",
            "/h/mibe.toml:11:2: error: no such table of settings: [other] [unknown-setting] the tables are build, smartos, image, repos",
        ]
    );
    let (_, problems) = parse("[build\nx=1");
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(problems[0].starts_with("/h/mibe.toml:1:"), "{problems:?}");
}

/// `docs/settings.md` is made from the table; `MIBE_UPDATE_DOCS=1` writes it anew.
#[test]
fn the_documentation_lists_them_all() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/settings.md");
    if env::var_os("MIBE_UPDATE_DOCS").is_some() {
        fs::write(&path, page()).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == page(),
        "docs/settings.md is out of date: cargo xtask pages"
    );
}

proptest::proptest! {
    #[test]
    fn any_text_is_settings_or_problems(text in "\\PC{0,100}") {
        parse(&text);
    }
}
