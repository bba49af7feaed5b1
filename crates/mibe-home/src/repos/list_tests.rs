use super::*;

fn urls(list: &str, server: &str) -> Vec<String> {
    let server = (!server.is_empty()).then(|| Server::parse(server).unwrap());
    let (entries, wrongs) = parse(list, server.as_ref());
    entries
        .iter()
        .map(|entry| {
            let reference = entry
                .reference
                .as_ref()
                .map_or_else(String::new, |reference| format!(" @{reference}"));
            format!("{} {}{reference}", entry.name, entry.url)
        })
        .chain(
            wrongs
                .iter()
                .map(|wrong| format!("{}:{}: {}", wrong.line, wrong.column, wrong.message)),
        )
        .collect()
}

#[test]
fn names_are_found_on_every_form_of_server() {
    for (server, plain, owned) in [
        (
            "https://github.com/joyent",
            "https://github.com/joyent/mi-a.git",
            "https://github.com/skylime/mi-a.git",
        ),
        (
            "https://github.com/joyent/",
            "https://github.com/joyent/mi-a.git",
            "https://github.com/skylime/mi-a.git",
        ),
        (
            "https://h/git/joyent",
            "https://h/git/joyent/mi-a.git",
            "https://h/git/skylime/mi-a.git",
        ),
        (
            "https://github.com",
            "https://github.com/mi-a.git",
            "https://github.com/skylime/mi-a.git",
        ),
        (
            "git@github.com:joyent",
            "git@github.com:joyent/mi-a.git",
            "git@github.com:skylime/mi-a.git",
        ),
        (
            "git@github.com:",
            "git@github.com:mi-a.git",
            "git@github.com:skylime/mi-a.git",
        ),
        (
            "git@git.joyent.com",
            "git@git.joyent.com:mi-a.git",
            "git@git.joyent.com:skylime/mi-a.git",
        ),
        (
            "ssh://git@h:2222/x",
            "ssh://git@h:2222/x/mi-a.git",
            "ssh://git@h:2222/skylime/mi-a.git",
        ),
        (
            "github.com/joyent",
            "https://github.com/joyent/mi-a.git",
            "https://github.com/skylime/mi-a.git",
        ),
        (
            "git://h/base",
            "git://h/base/mi-a.git",
            "git://h/skylime/mi-a.git",
        ),
        ("/srv/git", "/srv/git/mi-a.git", "/srv/git/skylime/mi-a.git"),
    ] {
        assert_eq!(urls("mi-a", server), [format!("mi-a {plain}")], "{server}");
        assert_eq!(
            urls("skylime/mi-a", server),
            [format!("mi-a {owned}")],
            "{server}"
        );
    }
    for wrong in [
        "",
        "-x",
        "ext::sh -c id",
        "ext::x",
        "https://",
        "a b",
        "ssh://-oProxyCommand=x/y",
        "ftp://h",
    ] {
        assert!(Server::parse(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn lines_of_every_form() {
    let list = "\u{feff}# comment\r\n\r\nmi-a@v1.0\n  mi-b@feature/x\tb2 # why\n\nowner/mi-c@0123abc\nhttps://user@h/p/mi-d.git@main\n\
        git@h:p/mi-e.git@v1\nssh://git@h:22/mi-f\n/srv/x@y/mi-g.git\ngit@h:mi-h\n./local/mi-i@v2\nhttps://git.sr.ht/~u/mi-j j";
    assert_eq!(
        urls(list, "https://s/o"),
        [
            "mi-a https://s/o/mi-a.git @v1.0",
            "b2 https://s/o/mi-b.git @feature/x",
            "mi-c https://s/owner/mi-c.git @0123abc",
            "mi-d https://user@h/p/mi-d.git @main",
            "mi-e git@h:p/mi-e.git @v1",
            "mi-f ssh://git@h:22/mi-f",
            "x /srv/x @y/mi-g.git",
            "mi-h git@h:mi-h",
            "mi-i ./local/mi-i @v2",
            "j https://git.sr.ht/~u/mi-j",
        ]
    );
    assert_eq!(
        urls("mi-a", ""),
        ["1:1: nothing says which server `mi-a` is on"]
    );
}

#[test]
fn what_could_do_harm_is_no_entry() {
    for line in [
        "--upload-pack=id",
        "ext::sh",
        "https://h/x -oops",
        "https://h/x ../y",
        "https://h/x .hidden",
        "https://h/x a/b",
        "https://h/..",
        "mi-a@--force",
        "mi-a@",
        "mi-a@a..b",
        "ssh://-oProxyCommand=id/x",
        "a:-x",
        "mi-a b c",
        "mi-a @v1",
        "../../etc",
        "mi\u{7}a",
        "owner/../x",
        "-oProxyCommand=id:x",
    ] {
        let (entries, wrongs) = parse(line, Some(&Server::parse("https://h/o").unwrap()));
        // A path is fine as long as its folder is.
        assert!(
            entries
                .iter()
                .all(|entry| entry.name == "etc" || entry.name == "-x"),
            "{line}: {entries:?}"
        );
        assert!(
            entries.len() + wrongs.len() == 1,
            "{line}: {entries:?} {wrongs:?}"
        );
    }
    assert_eq!(
        urls("mi-a\nx/MI-A\n", "https://h/o")[1],
        "2:1: the folder MI-A is that of line 1 already"
    );
}

proptest::proptest! {
    #[test]
    fn any_text_is_entries_or_mistakes(list in "[ -~\\n\\t\u{0}é]{0,200}", server in "\\PC{0,30}") {
        let server = Server::parse(&server).ok();
        let (entries, _) = parse(&list, server.as_ref());
        for entry in entries {
            proptest::prop_assert!(is_name(&entry.name));
            proptest::prop_assert!(!entry.url.starts_with('-'), "{}", entry.url);
            proptest::prop_assert!(entry.reference.is_none_or(|reference| !reference.is_empty() && !reference.starts_with('-')));
        }
    }
}
