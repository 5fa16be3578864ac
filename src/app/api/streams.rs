//! `/api/streams`, `/api/preload`, `/api/viewers`: what there is, who watches, and changing it.

use super::config::{change, edit, when};
use super::{ADMIN, Row, VIEW, later, now};
use crate::app::config::guard::runs_program;
use crate::app::config::write::New;
use crate::app::program::{Program, wishes_of};
use crate::media::{Codec, CodecId, Kind, h264};
use crate::net::clock;
use crate::net::http::{Access, Method, Request, Response};
use crate::net::json::Writer;
use crate::net::mask::mask_url;
use crate::net::quoted::Quoted;
use crate::net::users::{Role, User};
use crate::stream::{Join, Local, Outlet, Peer, SourceSpec, Speaker, Stream, Track, Viewer};
use std::rc::Rc;

/// Names that a stream may be given beside its own.
const ALIASES: usize = 16;
/// How long a picture may take.
const FRAME_TIME: std::time::Duration = std::time::Duration::from_secs(10);

pub const ROUTES: &[Row] = &[
    later(Method::Get, "/api/streams", VIEW, get),
    later(Method::Put, "/api/streams", ADMIN, put),
    now(Method::Patch, "/api/streams", ADMIN, patch),
    later(Method::Post, "/api/streams", Access::Role(Role::Talk), play),
    later(Method::Delete, "/api/streams", ADMIN, delete),
    now(Method::Get, "/api/preload", VIEW, get_preload),
    later(Method::Put, "/api/preload", ADMIN, put_preload),
    later(Method::Delete, "/api/preload", ADMIN, delete_preload),
    later(Method::Get, "/api/frame.jpeg", VIEW, frame),
    now(Method::Delete, "/api/viewers", Access::Role(Role::Control), kick),
];

fn not_found(name: &str) -> Response {
    Response::error(404, &format!("stream not found: {}", Quoted(name)))
}

/// The stream's name in the query, as that parameter; it need not exist.
fn name_in<'a>(request: &'a Request, key: &str) -> Result<&'a str, Response> {
    let missing = || Response::error(400, &[key, ": expected the stream's name"].concat());
    request.query(key).ok_or_else(missing)
}

/// The stream that the query names, if the user may do that with it.
fn named(program: &Program, request: &Request, key: &str, role: Role) -> Result<Rc<Stream>, Response> {
    let name = name_in(request, key)?;
    match request.refuse(role, name) {
        Some(refusal) => Err(refusal),
        None => program.hall.get(name).ok_or_else(|| not_found(name)),
    }
}

fn mask(program: &Program, text: &str) -> String {
    program.loaded().secrets.mask(text).into_owned()
}

fn get(program: &Rc<Program>, request: &Request) -> Result<Local<Response>, Response> {
    if request.query("src").is_none() {
        let mut w = Writer::new();
        w.begin_object();
        for stream in visible(program, &request.user) {
            w.key(stream.name());
            stream_json(&mut w, &stream, &|text| mask(program, text));
        }
        w.end_object();
        return Err(Response::json(w.finish()));
    }
    let stream = named(program, request, "src", Role::View)?;
    let query = query_of(request, &["video", "audio"]);
    if query.is_empty() {
        return Err(told(program, &stream));
    }
    let program = program.clone();
    Ok(Box::pin(async move {
        // asked what it would get: the source has to be dialled to know
        let peer = Peer { format: "probe", protocol: "http", ..Peer::default() };
        match stream.attach(&wishes_of(&query), Join::Live, peer).await {
            // it stays until all is told, or its source would have nothing to tell any more
            Ok(_reader) => told(&program, &stream),
            Err(e) => Response::error(500, &mask(&program, &e.to_string())),
        }
    }))
}

/// One stream.
fn told(program: &Program, stream: &Rc<Stream>) -> Response {
    let mut w = Writer::new();
    stream_json(&mut w, stream, &|text| mask(program, text));
    Response::json(w.finish())
}

/// `video=…&audio=…`, of what was asked for those parameters.
fn query_of(request: &Request, keys: &[&str]) -> String {
    let mut query = String::new();
    for key in keys {
        for value in request.head.query.all(key) {
            if !query.is_empty() {
                query.push('&');
            }
            query.push_str(key);
            if !value.is_empty() {
                query.push('=');
                query.push_str(value);
            }
        }
    }
    query
}

/// The streams that a user may see.
pub fn visible(program: &Program, user: &User) -> Vec<Rc<Stream>> {
    let mut streams = program.hall.streams();
    streams.retain(|s| user.may(Role::View, Some(s.name())));
    streams
}

