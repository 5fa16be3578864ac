#!/usr/bin/env python3
"""One picture after the other through a server, for whoever counts what that takes.

  steps.py ADDRESS:PORT STREAM READERS PICTURES BYTES

Publishes H.264 by RTSP over TCP and reads it with so many viewers; each picture leaves when everybody
has the one before, so that every run asks the same of the server. Reports and keep-alives are rare."""
import socket
import struct
import sys

MTU = 1400


class Peer:
    def __init__(self, address, url):
        self.socket = socket.create_connection(address, timeout=60)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.url, self.cseq, self.session, self.bytes = url, 0, "", b""

    def more(self):
        came = self.socket.recv(1 << 20)
        if not came:
            sys.exit("the server hung up")
        self.bytes += came

    def frames(self):
        """Takes the whole interleaved frames that are there."""
        while len(self.bytes) >= 4 and self.bytes[:1] == b"$":
            length = struct.unpack(">H", self.bytes[2:4])[0]
            if len(self.bytes) < 4 + length:
                return
            channel, data, self.bytes = self.bytes[1], self.bytes[4:4 + length], self.bytes[4 + length:]
            yield channel, data

    def ask(self, method, path="", fields="", body=""):
        self.cseq += 1
        if body:
            fields += f"Content-Type: application/sdp\r\nContent-Length: {len(body)}\r\n"
        text = f"{method} {self.url}{path} RTSP/1.0\r\nCSeq: {self.cseq}\r\n{self.session}{fields}\r\n{body}"
        self.socket.sendall(text.encode())
        while True:
            for _ in self.frames():
                pass
            head, end, rest = self.bytes.partition(b"\r\n\r\n")
            if end and not self.bytes.startswith(b"$"):
                lines = head.decode().split("\r\n")
                fields = {k.lower(): v for k, _, v in (line.partition(": ") for line in lines[1:])}
                length = int(fields.get("content-length", 0))
                if len(rest) >= length:
                    self.bytes = rest[length:]
                    break
            self.more()
        if " 200 " not in lines[0] + " ":
            return None
        if "session" in fields:
            self.session = f"Session: {fields['session'].partition(';')[0]}\r\n"
        return rest[:length].decode()

    def picture(self):
        """Waits for the end of a picture."""
        while True:
            for channel, data in self.frames():
                if channel == 0 and data[1] & 0x80:
                    return
            self.more()


def packets(number, size, seq):
    """The packets of one picture, as one write."""
    key = number % 50 == 0
    nal = bytes([0x65 if key else 0x41, 0x88]) + bytes(i * 7 % 250 + 1 for i in range(size - 2))
    out, at, time = b"", 1, (number * 3600) & 0xFFFFFFFF
    while at < len(nal):
        part = nal[at:at + MTU]
        last = at + len(part) == len(nal)
        unit = bytes([nal[0] & 0x60 | 28, (nal[0] & 31) | (0x80 if at == 1 else 0) | (0x40 if last else 0)])
        head = struct.pack(">BBHII", 0x80, 96 | (0x80 if last else 0), seq & 0xFFFF, time, 7)
        out += b"$\0" + struct.pack(">H", len(head) + 2 + len(part)) + head + unit + part
        at, seq = at + len(part), seq + 1
    return out, seq


def main():
    where, stream, readers, pictures, size = sys.argv[1:]
    host, port = where.rsplit(":", 1)
    address, url = (host, int(port)), f"rtsp://{where}/{stream}"
    source = Peer(address, url)
    sets = "Z0LAHtkDxWhAAAADAEAAAAwDxYuS,aMuMsg=="
    sdp = ("v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n"
           f"a=fmtp:96 packetization-mode=1;sprop-parameter-sets={sets}\r\na=control:trackID=0\r\n")
    for step in (("ANNOUNCE", "", "", sdp),
                 ("SETUP", "/trackID=0", "Transport: RTP/AVP/TCP;unicast;interleaved=0-1;mode=record\r\n"),
                 ("RECORD",)):
        if source.ask(*step) is None:
            sys.exit(f"{step[0]} was refused")
    out, seq = packets(0, size=int(size), seq=0)
    source.socket.sendall(out)
    viewers = []
    for _ in range(int(readers)):
        viewer = Peer(address, url)
        while viewer.ask("DESCRIBE") is None:
            pass
        viewer.ask("SETUP", "/trackID=0", "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n")
        viewer.ask("PLAY")
        viewer.picture()
        viewers.append(viewer)
    for number in range(1, int(pictures) + 1):
        out, seq = packets(number, int(size), seq)
        source.socket.sendall(out)
        for viewer in viewers:
            viewer.picture()
    # an answer behind the last says that it was taken
    source.ask("OPTIONS")
    for peer in (*viewers, source):
        peer.ask("TEARDOWN")


main()
