use std::os::unix::fs::PermissionsExt;

use super::super::replace::{Rejected, approve, mask, same_host, unmask};
use super::super::write::{New, WriteError, change, edit, replace_file, scalar};
use super::super::{guard, yaml};
use super::*;

fn set(file: &str, path: &[&str], new: Option<New>) -> Result<String, WriteError> {
    edit(&Rc::from("t.yaml"), file, &|name| environment(name), path, new.as_ref())
}

#[test]
fn only_the_changed_key_changes() {
    let url = New::text("rtsp://new/");
    let list = New::list(&["rtsp://a/", "ffmpeg:cam#audio=opus"]);
    for (before, path, new, after) in [
        // A value for a key that is there.
        ("a: 1 # c\nb: 2\n", "a", Some(url.clone()), "a: rtsp://new/ # c\nb: 2\n"),
        (
            "a: 1 # c\nb: 2\n",
            "a",
            Some(list.clone()),
            "a: # c\n  - rtsp://a/\n  - ffmpeg:cam#audio=opus\nb: 2\n",
        ),
        ("a:\n  - x\n  - y # c\n# d\nb: 2\n", "a", Some(url.clone()), "a: rtsp://new/\n# d\nb: 2\n"),
        (
            "a: # k\n- x\n- y\nb: 2\n",
            "a",
            Some(list.clone()),
            "a: # k\n- rtsp://a/\n- ffmpeg:cam#audio=opus\nb: 2\n",
        ),
        (
            "a:\n    - x\nb: 2",
            "a",
            Some(list.clone()),
            "a:\n    - rtsp://a/\n    - ffmpeg:cam#audio=opus\nb: 2",
        ),
        ("a:\nb: 2\n", "a", Some(url.clone()), "a: rtsp://new/\nb: 2\n"),
        ("a: ~\nb: 2\n", "a", Some(New::Null), "a:\nb: 2\n"),
        ("a: [1, 2] # c\n", "a", Some(url.clone()), "a: rtsp://new/ # c\n"),
        ("{a: 1, b: 2}", "a", Some(list.clone()), "{a: [rtsp://a/, ffmpeg:cam#audio=opus], b: 2}"),
        ("{\"a\": 1}", "a", Some(url.clone()), "{\"a\": \"rtsp://new/\"}"),
        ("a: |\n  text\n  more\nb: 1\n", "a", Some(url.clone()), "a: rtsp://new/\nb: 1\n"),
        // A new key.
        (
            "s:\n  a: 1 # c\n\n# d\nt: 1\n",
            "s.b",
            Some(url.clone()),
            "s:\n  a: 1 # c\n  b: rtsp://new/\n\n# d\nt: 1\n",
        ),
        ("s:\n    a: 1", "s.b", Some(url.clone()), "s:\n    a: 1\n    b: rtsp://new/"),
        (
            "s:\n  a: 1\n",
            "s.b",
            Some(list.clone()),
            "s:\n  a: 1\n  b:\n    - rtsp://a/\n    - ffmpeg:cam#audio=opus\n",
        ),
        ("s: # none\nt: 1\n", "s.b", Some(url.clone()), "s: # none\n  b: rtsp://new/\nt: 1\n"),
        ("s: {}\n", "s.b", Some(url.clone()), "s: {b: rtsp://new/}\n"),
        ("s: {a: 1, }\n", "s.b", Some(url.clone()), "s: {a: 1, b: rtsp://new/ }\n"),
        (
            "{\n  \"s\": {\n    \"a\": 1\n  }\n}\n",
            "s.b",
            Some(url.clone()),
            "{\n  \"s\": {\n    \"a\": 1,\n    \"b\": \"rtsp://new/\"\n  }\n}\n",
        ),
        ("# only a comment\n", "s.b", Some(url.clone()), "# only a comment\ns:\n  b: rtsp://new/\n"),
        ("", "s.my cam", Some(New::Null), "s:\n  my cam:\n"),
        ("t: 1\r\n", "s.b", Some(url.clone()), "t: 1\r\ns:\r\n  b: rtsp://new/\r\n"),
        ("s:\n  a: 1\n", "s.true", Some(New::text("5")), "s:\n  a: 1\n  \"true\": \"5\"\n"),
        // A key that goes.
        ("s:\n  a: 1 # c\n  # d\n  b: 2\n", "s.a", None, "s:\n  # d\n  b: 2\n"),
        ("s:\n  a:\n    - x\n    - y\n  b: 2\n", "s.a", None, "s:\n  b: 2\n"),
        ("s:\n  a: 1\nt: 2\n", "s.a", None, "s:\nt: 2\n"),
        ("s: {a: 1, b: 2}\n", "s.a", None, "s: {b: 2}\n"),
        ("s: {a: 1, b: 2}\n", "s.b", None, "s: {a: 1}\n"),
        ("s: {a: 1}\n", "s.a", None, "s: {}\n"),
        ("s: 1\n", "nope.x", None, "s: 1\n"),
        ("a: 1\nb: 2", "b", None, "a: 1\n"),
    ] {
        let path: Vec<&str> = path.split('.').collect();
        match set(before, &path, new) {
            Ok(text) => assert_eq!(text, after, "{before:?} {path:?}"),
            Err(error) => panic!("{before:?} {path:?}: {error}"),
        }
    }
}