/// A stream as the predecessor prints it, and what we know beside.
pub fn stream_json(w: &mut Writer, stream: &Rc<Stream>, mask: &dyn Fn(&str) -> String) {
    w.begin_object();
    w.key("producers").begin_array();
    for source in stream.sources() {
        let peer = source.peer();
        w.begin_object();
        w.key("id").uint(u64::from(source.id));
        // a client of the predecessor wants a url in every producer
        w.key("url").string(&source.spec.as_ref().map_or(String::new(), |s| mask(&mask_url(s.text()))));
        let state = match source.state() {
            crate::stream::State::Idle => "idle",
            crate::stream::State::Dialling => "dialling",
            crate::stream::State::Running => "running",
            crate::stream::State::Failed => "failed",
            crate::stream::State::Gone => "gone",
        };
        w.key("state").string(state);
        peer_json(w, &peer);
        if let Some(error) = source.error() {
            w.key("error").string(&mask(&error.to_string()));
        }
        let outlets = source.outlets();
        if !outlets.is_empty() {
            w.key("connections").uint(u64::from(source.connections.get()));
            w.key("medias").begin_array();
            for outlet in &outlets {
                w.string(&outlet.media().to_string());
            }
            w.end_array();
            w.key("receivers").begin_array();
            let mut bytes = 0;
            for outlet in &outlets {
                let Outlet::Track(_, track) = outlet else { continue };
                bytes += track.stats.bytes.get();
                track_json(w, track);
            }
            w.end_array();
            w.key("bytes_recv").uint(bytes);
            let speakers = || {
                outlets.iter().filter_map(|o| match o {
                    Outlet::Speaker(_, speaker) => Some(speaker),
                    Outlet::Track(..) => None,
                })
            };
            if speakers().next().is_some() {
                w.key("speakers").begin_array();
                speakers().for_each(|s| speaker_json(w, s));
                w.end_array();
            }
        }
        w.end_object();
    }
    w.end_array();
    w.key("consumers").begin_array();
    for viewer in stream.viewers() {
        viewer_json(w, &viewer);
    }
    w.end_array();
    if stream.is_playing() {
        w.key("playing").bool(true);
    }
    w.end_object();
}

fn peer_json(w: &mut Writer, peer: &Peer) {
    for (key, value) in [
        ("format_name", peer.format),
        ("protocol", peer.protocol),
        ("remote_addr", peer.remote.as_str()),
        ("user_agent", peer.agent.as_str()),
    ] {
        if !value.is_empty() {
            w.key(key).string(value);
        }
    }
}

fn track_json(w: &mut Writer, track: &Track) {
    w.begin_object();
    w.key("codec");
    codec_json(w, &track.codec());
    w.key("childs").uint(track.readers() as u64);
    w.key("bytes").uint(track.stats.bytes.get());
    w.key("packets").uint(track.stats.packets.get().max(track.stats.frames.get()));
    w.key("frames").uint(track.stats.frames.get());
    w.key("refused").uint(track.stats.refused.get());
    w.key("overwritten").uint(track.ring().broken());
    w.key("held_bytes").uint(track.ring().span() as u64);
    if let Some(newest) = track.newest() {
        w.key("age_ms").uint(clock::now().since(newest).as_millis() as u64);
    }
    w.end_object();
}

/// What was said to a speaker.
fn speaker_json(w: &mut Writer, speaker: &Speaker) {
    let track = speaker.track();
    w.begin_object();
    w.key("codec");
    codec_json(w, &track.codec());
    w.key("taken").bool(speaker.is_taken());
    w.key("bytes").uint(track.stats.bytes.get());
    w.key("frames").uint(track.stats.frames.get());
    w.end_object();
}

/// A codec with the keys that ffprobe uses.
pub fn codec_json(w: &mut Writer, codec: &Codec) {
    w.begin_object();
    let name = match codec.id {
        CodecId::H264 => "h264",
        CodecId::H265 => "hevc",
        CodecId::Jpeg => "mjpeg",
        CodecId::Pcma => "pcm_alaw",
        CodecId::Pcmu => "pcm_mulaw",
        CodecId::L16 => "pcm_s16be",
        CodecId::Pcml => "pcm_s16le",
        CodecId::Aac | CodecId::Eld => "aac",
        CodecId::Opus => "opus",
        CodecId::Flac => "flac",
        CodecId::Mpa => "mp3",
        CodecId::G722 => "g722",
        CodecId::Vp8 => "vp8",
        CodecId::Vp9 => "vp9",
        CodecId::Av1 => "av1",
        CodecId::Raw => "rawvideo",
        CodecId::Onvif => "onvif",
    };
    w.key("codec_name").string(name);
    w.key("codec_type").string(codec.kind().name());
    if codec.kind() == Kind::Audio {
        w.key("sample_rate").uint(u64::from(codec.rate));
        w.key("channels").uint(u64::from(codec.channels));
    }
    if codec.id == CodecId::H264
        && let Some(nal) = crate::media::annexb::lengths(&codec.extra).next()
        && let Ok(sps) = h264::Sps::parse(nal)
    {
        w.key("profile").string(sps.profile_name());
        w.key("level").uint(u64::from(sps.level_idc));
        w.key("width").uint(u64::from(sps.width));
        w.key("height").uint(u64::from(sps.height));
    }
    w.end_object();
}

