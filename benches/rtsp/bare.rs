//! The least that a server can do: it reads what is published and hands each frame on with one
//! `writev` for each TCP reader, one `sendmmsg` for all UDP readers. Sound waits up to 20 ms for the
//! next picture, as streamd's does, so that the calls are the same. Nothing is checked or kept.

use super::link::{Epoll, Inbox, Item, header};
use super::stream::sdp;
use nix::libc;
use std::io::{self, IoSlice, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

const HOLD: Duration = Duration::from_millis(20);
/// Messages of one call; the system's bound.
const BATCH: usize = 1024;
const HEAD: usize = 16;

struct Peer {
    stream: TcpStream,
    inbox: Inbox,
    playing: bool,
    udp: [Option<u16>; 2],
    /// What a full socket did not take.
    rest: Vec<u8>,
}

pub fn serve() -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("{}", listener.local_addr()?.port());
    let udp = UdpSocket::bind("127.0.0.1:0")?;
    let epoll = Epoll::new()?;
    epoll.add(&listener, usize::MAX)?;
    let mut peers: Vec<Option<Peer>> = Vec::new();
    let mut ready = Vec::new();
    // packets of the frame that is coming in, interleaved, and where each begins
    let (mut frame, mut starts): (Vec<u8>, Vec<usize>) = (Vec::new(), Vec::new());
    let mut hold: Option<Instant> = None;
    loop {
        let wait = hold
            .map_or(-1, |t| t.saturating_duration_since(Instant::now()).as_micros().div_ceil(1000) as i32);
        epoll.wait(wait, &mut ready);
        if hold.is_some_and(|t| Instant::now() >= t) {
            by_tcp(&mut peers, &frame, &starts)?;
            frame.clear();
            starts.clear();
            hold = None;
        }
        for &number in &ready {
            if number == usize::MAX {
                let (stream, _) = listener.accept()?;
                stream.set_nodelay(true)?;
                stream.set_nonblocking(true)?;
                epoll.add(&stream, peers.len())?;
                let (inbox, udp) = (Inbox::default(), [None; 2]);
                peers.push(Some(Peer { stream, inbox, playing: false, udp, rest: Vec::new() }));
                continue;
            }
            let Some(mut peer) = peers.get_mut(number).and_then(Option::take) else { continue };
            if peer.inbox.read(&peer.stream).is_err() {
                continue;
            }
            let mut alone = Vec::new();
            while let Some(item) = peer.inbox.next() {
                match item {
                    Item::Text(request) => peer.answer(&request, udp.local_addr()?.port())?,
                    Item::Packet(channel, from, to) if channel & 1 == 0 => {
                        starts.push(frame.len());
                        frame.extend_from_slice(peer.inbox.slice(from - 4, to));
                        let picture = channel == 0;
                        if !picture {
                            alone.extend_from_slice(peer.inbox.slice(from, to));
                            by_udp(&peers, &udp, 1, &[&alone])?;
                            alone.clear();
                            hold = hold.or(Some(Instant::now() + HOLD));
                        } else if peer.inbox.slice(from, to)[1] & 0x80 != 0 {
                            by_tcp(&mut peers, &frame, &starts)?;
                            let all = packets(&frame, &starts).filter(|p| p[1] == 0).map(|p| &p[4..]);
                            by_udp(&peers, &udp, 0, &all.collect::<Vec<_>>())?;
                            frame.clear();
                            starts.clear();
                            hold = None;
                        }
                    }
                    Item::Packet(..) => {}
                }
            }
            peers[number] = Some(peer);
        }
    }
}

fn packets<'a>(frame: &'a [u8], starts: &'a [usize]) -> impl Iterator<Item = &'a [u8]> {
    let ends = starts.iter().skip(1).copied().chain([frame.len()]);
    starts.iter().zip(ends).map(|(&from, to)| &frame[from..to])
}