#[test]
fn what_cannot_be_changed_alone_is_refused() {
    for (before, path) in [
        ("x: &x {a: 1}\ns: *x\n", "s.a"),
        ("x: &x {a: 1}\ns:\n  <<: *x\n", "s.a"),
        ("x: &x 1\ns: *x\n", "x"),
        ("? s\n: 1\n", "s"),
        ("s: text\n", "s.a"),
        ("s:\n\ta: 1\n", "s.a"),
    ] {
        let path: Vec<&str> = path.split('.').collect();
        let error = set(before, &path, Some(New::text("new"))).unwrap_err();
        assert!(!error.to_string().is_empty(), "{before:?}");
    }
}

#[test]
fn a_nasty_file_survives_every_change() {
    let file = nasty();
    let names = [
        "front door",
        "yard",
        "empty",
        "nulled",
        "list",
        "shared",
        "folded",
        "map",
        "new",
        "a: b #",
        "\"q\"",
        "ö",
    ];
    let news = [
        None,
        Some(New::Null),
        Some(New::text("rtsp://u:p w@h/#x=1")),
        Some(New::text("needs: \"quotes\" # and\\more\n")),
        Some(New::list(&["rtsp://1/", "exec:ffmpeg -i {input} [x]", ""])),
        Some(New::List(Vec::new())),
    ];
    let (mut done, mut refused) = (0, 0);
    for section in ["streams", "preload", "fresh", "env"] {
        for name in names {
            for new in &news {
                match set(&file, &[section, name], new.clone()) {
                    Ok(text) => {
                        done += 1;
                        // All other lines are still there, byte by byte.
                        let lost: Vec<&str> = file
                            .split_inclusive("\r\n")
                            .filter(|line| !text.contains(line.trim_end_matches("\r\n")))
                            .collect();
                        assert!(lost.len() <= 4, "{section}.{name}: {lost:?}");
                        assert!(
                            !text.replace("\r\n", "").contains('\n'),
                            "{section}.{name}: one kind of line break"
                        );
                        for comment in
                            ["# head", "# the door", "# port", "# first", "# fish", "# below", "# above"]
                        {
                            assert!(text.contains(comment), "{section}.{name} lost {comment}");
                        }
                    }
                    Err(error) => {
                        refused += 1;
                        println!("{section}.{name} {new:?}: {error}");
                    }
                }
            }
        }
    }
    assert!(done > 250 && refused <= 12, "{done} done, {refused} refused");
}

#[test]
fn any_text_survives_quoting() {
    let mut dice = Dice(99);
    let bits = [
        "a", " ", ":", "#", "\"", "'", "\\", "\n", "\t", "{", "]", ",", "ä", "\u{7f}", "\u{85}", "\u{feff}",
        "0", "-", "?", "*", "&", "%", "@", "~", "=", "<<", "true", "\u{1}", "\u{2028}",
    ];
    for _ in 0..20_000 {
        let text: String = (0..dice.roll(6)).map(|_| bits[dice.roll(bits.len())]).collect();
        let mut out = String::new();
        scalar(&text, false, &mut out);
        for file in
            [format!("{out}: 1\n"), format!("a: {out}\n"), format!("[{out}]"), format!("{{{out}: {out}}}")]
        {
            let root = document(&file).unwrap_or_else(|e| panic!("{file:?}: {e}")).root;
            let found = match &root.value {
                yaml::Value::Seq(items) => items[0].text(),
                _ => root
                    .get("a")
                    .filter(|_| text != "a")
                    .map_or(root.entries().first().map(|e| e.key.as_str()), yaml::Node::text),
            };
            assert_eq!(found, Some(text.as_str()), "{file:?}");
        }
    }
}

