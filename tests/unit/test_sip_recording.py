"""The signalling with the real capture process behind it: what was played stands in the packet logs."""

from __future__ import annotations

from pathlib import Path

from agent.demo.siprec_client import PlayedCall, play_call
from agent.settings import SiprecSettings
from agent.sip.courier import Courier
from agent.sip.recorder import CaptureEvent, CaptureEventKind, Recorder
from agent.sip.siprec import RecordingServer
from agent.sound.packetlog import read_packets
from agent.sound.rtp import parse_packet
from tests.unit.sip_peers import MemoryIntake, until

CALLER = bytes(range(256)) * 20
CALLEE = bytes(reversed(range(256))) * 20


async def test_a_played_call_stands_in_the_packet_logs(tmp_path: Path) -> None:
    captures = tmp_path / "captures"
    events: list[CaptureEvent] = []
    recorder = Recorder(captures, address="127.0.0.1", ports=(40000, 49999), on_event=events.append)
    intake = MemoryIntake()
    courier = Courier(intake, captures)
    server = RecordingServer(SiprecSettings(listen="127.0.0.1", port=0), recorder, courier, tmp_path)
    await recorder.start()
    try:
        await server.start()
        call = PlayedCall(caller="+74950000001", callee="101", caller_sound=CALLER, callee_sound=CALLEE)
        await play_call(server.address, call)
        await until(lambda: any(verb == "close" for verb, _ in intake.events))
    finally:
        await server.stop()
        await courier.stop()
        await recorder.stop()
    stored = intake.calls[call.session_id]
    folder = captures / str(stored.capture_id)
    for index, sound in enumerate((CALLER, CALLEE)):
        packets = [parse_packet(packet.data) for packet in read_packets(folder / f"{index}.rtpdump")]
        assert b"".join(packet.payload for packet in packets if packet) == sound
    heard = {event.stream for event in events if event.kind is CaptureEventKind.FIRST_PACKET}
    assert heard == {0, 1}
