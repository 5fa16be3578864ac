//! A camera of your own in Apple Home, with streamd as a library: an accessory with a bell and a motion
//! sensor whose picture is a file. It keeps its pairings in a file beside it and shows the QR code.
//!
//! `cargo run --example homekit -- picture.jpg`, then type `ring` or `move`.
#![allow(clippy::print_stdout)]

use std::future::ready;
use std::io::BufRead;
use std::rc::Rc;
use streamd::homekit::accessory::{AID, Accessory, Camera, Settings, Value};
use streamd::homekit::camera::SIZES;
use streamd::homekit::database::Shape;
use streamd::homekit::pairing::book::{Book, Identity, VERSION};
use streamd::homekit::payload;
use streamd::homekit::qr::Qr;
use streamd::homekit::server::{Behind, Server, Snapshots, Store, random};
use streamd::homekit::session::Snapshot;
use streamd::net::executor::LocalExecutor;
use streamd::net::mdns::{self, Responder};
use streamd::net::socket::Listener;
use streamd::net::worker::Worker;
use streamd::stream::Local;

const BOOK: &str = "example-homekit.book";

/// Keeps the pairings. A camera would write beside the file, sync and rename.
struct InFile;

impl Store for InFile {
    fn save(&self, book: Vec<u8>) -> Local<bool> {
        Box::pin(ready(std::fs::write(BOOK, book).is_ok()))
    }
}

/// Shows always the same.
struct Picture(String);

impl Snapshots for Picture {
    fn take(&self, wanted: Snapshot) -> Local<Option<Rc<[u8]>>> {
        println!("a picture of {}x{} is asked for", wanted.width, wanted.height);
        Box::pin(ready(std::fs::read(&self.0).ok().map(Rc::from)))
    }
}

/// Does what the Home app says. Live view is left out: who asks for it is told that there is none.
struct Told;

impl Camera for Told {
    fn identify(&mut self) {
        println!("this one!");
    }

    fn changed(&mut self, iid: u16, kind: u16, value: &Value) {
        println!("{iid} (type {kind:X}) is {value:?} now");
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let picture = std::env::args().nth(1).unwrap_or_else(|| "picture.jpg".into());
    let executor = Rc::new(LocalExecutor::new());
    let slow = Rc::new(Worker::new("slow", 16, 256 * 1024));
    let stored = std::fs::read(BOOK).ok().and_then(|bytes| Book::decode(VERSION, &bytes).ok());
    let book = stored.unwrap_or_else(|| Book::new(Identity::random(&mut random)));
    let settings = Settings {
        name: "Example".into(),
        manufacturer: "streamd".into(),
        model: "Example".into(),
        serial: "0001".into(),
        firmware: "1.0.0".into(),
        hardware: None,
        category: 18,
        shape: Shape { doorbell: true, speaker: false, ..Shape::LIVE_ONLY },
        sizes: SIZES.to_vec(),
        prebuffer_ms: 4000,
        third_party: true,
    };
    if !book.is_paired() {
        let code = book.identity.code;
        let uri = payload::uri(code, &book.identity.setup_id, settings.category);
        println!("{}setup code {code}", Qr::new(&uri).map(|qr| qr.text()).unwrap_or_default());
    }
    let behind =
        Behind { camera: Box::new(Told), store: Rc::new(InFile), snapshots: Rc::new(Picture(picture)) };
    let server = Server::new(executor.clone(), slow, Accessory::new(settings, book), behind);
    let listener = Listener::tcp(":0")?;
    let port = listener.local_address().map_or(0, |a| a.port());
    let _listening = server.serve(listener);
    let responder = Responder::new(&executor, mdns::Settings::default());
    server.announce(&responder, port)?;
    println!("port {port}");
    let (send, receive) = async_channel::bounded(4);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            drop(send.send_blocking(line));
        }
    });
    executor.block_on(async {
        let mut moves = false;
        while let Ok(line) = receive.recv().await {
            match line.trim() {
                "ring" => server.press(AID),
                "move" => {
                    moves = !moves;
                    server.motion(AID, moves);
                }
                other => println!("{other:?} is neither ring nor move"),
            }
        }
    });
    Ok(())
}
