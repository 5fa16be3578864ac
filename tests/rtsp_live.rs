//! RTSP while things change: several publishers of one stream, viewers that are sent away, streams
//! that are removed, somebody who talks. ffmpeg and GStreamer on the other side.
#![cfg(all(feature = "rtsp", feature = "demo"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod support;

use std::process::{Command, Stdio};
use support::*;

/// Two cameras and a place to publish into.
fn start() -> (Streamd, String) {
    let it = Streamd::start(
        "api: {listen: \"127.0.0.1:0\"}\nrtsp: {listen: \"127.0.0.1:0\"}\nstreams:\n  inbox:\n  \
         cam: demo:sub?audio=alaw\n  other: demo:sub\n",
    );
    let status = it.local("GET", "/api/status", "").json();
    let rtsp = items(&status, "listening").iter().find_map(|l| l.as_str()?.strip_prefix("RTSP "));
    let rtsp = rtsp.expect("it serves RTSP").trim_end_matches('/').to_owned();
    (it, rtsp)
}

/// A program that runs until its end, or the test's.
fn spawn(program: &str, args: &[&str]) -> Guard {
    let child = Command::new(program).args(args).stdin(Stdio::null()).stdout(Stdio::null()).spawn();
    Guard(child.unwrap_or_else(|e| panic!("{program} is needed for this test: {e}")))
}

fn watch(url: &str) -> Guard {
    spawn("ffmpeg", &["-v", "fatal", "-rtsp_transport", "tcp", "-i", url, "-f", "null", "-"])
}

/// Pictures that ffmpeg decodes, of as many as are asked for.
fn decoded(url: &str, frames: &str) -> usize {
    let args = ["-v", "error", "-rtsp_transport", "tcp", "-i", url, "-map", "0:v", "-frames:v", frames];
    let all: Vec<&str> = ["90", "ffmpeg"].into_iter().chain(args).chain(["-f", "framecrc", "-"]).collect();
    tool("timeout", &all, "").out.lines().filter(|l| !l.starts_with('#')).count()
}

fn consumers(it: &Streamd, name: &str) -> Vec<i64> {
    let stream = it.stream(name);
    items(&stream, "consumers")
        .iter()
        .filter(|c| text(c, "format_name") == "rtsp")
        .map(|c| int(c, "id"))
        .collect()
}

/// Two publish into one stream, one the picture, one the sound: a viewer has both. One leaves, and
/// takes only his own with him.
#[test]
fn two_publish_into_one_stream() {
    let (it, rtsp) = start();
    let to = format!("{rtsp}/inbox");
    let out = ["-f", "rtsp", "-rtsp_transport", "tcp", &to];
    let with = |args: &str| {
        let args: Vec<&str> = ["-v", "fatal", "-re"].into_iter().chain(args.split(' ')).chain(out).collect();
        spawn("ffmpeg", &args)
    };
    let picture = with(
        "-f lavfi -i testsrc=size=320x240:rate=25 -c:v libx264 -preset ultrafast -tune zerolatency -g 25",
    );
    let there = |n| items(&it.stream("inbox"), "producers").len() == n;
    wait_until("the picture", || there(1));
    let sound = with("-f lavfi -i sine=frequency=440:sample_rate=8000 -c:a pcm_alaw");
    wait_until("the sound", || there(2));
    let seen = tool(
        "ffprobe",
        &[
            "-v",
            "error",
            "-rtsp_transport",
            "tcp",
            "-show_entries",
            "stream=codec_name",
            "-of",
            "csv=p=0",
            &to,
        ],
        "",
    );
    assert_eq!(seen.out.split_whitespace().collect::<Vec<_>>(), ["h264", "pcm_alaw"], "{}", seen.err);
    drop(sound);
    wait_until("the sound to be gone", || there(1));
    assert_eq!(decoded(&to, "30"), 30, "the picture goes on");
    drop(picture);
    wait_until("everybody to be gone", || there(0));
}

/// Who is sent away is away; who watches another stream, and who comes again, sees pictures.
#[test]
fn a_viewer_is_sent_away_and_others_watch_on() {
    let (it, rtsp) = start();
    let (cam, other) = (format!("{rtsp}/cam"), format!("{rtsp}/other"));
    let mut viewer = watch(&cam);
    let _second = watch(&other);
    wait_until("both to watch", || consumers(&it, "cam").len() == 1 && consumers(&it, "other").len() == 1);
    let id = consumers(&it, "cam")[0];
    assert_eq!(it.ask("DELETE", &format!("/api/viewers?id={id}"), "").status, 200);
    wait_for("the viewer to end", || viewer.0.try_wait().unwrap());
    assert!(consumers(&it, "cam").is_empty());
    assert_eq!(consumers(&it, "other").len(), 1, "the other watches on");
    assert_eq!(decoded(&cam, "20"), 20, "who comes again is served");
}

#[test]
fn a_stream_is_removed_while_it_is_watched() {
    let (it, rtsp) = start();
    let (cam, other) = (format!("{rtsp}/cam"), format!("{rtsp}/other"));
    let mut viewer = watch(&cam);
    let _second = watch(&other);
    wait_until("both to watch", || consumers(&it, "cam").len() == 1 && consumers(&it, "other").len() == 1);
    let gone = it.local("DELETE", "/api/streams?src=cam", "");
    assert_eq!(gone.status, 200, "{}", gone.text());
    wait_for("the viewer to end", || viewer.0.try_wait().unwrap());
    assert_eq!(decoded(&cam, "1"), 0, "it is gone");
    assert_eq!(consumers(&it, "other").len(), 1, "the other watches on");
    assert_eq!(decoded(&other, "20"), 20);
}

/// GStreamer as a client with a microphone, as ONVIF has it.
const TALK: &str = r#"
import sys, gi
gi.require_version('Gst', '1.0')
from gi.repository import GLib, Gst
Gst.init(None)
pipeline = Gst.parse_launch('rtspsrc name=src protocols=tcp backchannel=onvif latency=0 '
    'audiotestsrc is-live=true samplesperbuffer=160 ! audio/x-raw,rate=8000,channels=1 ! mulawenc ! rtppcmupay ! '
    'appsink name=voice emit-signals=true')
# pushing takes the sample away, which the bindings do not know: it may not be let go a second time
src, back, taken = pipeline.get_by_name('src'), [], []
src.set_property('location', sys.argv[1])
def select(_, number, caps):
    if caps.get_structure(0).has_field('a-sendonly'):
        back.append(number)
    return True
def pad(_, new):
    sink = Gst.ElementFactory.make('fakesink')
    pipeline.add(sink)
    sink.sync_state_with_parent()
    new.link(sink.get_static_pad('sink'))
def voice(sink):
    sample = sink.emit('pull-sample')
    taken.append(sample)
    if back:
        src.emit('push-backchannel-sample', back[0], sample)
    return Gst.FlowReturn.OK
src.connect('select-stream', select)
src.connect('pad-added', pad)
pipeline.get_by_name('voice').connect('new-sample', voice)
pipeline.set_state(Gst.State.PLAYING)
GLib.MainLoop().run()
"#;

#[test]
fn gstreamer_speaks_to_the_camera() {
    let (it, rtsp) = start();
    let _talker = spawn("/usr/bin/python3", &["-c", TALK, &format!("{rtsp}/cam")]);
    wait_until("sound to be heard", || {
        items(producer(&it.stream("cam")), "speakers").iter().any(|s| int(s, "frames") >= 25)
    });
}
