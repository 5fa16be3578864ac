//! `/api/streams`, `/api/preload`, `/api/viewers`: what there is, who watches, and changing it.

use super::Routes;
use super::config::{change, edit};
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
use crate::stream::{Join, Outlet, Peer, SourceSpec, Speaker, Stream, Track, Viewer};
use std::rc::Rc;

/// Names that a stream may be given beside its own.
const ALIASES: usize = 16;
/// How long a picture may take.
const FRAME_TIME: std::time::Duration = std::time::Duration::from_secs(10);

pub fn routes(routes: &Routes) {
    let view = Access::Role(Role::View);
    let admin = Access::Role(Role::Admin);
    routes.on(Method::Get, "/api/streams", view, get);
    routes.on(Method::Put, "/api/streams", admin, put);
    routes.on(Method::Patch, "/api/streams", admin, patch);
    routes.on(Method::Post, "/api/streams", Access::Role(Role::Talk), play);
    routes.on(Method::Delete, "/api/streams", admin, delete);
    routes.on(Method::Get, "/api/preload", view, get_preload);
    routes.on(Method::Put, "/api/preload", admin, put_preload);
    routes.on(Method::Delete, "/api/preload", admin, delete_preload);
    routes.on(Method::Get, "/api/frame.jpeg", view, frame);
    routes.on(Method::Delete, "/api/viewers", Access::Role(Role::Control), kick);
}

fn not_found(name: &str) -> Response {
    Response::error(404, &format!("stream not found: {}", Quoted(name)))
}

fn mask(program: &Program, text: &str) -> String {
    program.loaded().secrets.mask(text).into_owned()
}