#[test]
fn secrets_are_stars_and_stars_posted_back_change_nothing() {
    let file = nasty();
    let lookup = |name: &str| environment(name);
    let shown = mask(&file, &lookup);
    for secret in [
        "hunter2secret",
        "CAM_PASSWORD",
        "swordfish",
        "trout-1234",
        ":one@",
        ":two@",
        ":three@",
        "old:secret",
        "päss",
    ] {
        assert!(!shown.contains(secret), "{secret} shows in\n{shown}");
    }
    assert!(
        shown.contains("# trailing") && shown.contains("\"front door\": rtsp://***@${CAM}/main#timeout=5"),
        "{shown}"
    );
    assert!(document(&shown).is_ok());
    let back = unmask(&shown, &file, &lookup).unwrap_or_else(|e| panic!("{e}"));
    let tree = |t: &str| document(t).unwrap().root;
    assert!(yaml::same(&tree(&back), &tree(&file)), "{back}");
    assert!(back.contains("old:secret"), "comments come back too");
    assert!(back.contains("${CAM_PASSWORD}"), "references stay references");
    let with_duplicate = "api:\n  password: first1\n  password: second2\n";
    assert!(!mask(with_duplicate, &lookup).contains("second2"));
    let broken = "api:\n\tpassword: hunter2\nx: {token: \"t0ken\", y: rtsp://a:pw1@h}\n";
    let shown = mask(broken, &lookup);
    assert!(!shown.contains("hunter2") && !shown.contains("t0ken") && !shown.contains("pw1"), "{shown}");
}

/// Whoever stands twice by mistake keeps both passwords.
#[test]
fn two_of_one_name_are_told_apart_by_their_places() {
    let file = "users:\n- {name: ben, password: trout}\n- {name: anna, password: pike}\n- {name: ben, password: eel}\n";
    let shown = mask(file, &|_| None);
    assert!(!shown.contains("trout") && !shown.contains("eel"), "{shown}");
    assert_eq!(unmask(&shown, file, &|_| None).unwrap(), file);
}

#[test]
fn a_secret_stays_with_its_key_and_host() {
    let lookup = |_: &str| None;
    let old = "streams:\n  a: rtsp://u:one@h1/x\n  b: [rtsp://u:two@h2/x, rtsp://u:six@h2/y]\nusers:\n- {name: anna, password: swordfish}\n- {name: ben, password: trout}\n";
    let good = [
        ("streams: {a: 'rtsp://***@h1/y'}\n", "streams: {a: rtsp://u:one@h1/y}\n"),
        (
            "streams: {b: ['rtsp://***@h2/y', 'rtsp://***@h2/x']}\n",
            "streams: {b: [rtsp://u:six@h2/y, rtsp://u:two@h2/x]}\n",
        ),
        ("users:\n- {name: ben, password: '***'}\n", "users:\n- {name: ben, password: trout}\n"),
        ("streams: {a: 'exec:x *** y'}\n", "streams: {a: 'exec:x *** y'}\n"),
    ];
    for (posted, want) in good {
        assert_eq!(unmask(posted, old, &lookup).unwrap_or_else(|e| panic!("{posted}: {e}")), want);
    }
    for posted in [
        "streams: {a: 'rtsp://***@evil/x'}\n",
        "streams: {c: 'rtsp://***@h1/x'}\n",
        "users:\n- {name: eve, password: '***'}\n",
        "api: {password: '***'}\n",
    ] {
        assert!(matches!(unmask(posted, old, &lookup), Err(Rejected::Masked(_))), "{posted}");
    }
    assert_eq!(same_host("rtsp://***@h/new", "rtsp://u:p@h/old").as_deref(), Some("rtsp://u:p@h/new"));
    assert_eq!(same_host("rtsp://***@h:1/new", "rtsp://u:p@h/old"), None);
}