fn viewer_json(w: &mut Writer, viewer: &Viewer) {
    w.begin_object();
    w.key("id").uint(u64::from(viewer.id));
    peer_json(w, &viewer.peer);
    w.key("codecs").begin_array();
    for codec in viewer.codecs() {
        w.string(&codec.to_string());
    }
    w.end_array();
    w.key("bytes_send").uint(viewer.stats.bytes.get());
    w.key("packets").uint(viewer.stats.packets.get());
    w.key("frames").uint(viewer.stats.frames.get());
    w.key("drops").uint(viewer.stats.skipped.get());
    let last = viewer.stats.last.get();
    if last != crate::media::Time::ZERO {
        w.key("age_ms").uint(clock::now().since(last).as_millis() as u64);
    }
    w.end_object();
}

/// Sources that came by the API: none that runs a program or opens a file, unless the file allows it.
fn sources(program: &Program, texts: &[String]) -> Result<Vec<SourceSpec>, Response> {
    let mut specs = Vec::new();
    for text in texts {
        let refuse = |sentence: String| Response::error(400, &mask(program, &sentence));
        if text.contains(char::is_whitespace) {
            return Err(refuse(format!("source {}: white space is not allowed here", mask_url(text))));
        }
        let spec = SourceSpec::parse(text).map_err(|e| refuse(e.to_string()))?;
        let allowed = program.loaded().config.api.allow_exec;
        let connector = program.hall.connector(&spec);
        let is_local = connector.as_ref().is_ok_and(|c| c.is_local());
        if (runs_program(text) || is_local) && !allowed {
            return Err(refuse(format!(
                "source {}: exec, echo, expr and file are refused from the API; api.allow_exec in the file allows them",
                mask_url(text)
            )));
        }
        program.hall.check(&spec).map_err(|e| refuse(format!("source {}: {e}", mask_url(text))))?;
        specs.push(spec);
    }
    Ok(specs)
}

fn put(program: &Rc<Program>, request: &Request) -> Result<Local<Response>, Response> {
    let texts: Vec<String> = request.head.query.all("src").map(str::to_owned).collect();
    let name = request.query("name").filter(|name| !name.is_empty());
    let Some(name) = name.or(texts.first().map(String::as_str)).map(str::to_owned) else {
        return Err(Response::error(400, "src: expected the stream's source, name: its name"));
    };
    let specs = sources(program, &texts)?;
    let new = match texts.as_slice() {
        [] => New::Null,
        [one] => New::text(one),
        many => New::list(many),
    };
    let kept = change(program, vec![edit(&["streams", &name], Some(new))]);
    Ok(when(program, kept, Box::new(move |program| set(program, &name, specs))))
}

fn set(program: &Rc<Program>, name: &str, specs: Vec<SourceSpec>) -> Response {
    match program.hall.set(name, specs) {
        Ok(_) => Response::text("OK"),
        Err(e) => Response::error(400, &e.to_string()),
    }
}

fn patch(program: &Rc<Program>, request: &Request) -> Response {
    let Some(src) = request.query("src").filter(|s| !s.is_empty()) else {
        return Response::error(400, "src: expected a source");
    };
    let name = request.query("name").filter(|n| !n.is_empty()).unwrap_or(src);
    // a stream's own name, or our own address of it, makes another name for that stream
    let own = src.strip_prefix("rtsp://").and_then(|rest| rest.split_once('/')).map_or(src, |(_, path)| path);
    if let Some(stream) = program.hall.get(own)
        && stream.name() != name
    {
        let mut aliases = stream.aliases();
        if aliases.len() >= ALIASES {
            return Response::error(400, "this stream has too many names already");
        }
        aliases.push(name.to_owned());
        stream.set_aliases(aliases);
        return Response::text("OK");
    }
    let mut text = src.to_owned();
    if let Some(configured) = program.loaded().config.stream(name)
        && let Some(template) = configured.sources.iter().find(|s| s.url.contains("{input}"))
    {
        text = template.url.replacen("{input}", src, 1);
    }
    match sources(program, &[text]) {
        Ok(specs) => set(program, name, specs),
        Err(refusal) => refusal,
    }
}