fn by_tcp(peers: &mut [Option<Peer>], frame: &[u8], starts: &[usize]) -> io::Result<()> {
    let mut slices = Vec::with_capacity(2 * starts.len());
    for packet in packets(frame, starts) {
        let (head, body) = packet.split_at(HEAD);
        slices.extend([IoSlice::new(head), IoSlice::new(body)]);
    }
    for peer in peers.iter_mut().flatten().filter(|p| p.playing && p.udp == [None; 2]) {
        let mut to = &peer.stream;
        if !peer.rest.is_empty() {
            let sent = to.write(&peer.rest).unwrap_or(0);
            peer.rest.drain(..sent);
        }
        let sent = if peer.rest.is_empty() { to.write_vectored(&slices).unwrap_or(0) } else { 0 };
        if sent < frame.len() {
            peer.rest.extend_from_slice(&frame[sent..]);
        }
    }
    Ok(())
}

fn by_udp(peers: &[Option<Peer>], udp: &UdpSocket, track: usize, packets: &[&[u8]]) -> io::Result<()> {
    let ports = peers.iter().flatten().filter(|p| p.playing).filter_map(|p| p.udp[track]);
    let mut to: Vec<libc::sockaddr_in> = ports
        .map(|port| libc::sockaddr_in {
            sin_family: libc::AF_INET as u16,
            sin_port: port.to_be(),
            sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes([127, 0, 0, 1]) },
            sin_zero: [0; 8],
        })
        .collect();
    let mut parts: Vec<[libc::iovec; 2]> = packets
        .iter()
        .map(|p| {
            let (head, body) = p.split_at(12);
            let part = |b: &[u8]| libc::iovec { iov_base: b.as_ptr() as *mut _, iov_len: b.len() };
            [part(head), part(body)]
        })
        .collect();
    let mut messages = Vec::with_capacity(to.len() * parts.len());
    for to in &mut to {
        for part in &mut parts {
            // SAFETY: zero is a valid value of every field.
            let mut message: libc::mmsghdr = unsafe { std::mem::zeroed() };
            message.msg_hdr.msg_name = std::ptr::from_mut(to).cast();
            message.msg_hdr.msg_namelen = size_of::<libc::sockaddr_in>() as u32;
            message.msg_hdr.msg_iov = part.as_mut_ptr();
            message.msg_hdr.msg_iovlen = 2;
            messages.push(message);
        }
    }
    let mut at = 0;
    while at < messages.len() {
        let batch = &mut messages[at..];
        let count = batch.len().min(BATCH) as u32;
        // SAFETY: `count` messages are there; all they point to outlives the call.
        let sent = unsafe { libc::sendmmsg(udp.as_raw_fd(), batch.as_mut_ptr(), count, libc::MSG_DONTWAIT) };
        at += sent.max(1) as usize;
    }
    Ok(())
}

impl Peer {
    fn answer(&mut self, request: &str, port: u16) -> io::Result<()> {
        let mut line = request.split(' ');
        let (method, url) = (line.next().unwrap_or(""), line.next().unwrap_or(""));
        let mut more = String::from("Session: 1;timeout=600\r\n");
        let mut body = String::new();
        match method {
            "DESCRIBE" => {
                body = sdp();
                more = format!("Content-Base: {url}/\r\nContent-Type: application/sdp\r\n");
            }
            "SETUP" => {
                let asked = header(request, "Transport").unwrap_or("");
                let ports =
                    asked.split_once("client_port=").and_then(|(_, p)| p.split('-').next()?.parse().ok());
                if let Some(own) = self.udp.get_mut(usize::from(url.ends_with('1'))) {
                    *own = ports;
                }
                let server =
                    if ports.is_some() { format!(";server_port={port}-{}", port + 1) } else { String::new() };
                more += &format!("Transport: {asked}{server}\r\n");
            }
            "PLAY" => self.playing = true,
            _ => {}
        }
        let seq = header(request, "CSeq").unwrap_or("0");
        let answer =
            format!("RTSP/1.0 200 OK\r\nCSeq: {seq}\r\n{more}Content-Length: {}\r\n\r\n{body}", body.len());
        self.stream.write_all(answer.as_bytes())
    }
}