async fn get(program: Rc<Program>, request: Request) -> Response {
    let mut w = Writer::new();
    if let Some(name) = request.query("src") {
        if let Some(refusal) = request.refuse(Role::View, name) {
            return refusal;
        }
        let Some(stream) = program.hall.get(name) else { return not_found(name) };
        let query: String = ["video", "audio"]
            .iter()
            .flat_map(|key| request.head.query.all(key).map(move |value| format!("{key}={value}&")))
            .collect();
        if !query.is_empty() {
            // asked what it would get: the source has to be dialled to know
            let peer = Peer { format: "probe", protocol: "http", ..Peer::default() };
            match stream.attach(&wishes_of(&query), Join::Live, peer).await {
                // it stays until all is told, or its source would have nothing to tell any more
                Ok(reader) => {
                    stream_json(&mut w, &stream, &|text| mask(&program, text));
                    drop(reader);
                    return Response::json(w.finish());
                }
                Err(e) => return Response::error(500, &mask(&program, &e.to_string())),
            }
        }
        stream_json(&mut w, &stream, &|text| mask(&program, text));
        return Response::json(w.finish());
    }
    w.begin_object();
    for stream in visible(&program, &request.user) {
        w.key(stream.name());
        stream_json(&mut w, &stream, &|text| mask(&program, text));
    }
    w.end_object();
    Response::json(w.finish())
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

async fn put(program: Rc<Program>, request: Request) -> Response {
    let texts: Vec<String> = request.head.query.all("src").map(str::to_owned).collect();
    let name = match (request.query("name"), texts.first()) {
        (Some(name), _) if !name.is_empty() => name.to_owned(),
        (_, Some(first)) => first.clone(),
        _ => return Response::error(400, "src: expected the stream's source, name: its name"),
    };
    let specs = match sources(&program, &texts) {
        Ok(specs) => specs,
        Err(refusal) => return refusal,
    };
    let new = match texts.as_slice() {
        [] => New::Null,
        [one] => New::text(one),
        many => New::list(many),
    };
    let kept = change(&program, vec![edit(&["streams", &name], Some(new))]).await;
    if let Err(refusal) = kept {
        return refusal;
    }
    match program.hall.set(&name, specs) {
        Ok(_) => Response::text("OK"),
        Err(e) => Response::error(400, &e.to_string()),
    }
}

async fn patch(program: Rc<Program>, request: Request) -> Response {
    let Some(src) = request.query("src").filter(|s| !s.is_empty()) else {
        return Response::error(400, "src: expected a source");
    };
    let name = request.query("name").filter(|n| !n.is_empty()).unwrap_or(src).to_owned();
    // a stream's own name, or our own address of it, makes another name for that stream
    let own = src.strip_prefix("rtsp://").and_then(|rest| rest.split_once('/')).map_or(src, |(_, path)| path);
    if let Some(stream) = program.hall.get(own)
        && stream.name() != name
    {
        let mut aliases = stream.aliases();
        if aliases.len() >= ALIASES {
            return Response::error(400, "this stream has too many names already");
        }
        aliases.push(name);
        stream.set_aliases(aliases);
        return Response::text("OK");
    }
    let configured = program.loaded().config.stream(&name).map(|s| s.sources.clone()).unwrap_or_default();
    let template = configured.iter().find(|s| s.url.contains("{input}")).map(|s| s.url.clone());
    let text = template.map_or_else(|| src.to_owned(), |t| t.replacen("{input}", src, 1));
    let specs = match sources(&program, std::slice::from_ref(&text)) {
        Ok(specs) => specs,
        Err(refusal) => return refusal,
    };
    match program.hall.set(&name, specs) {
        Ok(_) => Response::text("OK"),
        Err(e) => Response::error(400, &e.to_string()),
    }
}

async fn delete(program: Rc<Program>, request: Request) -> Response {
    let Some(name) = request.query("src") else {
        return Response::error(400, "src: expected the stream's name");
    };
    let known = program.hall.get(name).is_some();
    let configured = program.loaded().config.stream(name).is_some();
    if !known && !configured {
        return not_found(name);
    }
    let preloaded = program.loaded().config.preload.iter().any(|(n, _)| n == name);
    let mut edits = Vec::new();
    // what would keep it running goes first, or the next start had a reason to complain
    if preloaded {
        edits.push(edit(&["preload", name], None));
    }
    if configured {
        edits.push(edit(&["streams", name], None));
    }
    if !edits.is_empty()
        && let Err(refusal) = change(&program, edits).await
    {
        return refusal;
    }
    program.preload(name, None);
    program.hall.remove(name);
    Response::text("OK")
}

/// `dst` and `src`: plays a source to the speaker of a stream; an empty `src` stops it.
async fn play(program: Rc<Program>, request: Request) -> Response {
    let Some(name) = request.query("dst") else {
        return Response::error(400, "dst: expected the stream's name");
    };
    if let Some(refusal) = request.refuse(Role::Talk, name) {
        return refusal;
    }
    let Some(stream) = program.hall.get(name) else { return not_found(name) };
    let src = request.query("src").unwrap_or("");
    let spec = match src {
        "" => None,
        // whoever holds the control socket may open files
        _ if request.peer.remote.is_none() && request.user.name == "local" => match SourceSpec::parse(src) {
            Ok(spec) => Some(spec),
            Err(e) => return Response::error(400, &e.to_string()),
        },
        _ => match sources(&program, &[src.to_owned()]) {
            Ok(mut specs) => specs.pop(),
            Err(refusal) => return refusal,
        },
    };
    match stream.play(&program.hall, spec).await {
        Ok(()) => Response::text("OK"),
        Err(e) => Response::error(500, &mask(&program, &e.to_string())),
    }
}

/// The picture as it is now.
async fn frame(program: Rc<Program>, request: Request) -> Response {
    let Some(name) = request.query("src") else {
        return Response::error(400, "src: expected the stream's name");
    };
    if let Some(refusal) = request.refuse(Role::View, name) {
        return refusal;
    }
    let Some(stream) = program.hall.get(name) else { return not_found(name) };
    let picture = futures_lite::future::or(async { Some(stream.jpeg(None).await) }, async {
        crate::net::reactor::Timer::after(FRAME_TIME).await;
        None
    });
    match picture.await {
        Some(Ok(jpeg)) => Response::bytes("image/jpeg", jpeg).header("Cache-Control", "no-store"),
        Some(Err(e)) => Response::error(404, &mask(&program, &e.to_string())),
        None => Response::error(504, "the source gave no picture in time"),
    }
}

async fn get_preload(program: Rc<Program>, request: Request) -> Response {
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

async fn put_preload(program: Rc<Program>, request: Request) -> Response {
    let Some(name) = request.query("src") else {
        return Response::error(400, "src: expected the stream's name");
    };
    if program.hall.get(name).is_none() {
        return not_found(name);
    }
    let mut query = String::new();
    for key in ["video", "audio", "microphone"] {
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
    let value = if query.is_empty() { New::Null } else { New::text(&query) };
    if let Err(refusal) = change(&program, vec![edit(&["preload", name], Some(value))]).await {
        return refusal;
    }
    program.preload(name, Some(&query));
    Response::text("OK")
}

async fn delete_preload(program: Rc<Program>, request: Request) -> Response {
    let Some(name) = request.query("src") else {
        return Response::error(400, "src: expected the stream's name");
    };
    if !program.preloaded().iter().any(|(n, _)| n == name) {
        return not_found(name);
    }
    if let Err(refusal) = change(&program, vec![edit(&["preload", name], None)]).await {
        return refusal;
    }
    program.preload(name, None);
    Response::text("OK")
}

async fn kick(program: Rc<Program>, request: Request) -> Response {
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