fn delete(program: &Rc<Program>, request: &Request) -> Result<Local<Response>, Response> {
    let name = name_in(request, "src")?.to_owned();
    let mut edits = Vec::new();
    {
        let config = &program.loaded().config;
        // what would keep it running goes first, or the next start had a reason to complain
        if config.preload.iter().any(|(n, _)| *n == name) {
            edits.push(edit(&["preload", &name], None));
        }
        if config.stream(&name).is_some() {
            edits.push(edit(&["streams", &name], None));
        } else if program.hall.get(&name).is_none() {
            return Err(not_found(&name));
        }
    }
    let kept = if edits.is_empty() { Box::pin(std::future::ready(Ok(()))) } else { change(program, edits) };
    Ok(when(
        program,
        kept,
        Box::new(move |program| {
            program.preload(&name, None);
            program.hall.remove(&name);
            Response::text("OK")
        }),
    ))
}

/// `dst` and `src`: plays a source to the speaker of a stream; an empty `src` stops it.
fn play(program: &Rc<Program>, request: &Request) -> Result<Local<Response>, Response> {
    let stream = named(program, request, "dst", Role::Talk)?;
    let src = request.query("src").unwrap_or("");
    let spec = match src {
        "" => None,
        // whoever holds the control socket may open files
        _ if request.peer.remote.is_none() && request.user.name == "local" => {
            Some(SourceSpec::parse(src).map_err(|e| Response::error(400, &e.to_string()))?)
        }
        _ => sources(program, &[src.to_owned()])?.pop(),
    };
    let program = program.clone();
    Ok(Box::pin(async move {
        match stream.play(&program.hall, spec).await {
            Ok(()) => Response::text("OK"),
            Err(e) => Response::error(500, &mask(&program, &e.to_string())),
        }
    }))
}

/// The picture as it is now.
fn frame(program: &Rc<Program>, request: &Request) -> Result<Local<Response>, Response> {
    let stream = named(program, request, "src", Role::View)?;
    let program = program.clone();
    Ok(Box::pin(async move {
        let picture = futures_lite::future::or(async { Some(stream.jpeg(None).await) }, async {
            crate::net::reactor::Timer::after(FRAME_TIME).await;
            None
        });
        match picture.await {
            Some(Ok(jpeg)) => Response::bytes("image/jpeg", jpeg).header("Cache-Control", "no-store"),
            Some(Err(e)) => Response::error(404, &mask(&program, &e.to_string())),
            None => Response::error(504, "the source gave no picture in time"),
        }
    }))
}

fn get_preload(program: &Rc<Program>, request: &Request) -> Response {
    let mut w = Writer::new();
    w.begin_object();
    for (name, query) in program.preloaded() {
        if request.user.may(Role::View, Some(&name)) {
            w.key(&name).begin_object();
            w.key("query").string(&query);
            w.end_object();
        }
    }
    w.end_object();
    Response::json(w.finish())
}

fn put_preload(program: &Rc<Program>, request: &Request) -> Result<Local<Response>, Response> {
    let name = name_in(request, "src")?;
    if program.hall.get(name).is_none() {
        return Err(not_found(name));
    }
    let query = query_of(request, &["video", "audio", "microphone"]);
    let value = if query.is_empty() { New::Null } else { New::text(&query) };
    Ok(kept_preload(program, name, Some(value), Some(query)))
}

fn delete_preload(program: &Rc<Program>, request: &Request) -> Result<Local<Response>, Response> {
    let name = name_in(request, "src")?;
    if !program.preloaded().iter().any(|(n, _)| n == name) {
        return Err(not_found(name));
    }
    Ok(kept_preload(program, name, None, None))
}

/// Writes what keeps a stream running, and does it.
fn kept_preload(
    program: &Rc<Program>,
    name: &str,
    value: Option<New>,
    query: Option<String>,
) -> Local<Response> {
    let kept = change(program, vec![edit(&["preload", name], value)]);
    let name = name.to_owned();
    when(
        program,
        kept,
        Box::new(move |program| {
            program.preload(&name, query.as_deref());
            Response::text("OK")
        }),
    )
}

fn kick(program: &Rc<Program>, request: &Request) -> Response {
    let id = request.query("id").and_then(|id| id.parse::<u32>().ok());
    let Some(id) = id else {
        return Response::error(400, "id: expected a viewer's number, as /api/streams lists it");
    };
    let watched = program.hall.streams().into_iter().find(|s| s.viewers().iter().any(|v| v.id == id));
    match watched {
        Some(stream) => match request.refuse(Role::Control, stream.name()) {
            Some(refusal) => refusal,
            None => {
                stream.kick(id);
                Response::text("OK")
            }
        },
        None => Response::error(404, "there is no viewer with this number"),
    }
}
