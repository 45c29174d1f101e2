"""What is kept is what was sent: bytes of mails, sound and length of calls, and durable before it is promised."""

from __future__ import annotations

import io
import re
from collections.abc import AsyncIterator
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pytest

from agent.demo.scene import stage_calls
from agent.demo.siprec_client import PlayedCall, play_call
from agent.demo.speaker import FRAME_BYTES
from agent.model import SealedBlob
from agent.store import evidence, interactions
from agent.store.recordings import Recording
from tests.acceptance.service import ServiceUnderTest
from tests.peers import require

pytestmark = pytest.mark.timeout(300)
Samples = npt.NDArray[np.float64]


@pytest.fixture(scope="module")
async def service(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ServiceUnderTest]:
    one = ServiceUnderTest(tmp_path_factory.mktemp("service"))
    await one.start(speech=False)
    yield one
    await one.stop()


NASTY_MAIL = (
    b"From: <a@example.org>\r\nTo: b@example.com\r\nSubject: =?koi8-r?B?8NLJ18XU?=\r\nX-Long: "
    + b"x" * 5000
    + b"\r\n\r\n"
    b"8 bit \xcf\xd2\xc9\xd7\xc5\xd4 and a tab\t and trailing space \r\n.\r\n..two dots\r\n\r\n" + b"y" * 3000 + b"\r\n"
)


async def test_a_stored_mail_is_the_sent_one_byte_for_byte(service: ServiceUnderTest) -> None:
    await service.send_mail(NASTY_MAIL)
    blobs = await _mail_blobs(service)
    assert [service.archive().read(blob) for blob in blobs] == [NASTY_MAIL]


async def _mail_blobs(service: ServiceUnderTest) -> list[SealedBlob]:
    async with service.store() as store, store.begin() as connection:
        found = await evidence.find_evidence(connection, list(range(1, 100)))
    return [one.blob for one in found if one.source == "smtp" and one.blob is not None]


async def test_a_recording_is_as_long_as_the_call_and_both_channels_are_in_step(service: ServiceUnderTest) -> None:
    staged = stage_calls()[0].played
    call = PlayedCall(
        caller="74950000021",
        callee="121",
        caller_sound=staged.caller_sound,
        callee_sound=staged.callee_sound,
        ring_s=0.5,
    )
    played = await play_call(service.addresses["siprec"], call)
    assert played.answered is not None
    recording = await _recording_of(service, "74950000021")
    seconds = (played.ended - played.answered).total_seconds()
    tolerance_ms = 50 * max(1.0, seconds / 60) + 1000 * played.waited_s
    assert abs(recording.duration_ms - seconds * 1000) <= tolerance_ms

    heard = _decode(service.archive().open(recording.blob))
    assert heard.shape[0] == 2
    delays = [_delay_ms(heard[0], staged.caller_sound), _delay_ms(heard[1], staged.callee_sound)]
    assert abs(delays[0] - delays[1]) <= 20  # one packet
    assert -5 <= min(delays) <= max(delays) <= 250
    frames = len(staged.caller_sound) // FRAME_BYTES
    assert played.packets >= 2 * frames


async def _recording_of(service: ServiceUnderTest, caller: str) -> Recording:
    found: list[Recording] = []

    async def assembled() -> bool:
        for entry in (await service.histories()).off_cards:
            if any(party.value == caller for party in entry.parties):
                found[:] = entry.recordings
        return bool(found)

    await service.until(assembled)
    return found[0]


def _decode(source: io.RawIOBase) -> Samples:
    with av.open(io.BufferedReader(source), "r") as container:
        frames = [frame.to_ndarray() for frame in container.decode(audio=0)]
    channels = frames[0].shape[0]
    if channels == 1:  # packed: left and right in turn
        return np.concatenate([frame.reshape(-1, 2).T for frame in frames], axis=1).astype(np.float64)
    return np.concatenate(frames, axis=1).astype(np.float64)


def _delay_ms(heard: Samples, sent: bytes) -> float:
    """How much later the sound stands in the recording than in what was played, by cross-correlation."""
    decoder = av.CodecContext.create("pcm_alaw", "r")
    decoder.sample_rate, decoder.layout = 8000, "mono"
    (frame,) = decoder.decode(av.Packet(sent))
    reference = frame.to_ndarray().reshape(-1).astype(np.float64)
    size = 1 << (len(heard) + len(reference)).bit_length()
    product = np.fft.irfft(np.fft.rfft(heard, size) * np.conj(np.fft.rfft(reference, size)), size)
    at = int(np.argmax(product))
    return (at if at < size // 2 else at - size) / 8


async def test_the_bytes_of_a_mail_are_synced_before_its_250(tmp_path: Path) -> None:
    strace = require("strace")
    trace = tmp_path / "trace"
    calls = "trace=fsync,fdatasync,link,linkat,sendto,sendmsg,write"
    service = ServiceUnderTest(tmp_path)
    await service.start(
        queues=[], speech=False, prefix=[strace, "-f", "-y", "-s", "64", "--seccomp-bpf", "-e", calls, "-o", str(trace)]
    )
    try:
        before = len(trace.read_text(errors="replace").splitlines())
        await service.send_mail(NASTY_MAIL)
    finally:
        await service.stop()
    lines = trace.read_text(errors="replace").splitlines()[before:]
    promised = _first(lines, r'(?:sendto|write|sendmsg)\(.*"250 2\.0\.0 Stored')
    blob_synced = _first(lines, r"fsync\(\d+<[^>]*/blobs/incoming/")
    named = _first(lines, r"link(?:at)?\(.*blobs/incoming")
    folder_synced = _first(lines[named:], r"fsync\(\d+<[^>]*/blobs/[0-9a-f]{2}/[0-9a-f]{2}>") + named
    committed = _first(lines[folder_synced:], r"(?:fdatasync|fsync)\(\d+<[^>]*/pg_wal/") + folder_synced
    assert blob_synced < named < folder_synced < committed < promised


def _first(lines: list[str], pattern: str) -> int:
    found = [number for number, line in enumerate(lines) if re.search(pattern, line)]
    assert found, f"nothing like {pattern} in the trace"
    return found[0]


async def test_the_whole_chain_verifies_and_an_altered_byte_is_found(service: ServiceUnderTest) -> None:
    from agent.archive.chain import verify

    async with service.store() as store:

        async def all_chained() -> bool:
            return (await verify(store, service.archive())).links >= 2

        await service.until(all_chained)
        assert (await verify(store, service.archive())).first_bad is None
        async with store.begin() as connection:
            assert await interactions.list_ids(connection)
        (blob,) = await _mail_blobs(service)
        path = service.folder / "data" / "blobs" / blob.name[:2] / blob.name[2:4] / blob.name
        stored = path.read_bytes()
        path.write_bytes(stored[:100] + bytes([stored[100] ^ 1]) + stored[101:])
        try:
            verdict = await verify(store, service.archive())
            assert verdict.first_bad is not None
            assert "stored bytes were changed" in verdict.problem
        finally:
            path.write_bytes(stored)
