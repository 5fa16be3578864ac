//! Films on a card: what was before the event is on them, others play them, a power cut costs their end at most.
#![cfg(all(feature = "record", feature = "demo"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::path::Path;
use std::process::Command;
use support::*;

fn config(folder: &Folder, more: &str) -> String {
    format!(
        "{}api: {{listen: \"127.0.0.1:0\"}}\nrtsp: {{listen: \"\"}}\n\
         streams:\n  cam: demo:?width=160&height=96&gop=1&motion=none\n\
         record:\n  cam: {{folder: \"{}\"{more}}}\n",
        head(folder),
        folder.path("films").display(),
    )
}

fn start(more: &str) -> Streamd {
    let folder = Folder::new();
    folder.write("streamd.yaml", config(&folder, more));
    Streamd::start_in(folder, &[])
}

fn motion(streamd: &Streamd, on: bool) {
    let target = format!("/api/events?type=motion&src=cam&on={on}");
    assert_eq!(streamd.local("POST", &target, "").status, 200);
}

/// A film's name and its bytes.
type Film = (String, i64);

fn films(streamd: &Streamd) -> Vec<Film> {
    let report = streamd.local("GET", "/api/record?src=cam", "").json();
    items(&report, "films").iter().map(|f| (text(f, "name").to_owned(), int(f, "bytes"))).collect()
}

/// Seconds of pictures, after every frame was decoded; complaints are none of a whole film.
fn seconds(path: &Path, whole: bool) -> u64 {
    let path = path.to_str().unwrap();
    let run = tool("ffmpeg", &["-v", "warning", "-i", path, "-f", "null", "-"], "");
    assert!(!whole || run.code == 0 && run.err.trim().is_empty(), "{}", run.err);
    let args =
        ["-v", "error", "-count_frames", "-select_streams", "v", "-show_entries", "stream=nb_read_frames"];
    let args = [&args[..], &["-of", "csv=p=0", path]].concat();
    let run = tool("ffprobe", &args, "");
    run.out.trim().trim_end_matches(',').parse::<u64>().unwrap() / 25
}

#[test]
fn an_event_becomes_a_film_that_begins_before_it() {
    let streamd = start(", before: 4s, after: 1s");
    assert_eq!(films(&streamd), []);
    // there is something before the event
    pause(5000);
    motion(&streamd, true);
    wait_until("a film to begin", || films(&streamd).first().is_some_and(|f| f.1 > 10_000));
    motion(&streamd, false);
    wait_until("the film to be whole", || streamd.log().contains("is whole"));
    let all = films(&streamd);
    let (name, bytes) = all.first().unwrap();
    let path = streamd.folder.path("films").join(name);
    assert!(seconds(&path, true) >= 4, "what was before the event is on it");
    let film = streamd.local("GET", &format!("/api/record/film?src=cam&name={name}"), "");
    assert_eq!((film.status, film.body.len() as i64), (200, *bytes));
    assert_eq!(film.body, std::fs::read(&path).unwrap());
    for wrong in ["../streamd.yaml", "20200101-000000-000.mp4"] {
        let answer = streamd.local("GET", &format!("/api/record/film?src=cam&name={wrong}"), "");
        assert_eq!(answer.status, 404, "{wrong}");
    }
    assert_eq!(streamd.local("GET", "/api/record?src=other", "").status, 404);
}

#[test]
fn a_power_cut_costs_the_end_of_a_film_at_most() {
    let mut streamd = start(", before: 2s");
    motion(&streamd, true);
    wait_until("two fragments", || films(&streamd).first().is_some_and(|f| f.1 > 30_000));
    streamd.child.kill().unwrap();
    streamd.ended();
    let film = std::fs::read_dir(streamd.folder.path("films")).unwrap().next().unwrap().unwrap().path();
    assert!(seconds(&film, false) >= 3);
}

/// A camera whose owner has no hub and no program that says when something moves.
#[test]
fn somebody_who_walks_by_is_on_a_film() {
    let folder = Folder::new();
    let text = config(&folder, ", before: 2s, after: 1s");
    folder
        .write("streamd.yaml", text.replace("width=160&height=96&gop=1&motion=none", "width=320&height=180"));
    let streamd = Streamd::start_in(folder, &[]);
    wait_until("a film of somebody", || films(&streamd).first().is_some_and(|f| f.1 > 10_000));
}

/// The card is full, then it is pulled, then it is back: what is new is worth more than what is old, nothing is
/// written where the card was, and nobody has to start anything again.
#[test]
fn a_card_that_is_full_or_pulled_costs_old_films_only() {
    let folder = Folder::new();
    let card = folder.path("films");
    std::fs::create_dir(&card).unwrap();
    let text = config(&folder, ", before: 1s, after: 0s");
    // 66 KB a fragment
    folder.write("streamd.yaml", text.replace("width=160&height=96", "width=640&height=360"));
    let mount = format!("mount -t tmpfs -o size=300k card '{}'", card.display());
    let mut command = Command::new("env");
    unshare::begin(&mut command, "-m", &format!("{mount} && exec \"$0\" \"$@\""));
    let log = std::fs::File::options().create(true).append(true).open(folder.path("log")).unwrap();
    let config = folder.path("streamd.yaml");
    let child = command.args([&program(), "-c", config.to_str().unwrap()]).stderr(log).spawn().unwrap();
    let mut streamd = Streamd { child, port: 0, folder };
    streamd.ready();
    let inside = |script: &str| {
        let pid = streamd.pid().to_string();
        let out =
            Command::new("nsenter").args(["-t", &pid, "-m", "-r", "sh", "-c", script]).output().unwrap();
        assert!(out.status.success(), "{out:?}");
    };
    let report = |key: &str| streamd.local("GET", "/api/record?src=cam", "").json().get(key).cloned();
    let film = |n: i64, done: &dyn Fn(&[Film]) -> bool| {
        motion(&streamd, true);
        wait_until("a film", || {
            report("begun").and_then(|b| b.as_int()) == Some(n) && done(&films(&streamd))
        });
        motion(&streamd, false);
        wait_until("it to be whole", || streamd.log().matches("is whole").count() >= n as usize);
        films(&streamd).last().unwrap().0.clone()
    };
    let has_some = |all: &[Film]| all.last().is_some_and(|f| f.1 > 50_000);
    let first = film(1, &has_some);
    film(2, &has_some);
    let third = film(3, &|all| all.iter().all(|f| f.0 != first));
    assert!(films(&streamd).last().is_some_and(|f| f.0 == third && f.1 > 50_000));
    assert_eq!((report("broken").and_then(|b| b.as_int()), report("trouble")), (Some(0), None));

    inside(&format!("umount -l '{}'", card.display()));
    motion(&streamd, true);
    wait_until("the card to be missed", || {
        report("trouble").is_some_and(|t| t.as_str().is_some_and(|t| t.contains("its card is gone")))
    });
    assert_eq!(std::fs::read_dir(&card).unwrap().count(), 0, "nothing is written where it was");
    inside(&mount);
    wait_until("a film on the card", || films(&streamd).last().is_some_and(|f| f.1 > 50_000));
    assert_eq!(report("trouble"), None);
    assert_eq!(std::fs::read_dir(&card).unwrap().count(), 0);
}
