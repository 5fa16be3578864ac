//! A viewer of a few lines, for tests that look at who is watched and not at what is said.

use super::{PATIENCE, wait_for};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpStream, UdpSocket};

/// A viewer of one picture.
pub struct Viewer {
    pub reader: BufReader<TcpStream>,
    url: String,
    session: String,
    cseq: u32,
}

impl Viewer {
    /// `url` as in `rtsp://127.0.0.1:554/cam`.
    pub fn new(url: &str) -> Viewer {
        let address = url.strip_prefix("rtsp://").unwrap().split('/').next().unwrap();
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Viewer { reader: BufReader::new(stream), url: url.to_owned(), session: String::new(), cseq: 0 }
    }

    /// The status of an answer, and all of it.
    pub fn request(&mut self, method: &str, path: &str, fields: &str) -> (u16, String) {
        self.cseq += 1;
        let head = format!("{method} {}{path} RTSP/1.0\r\nCSeq: {}\r\n", self.url, self.cseq);
        let text = format!("{head}{}{fields}\r\n", self.session);
        self.reader.get_mut().write_all(text.as_bytes()).unwrap();
        while self.reader.fill_buf().unwrap().first() == Some(&b'$') {
            self.packet();
        }
        let mut text = String::new();
        while !text.ends_with("\r\n\r\n") {
            assert!(self.reader.read_line(&mut text).unwrap() > 0, "{method}: the connection ended: {text}");
        }
        let length = text.lines().find_map(|l| l.strip_prefix("Content-Length: "));
        let mut body = vec![0; length.map_or(0, |l| l.parse().unwrap())];
        self.reader.read_exact(&mut body).unwrap();
        text.push_str(&String::from_utf8_lossy(&body));
        if let Some(id) = text.lines().find_map(|l| l.strip_prefix("Session: ")) {
            self.session = format!("Session: {}\r\n", id.split(';').next().unwrap());
        }
        (text.split(' ').nth(1).unwrap().parse().unwrap(), text)
    }

    fn begin(&mut self, transport: &str) -> Result<String, u16> {
        let ok = |(status, text): (u16, String)| if status == 200 { Ok(text) } else { Err(status) };
        ok(self.request("DESCRIBE", "", ""))?;
        let setup = ok(self.request("SETUP", "/trackID=0", &format!("Transport: {transport}\r\n")))?;
        ok(self.request("PLAY", "/", ""))?;
        Ok(setup)
    }

    /// Plays the picture over the connection.
    pub fn play(&mut self) -> Result<String, u16> {
        self.begin("RTP/AVP/TCP;unicast;interleaved=0-1")
    }

    /// Plays the picture by UDP: packets come to the first, reports to the second.
    pub fn play_udp(&mut self) -> [UdpSocket; 2] {
        let pair = wait_for("two neighbouring ports", || {
            let one = UdpSocket::bind("127.0.0.1:0").ok()?;
            let port = one.local_addr().ok()?.port();
            let other = UdpSocket::bind(("127.0.0.1", port.checked_add(1)?)).ok()?;
            (port % 2 == 0).then_some([one, other])
        });
        let port = pair[0].local_addr().unwrap().port();
        for socket in &pair {
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
        }
        self.begin(&format!("RTP/AVP;unicast;client_port={port}-{}", port + 1)).unwrap();
        pair
    }

    /// Plays the picture to a group; gives its address and port.
    pub fn play_group(&mut self) -> (String, u16) {
        let text = self.begin("RTP/AVP;multicast").unwrap();
        let field = |name: &str| {
            let line = text.lines().find(|l| l.starts_with("Transport:")).unwrap();
            line.split(';')
                .find_map(|f| f.strip_prefix(name))
                .unwrap_or_else(|| panic!("no {name} in {line}"))
        };
        (field("destination=").to_owned(), field("port=").split('-').next().unwrap().parse().unwrap())
    }

    /// The next interleaved packet.
    pub fn packet(&mut self) -> (u8, Vec<u8>) {
        let mut head = [0; 4];
        self.reader.read_exact(&mut head).unwrap();
        assert_eq!(head[0], b'$', "not a packet: {head:?}");
        let mut body = vec![0; usize::from(u16::from_be_bytes([head[2], head[3]]))];
        self.reader.read_exact(&mut body).unwrap();
        (head[1], body)
    }

    /// Reads so many pictures, as they come.
    pub fn pictures(&mut self, count: usize) {
        let mut seen = 0;
        while seen < count {
            let (channel, data) = self.packet();
            if channel == 0 {
                seen += usize::from(data[1] & 0x80 != 0);
            }
        }
    }

    /// The next sender's report: its NTP time and its RTP time.
    pub fn report(&mut self) -> (u64, u32) {
        loop {
            let (channel, data) = self.packet();
            if channel == 1 && data[1] == 200 {
                let ntp = u64::from_be_bytes(data[8..16].try_into().unwrap());
                return (ntp, u32::from_be_bytes(data[16..20].try_into().unwrap()));
            }
        }
    }
}

/// Reads packets until so many pictures have ended.
pub fn datagrams(socket: &UdpSocket, pictures: usize) {
    let mut bytes = [0; 2048];
    let mut seen = 0;
    while seen < pictures {
        let n = socket.recv(&mut bytes).expect("packets come");
        assert!(n > 12, "an empty packet");
        seen += usize::from(bytes[1] & 0x80 != 0);
    }
}