#[test]
fn the_api_cannot_write_a_line_that_runs_a_program() {
    let arguments = ["t.yaml".to_owned()];
    let before = "streams:\n  old: exec:ls\n  cam: rtsp://h/\n";
    let check = |before: &str, after: &str| approve(&arguments, &world(), before, after, true);
    for after in [
        "streams: {a: 'exec:ls'}\n",
        "streams: {a: '  EXEC:ls'}\n",
        "streams: {a: [rtsp://h/, \"\\texec:ls\"]}\n",
        "streams: {a: {url: 'echo:x'}}\n",
        "streams: {a: {url: [rtsp://h/, 'expr:x']}}\n",
        "streams: {a: 'ffmpeg:exec:ls#video=h264'}\n",
        "streams: {a: 'ffmpeg:rtsp://x#input=file:/etc/passwd'}\n",
        "streams: {a: '${RUN}'}\n",
        "streams: {a: '${NOT_THERE}'}\n",
        "streams: {a: '${NOT_THERE:exec:ls}'}\n",
        "streams: {a: '${X:ex}ec:ls'}\n",
        "env: {C: 'exec:ls'}\n",
        "streams: {old: 'exec:rm'}\n",
        "streams: {other: 'exec:ls'}\n",
        "x-a: &a exec:rm\nstreams: {b: *a}\n",
        "exec: {allow_paths: [sh]}\n",
        "echo: {allow_paths: [sh]}\n",
        "api: {allow_exec: true}\n",
        "ffmpeg: {bin: /tmp/x}\n",
    ] {
        match check(before, after) {
            Err(Rejected::Guarded(_)) => {}
            Err(other) => panic!("{after}: {other}"),
            Ok(_) => panic!("{after}: went through"),
        }
        let free = format!("api: {{allow_exec: true}}\n{before}");
        let after = if after.starts_with("api") {
            after.to_owned()
        } else {
            format!("api: {{allow_exec: true}}\n{after}")
        };
        assert!(check(&free, &after).is_ok(), "{after}");
    }
    for after in [
        "streams:\n  old: [exec:ls]\n  cam: rtsp://h2/\n",
        "streams: {cam: 'rtsp://h/executive:1?x=a'}\n",
        "log: {level: debug}\n",
    ] {
        assert!(check(before, after).is_ok(), "{after}");
    }
    assert!(matches!(check(before, "log: {level: loud}\n"), Err(Rejected::Problems(_))));
    let sick = "log: {level: loud}\nstreams: {}\n";
    assert!(
        approve(&arguments, &world(), sick, "log: {level: loud}\nstreams: {a: b}\n", false).is_ok(),
        "an old mistake elsewhere does not stop one key from being written"
    );
    assert!(guard::runs_program("ffmpeg:exec:x") && !guard::runs_program("rtsp://h:554/x"));
}

#[test]
fn a_file_is_replaced_whole_with_mode_0600_behind_a_link_too() {
    let folder = std::env::temp_dir().join(format!("streamd-write-{}", std::process::id()));
    let real = folder.join("real");
    std::fs::create_dir_all(&real).unwrap();
    let file = real.join("streamd.yaml");
    std::fs::write(&file, "streams:\n  a: x # c\n").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let link = folder.join("link.yaml");
    std::os::unix::fs::symlink("real/streamd.yaml", &link).unwrap();
    let edits: &[(&[&str], Option<New>)] =
        &[(&["streams", "b"], Some(New::text("yy"))), (&["streams", "a"], None)];
    let (before, after) =
        change::<WriteError>(&link, &|_| None, edits, &mut |_, _| Ok(())).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!((before.as_str(), after.as_str()), ("streams:\n  a: x # c\n", "streams:\n  b: yy\n"));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), after);
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(std::fs::symlink_metadata(&link).unwrap().file_type().is_symlink());
    assert_eq!(std::fs::read_dir(&real).unwrap().count(), 1, "no temporary file stays");

    let again: &[(&[&str], Option<New>)] = &[(&["streams", "c"], Some(New::text("zz")))];
    // Somebody else writes between reading and replacing: theirs is read again and kept.
    let mut first = true;
    let result = change::<WriteError>(&file, &|_| None, again, &mut |_, _| {
        if std::mem::take(&mut first) {
            std::fs::write(&file, "# theirs\nstreams:\n  theirs: z\n").unwrap();
        }
        Ok(())
    });
    assert_eq!(result.unwrap_or_else(|e| panic!("{e}")).1, "# theirs\nstreams:\n  theirs: z\n  c: zz\n");

    // Refused means untouched.
    let refuse = change(&file, &|_| None, &[(&["streams", "c"], None)], &mut |_, _| {
        Err(Rejected::Guarded(String::new()))
    });
    assert!(refuse.is_err() && std::fs::read_to_string(&file).unwrap().contains("c: zz"));

    let fresh = folder.join("fresh.yaml");
    assert!(change::<WriteError>(&fresh, &|_| None, edits, &mut |_, _| Ok(())).is_ok());
    assert_eq!(std::fs::read_to_string(&fresh).unwrap(), "streams:\n  b: yy\n");
    replace_file(&fresh, "log: {}\n").unwrap();
    assert_eq!(std::fs::read_to_string(&fresh).unwrap(), "log: {}\n");
    assert!(replace_file(&folder.join("nope/x.yaml"), "").is_err());
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn a_reference_written_by_the_api_stays_one() {
    let out = set("env: {P: x}\n", &["streams", "a"], Some(New::text("rtsp://u:${P}@h/")))
        .unwrap_or_else(|e| panic!("{e}"));
    assert!(out.contains("rtsp://u:${P}@h/"), "{out}");
    assert_eq!(crate::app::config::expand::expand_value("${P}-${Q:1}", &out, &|_| None), "x-1");
}

