#!/usr/bin/python3
"""gst-rtsp-server with one shared stream, fed by RTP on two ports: gst.py VIDEO_PORT AUDIO_PORT SPROP

Prints its port and serves until it is ended. The media's loop is GStreamer's own; Python only starts it."""
import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

Gst.init(None)
video, audio, sprop = sys.argv[1:]
factory = GstRtspServer.RTSPMediaFactory()
factory.set_shared(True)
factory.set_launch(
    f'( udpsrc port={video} address=127.0.0.1 buffer-size=1000000 caps="application/x-rtp,media=video,clock-rate=90000,encoding-name=H264,'
    f'payload=96,packetization-mode=(string)1,sprop-parameter-sets=(string)\\"{sprop}\\"" ! rtph264depay ! rtph264pay name=pay0 pt=96 '
    f'udpsrc port={audio} address=127.0.0.1 caps="application/x-rtp,media=audio,clock-rate=8000,encoding-name=PCMA,payload=8" '
    '! rtppcmadepay ! rtppcmapay name=pay1 pt=8 )')
server = GstRtspServer.RTSPServer()
server.set_address("127.0.0.1")
server.set_service("0")
server.get_mount_points().add_factory("/cam", factory)
server.attach(None)
print(server.get_bound_port(), flush=True)
GLib.MainLoop().run()