#[test]
fn an_address_as_a_key_is_not_written_back_masked() {
    let text = "streams:\n  cam:\n    - rtsp://admin:swordfish@192.0.2.1/ch0: x\n";
    let shown = mask(text, &environment);
    assert!(!shown.contains("swordfish"), "{shown}");
    assert!(matches!(unmask(&shown, text, &environment), Err(Rejected::Masked(_))));
    assert_eq!(unmask(text, text, &environment).unwrap(), text);
}

/// What looks like a secret and is none is not lost: where what is shown does not come back whole, stars are
/// refused; where it does, everything else can be changed.
#[test]
fn nothing_is_lost_that_only_looked_like_a_secret() {
    let nonsense = "users:\n  - nam :e passwordws :ordfis ${x:csword: o\n";
    for text in [
        nonsense,
        "- nam :e passwordws :ordf:csword: o\n",
        "nam :e passwordws :ordf:csword: o\n",
        "api: [a, token :b: c]\n",
        "log:\n\tpassword: hunter2\n",
    ] {
        let shown = mask(text, &environment);
        assert!(shown.contains("***"), "{shown}");
        for posted in [shown.clone(), shown + "x: 1\n"] {
            match unmask(&posted, text, &environment) {
                Err(Rejected::Masked(_) | Rejected::Broken(_)) => {}
                other => panic!("{text} was shown as {posted}, came back as {other:?}"),
            }
        }
    }
    // whoever writes out what it was may keep his other secrets
    let old = format!("{nonsense}api: {{password: trout}}\n");
    let posted = "users:\n- {name: anna, password: pike}\napi: {password: \"***\"}\n";
    let back = unmask(posted, &old, &environment).unwrap_or_else(|e| panic!("{e}"));
    assert!(back.contains("api: {password: \"trout\"}") || back.contains("api: {password: trout}"), "{back}");
    let told = unmask(&posted.replace("pike", "\"***\""), &old, &environment).unwrap_err().to_string();
    assert!(told.contains("users.anna.password: *** stands where"), "{told}");
}

/// What was commented out is still there when it is needed again.
#[test]
fn secrets_in_comments_come_back() {
    let old = "# *** cameras ***\nstreams:\n  # b: rtsp://u:two@h2/x\n  a: rtsp://u:one@h1/x # was rtsp://u:old@h1/x\n# password: eel\n";
    let shown = mask(old, &|_| None);
    assert!(!["one", "two", "old@", "eel"].iter().any(|secret| shown.contains(secret)), "{shown}");
    assert_eq!(unmask(&shown, old, &|_| None).unwrap_or_else(|e| panic!("{e}")), old);
    let moved = shown.replace("h1/x #", "h1/y #") + "# *** more ***\n";
    let back = unmask(&moved, old, &|_| None).unwrap_or_else(|e| panic!("{e}"));
    assert!(back.contains("a: rtsp://u:one@h1/y # was rtsp://u:old@h1/x\n"), "{back}");
    let told = unmask(&shown.replace("# was", "# has been"), old, &|_| None).unwrap_err().to_string();
    assert!(told.starts_with("# has been rtsp://***@h1/x: ***"), "{told}");
}
