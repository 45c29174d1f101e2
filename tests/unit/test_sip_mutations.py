"""Mutated INVITEs, SDPs, metadata and journals: nothing crashes, nothing stays behind, the next good call records."""

from __future__ import annotations

import ast
import asyncio
import base64
import contextlib
import gc
import os
import random
import re
import shutil
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.demo.siprec_client import PlayedCall, play_call
from agent.intake import Intake
from agent.model import CapturedCall, Disposition
from agent.settings import SiprecSettings
from agent.sip.body import read_body
from agent.sip.calls import captured_call, stream_plans
from agent.sip.framing import Framer, StreamBroken
from agent.sip.journal import CLOSED, FILE_NAME, OPENED, STREAM, UPDATED, Fact, Journal, read_journal
from agent.sip.message import MalformedRequest, read_request, read_response
from agent.sip.metadata import MetadataUnreadable, merge, read_metadata
from agent.sip.sdp import build_answer, read_offer
from tests.unit.sip_mutations import OPENSIPS, metadata_documents, mutated, seeds
from tests.unit.sip_peers import Bench, MemoryIntake, bench, header, sdp, status, until

SAMPLE, SOAK = 150, 7_000  # three kinds of documents: 21,000 in the soak
INVITES = 20_000
HEALTH = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture]
OFFERS = [
    sdp("1 sendonly", "2 sendonly"),
    read_body("multipart/mixed;boundary=OSS-unique-boundary-42", OPENSIPS).sdp or b"",
]
SOUND = b"\xd5\x55" * 800


def examples(count: int) -> Callable[[Callable[..., None]], Callable[..., None]]:
    return settings(max_examples=count, deadline=None, database=None, suppress_health_check=HEALTH)


def every(strategy: st.SearchStrategy[bytes], soak: int = SOAK) -> Callable[..., object]:
    """A test over a sample, and the same over many examples for the soak."""

    def decorate(check: Callable[[bytes], None]) -> Callable[..., None]:
        def test(count: int) -> None:
            examples(count)(given(strategy)(check))()

        test.__doc__ = check.__doc__
        counts = [SAMPLE, pytest.param(soak, marks=[pytest.mark.soak, pytest.mark.timeout(3600)])]
        return pytest.mark.parametrize("count", counts, ids=["sample", "soak"])(test)

    return decorate


def read_all(message: bytes) -> None:
    """All that is ever read of a message."""
    try:
        request = read_request(message)
    except MalformedRequest as error:
        assert str(error)
        return
    if request is None:
        read_response(message)
        return
    at = datetime(2026, 11, 22, tzinfo=UTC)
    facts = [Fact(at=at, kind=kind, data={"raw": _base64(message), "key": "k"}) for kind in (OPENED, UPDATED)]
    call = captured_call(facts, "capture")
    assert call.key == "k" and isinstance(call, CapturedCall)
    stream_plans(facts)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


@every(mutated(seeds()))
def test_invites_are_read_or_refused(message: bytes) -> None:
    read_all(message)


@every(mutated(OFFERS))
def test_offers_are_answered_line_by_line(offer: bytes) -> None:
    media = read_offer(offer)
    answer = build_answer(media, [40000] * len(media), address="192.0.2.1", session_id=1, version=1)
    lines = answer.split(b"\r\n")
    assert sum(line.startswith(b"m=") for line in lines) == len(media)
    assert all(line[1:2] == b"=" for line in lines[:-1]) and lines[-1] == b""
    assert [one.label for one in read_offer(answer)] == [one.label for one in media]


@every(mutated(metadata_documents()))
def test_metadata_is_read_or_refused(document: bytes) -> None:
    try:
        found = read_metadata(document)
    except MetadataUnreadable as error:
        assert str(error)
        return
    again = merge(found, found, at=datetime(2026, 11, 22, tzinfo=UTC))
    assert {one.id for one in again.participants} == {one.id for one in found.participants}


@every(mutated(seeds()), soak=2_000)
def test_streams_are_cut_the_same_wherever_they_are_split(message: bytes) -> None:
    def cut(sizes: int) -> list[bytes] | None:
        framer, found, stream = Framer(), list[bytes](), message + OPENSIPS
        try:
            for at in range(0, len(stream), sizes):
                found += framer.feed(stream[at : at + sizes])
        except StreamBroken:
            return None
        assert framer.pending <= len(stream)
        return found

    for found in (cut(997), cut(1 << 20)):
        for one in found or ():
            read_all(one)


@every(st.lists(st.tuples(st.integers(0, 3), st.binary(max_size=30)), max_size=6).map(repr).map(str.encode), soak=2_000)
def test_damaged_journals_still_tell_a_call(tmp: bytes) -> None:
    """The damage decided by hypothesis is applied to a real journal on the disk."""
    with tempfile.TemporaryDirectory() as name:
        journal = Journal.create(Path(name))
        journal.write(OPENED, raw=OPENSIPS, key="k", source="siprec")
        journal.write("stream", index=0, label="1", active=True, codecs={"8": "PCMA/8000"}, parameters={}, crypto=[])
        journal.write("closed", by="client")
        path = journal.folder / FILE_NAME
        for place, piece in ast.literal_eval(tmp.decode()):
            data = path.read_bytes()
            at = len(data) * place // 3
            path.write_bytes(data[:at] + piece + data[at + len(piece) :])
        facts = read_journal(journal.folder)
        call = captured_call(facts, journal.capture_id)
        assert call.key in ("k", journal.capture_id) or any(fact.kind == OPENED for fact in facts)


# The live server


class ForgetfulIntake(MemoryIntake):
    """Keeps nothing but the newest calls, and removes their folders as the assemble job does."""

    def __init__(self, captures: Path) -> None:
        super().__init__()
        self.captures = captures

    async def close_call(self, call: CapturedCall) -> int:
        number = await super().close_call(call)
        shutil.rmtree(self.captures / str(call.capture_id), ignore_errors=True)
        while len(self.calls) > 50:
            del self.calls[next(iter(self.calls))]
        del self.closed[:-50], self.events[:-50]
        return number


@dataclass(slots=True)
class LiveServer:
    """A recording server in a loop of its own, and a client's socket."""

    bench: Bench
    loop: asyncio.AbstractEventLoop
    client: socket.socket
    problems: list[object]
    sent: int = 0

    def play(self, message: bytes) -> None:
        """Send a request; if it begins a session, end it again. An OPTIONS after it tells when it was worked off."""
        if len(message) > 60_000:
            return
        self.sent += 1  # each is a request of its own, unless it is broken just there
        message = message.replace(b"B2B.46", b"B2B.%d" % self.sent).replace(b"c09.3ae", b"c09.%d" % self.sent)
        answers = self._ask(message, f"a{self.sent}")
        for answer in answers:
            if status(answer) == 200 and "INVITE" in header(answer, "CSeq"):
                self._ask(self._within(answer, "ACK"), f"b{self.sent}")
                self._ask(self._within(answer, "BYE"), f"c{self.sent}")

    def _ask(self, message: bytes, branch: str) -> list[bytes]:
        self.client.send(message)
        port = self.client.getsockname()[1]
        self.client.send(
            f"OPTIONS sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:{port};rport;branch=z9hG4bK{branch}\r\n"
            f"From: <sip:a@b>;tag=1\r\nTo: <sip:a@b>\r\nCall-ID: {branch}\r\nCSeq: 1 OPTIONS\r\n\r\n".encode()
        )
        found = []
        while f"branch=z9hG4bK{branch}".encode() not in (answer := self.client.recv(65535)):
            found.append(answer)
        return [one for one in found if one.startswith(b"SIP/2.0 ")]

    def _within(self, answer: bytes, method: str) -> bytes:
        cseq = re.match(r"\d+", header(answer, "CSeq"))
        number = int(cseq[0]) if cseq else 1
        via = f"SIP/2.0/UDP 127.0.0.1:{self.client.getsockname()[1]};rport;branch=z9hG4bK{method}{self.sent}"
        lines = [
            f"{method} sip:a@b SIP/2.0",
            f"Via: {via}",
            *(f"{name}: {header(answer, name)}" for name in ("From", "To", "Call-ID")),
            f"CSeq: {number + (method == 'BYE')} {method}",
        ]
        return "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape")

    def run(self, work: Callable[[], object]) -> object:
        """Do something in the server's loop."""

        async def do() -> object:
            return work()

        return asyncio.run_coroutine_threadsafe(do(), self.loop).result(60)

    def footprint(self) -> tuple[int, int, int, int]:
        """Sessions, requests that wait, tasks and open descriptors, once everything has settled."""

        async def settled() -> tuple[int, int, int, int]:
            server = self.bench.server
            await until(lambda: server.calls == 0 and self.bench.courier.waiting == 0, 120)
            await until(lambda: server._outgoing.waiting == 0, 120)
            await asyncio.sleep(0.1)
            gc.collect()
            descriptors = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
            return server.calls, len(self.bench.recorder.sockets), len(asyncio.all_tasks()), descriptors

        return asyncio.run_coroutine_threadsafe(settled(), self.loop).result(300)


@pytest.fixture
def live(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LiveServer]:
    for module in ("transactions", "outgoing"):  # what is never acknowledged or answered is forgotten in no time
        monkeypatch.setattr(f"agent.sip.{module}.LIFETIME_S", 2.0)
    ready, done, problems = threading.Event(), threading.Event(), list[object]()
    box: list[LiveServer] = []

    async def serve() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: problems.append(context))
        intake = ForgetfulIntake(tmp_path / "captures")
        many = SiprecSettings(listen="127.0.0.1", port=0, max_calls=100_000)
        async with bench(tmp_path, many, intake=intake) as b:
            client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            client.settimeout(20)
            client.connect(b.address)
            box.append(LiveServer(b, loop, client, problems))
            ready.set()
            await asyncio.to_thread(done.wait)
            client.close()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    assert ready.wait(20)
    try:
        yield box[0]
    finally:
        done.set()
        thread.join(60)


def resident() -> int:
    """Memory of this process in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize(
    "count",
    [SAMPLE, pytest.param(INVITES, marks=[pytest.mark.soak, pytest.mark.timeout(3600)])],
    ids=["sample", "soak"],
)
def test_a_server_survives_mutated_invites_and_records_the_next_call(live: LiveServer, count: int) -> None:
    documents = seeds()
    for message in documents:  # everything loaded and warm before it is measured
        live.play(message)
    before, memory = live.footprint(), resident()
    examples(count)(given(mutated(documents))(live.play))()
    assert live.footprint() == before
    assert len(live.bench.recorder.closed) > count // 4  # most of what is broken is recorded all the same
    assert live.bench.server.failures == 0 and not live.problems, live.problems[:3]
    assert resident() - memory < 100e6  # hypothesis remembers what it has tried
    call = PlayedCall(caller="+74950000001", callee="101", caller_sound=SOUND, callee_sound=SOUND)
    played = asyncio.run_coroutine_threadsafe(play_call(live.bench.address, call), live.loop).result(60)
    asyncio.run_coroutine_threadsafe(until(lambda: call.session_id in live.bench.intake.calls), live.loop).result(60)
    live.footprint()
    stored = live.bench.intake.calls[call.session_id]
    assert stored.disposition is Disposition.ANSWERED and not stored.flags and played.packets == 20


HOSTILE = (
    (b"User-Agent: OpenSIPS", b"User-Agent: \0OpenSIPS\0"),
    (b"Call-ID: B2B", b"Call-ID: " + random.Random(1).randbytes(3000).hex().encode()),
    (b"Call-ID: B2B", b"Call-ID: \0B2B"),
    (b"sip:101@", b"sip:10%001@"),
    (b"sip:101@", b"sip:101" + b"9" * 400 + b"@"),
    (b"Max-Forwards: 70", b'Reason: Q.850;cause=16;text="\0\xff"'),
    (b"Max-Forwards: 70", b"Diversion: <sip:%00%ff@x>\r\nP-Asserted-Identity: <sip:%00@x>"),
    (b"<recording ", b"<nothing "),
    (b"pd+FTVrRT+yN9/fbO24jXw==", b"\xd1\x8f" * 600),
    (b'group_id="sales"', b'group_id="' + "я".encode() * 700 + b'"'),
    (b"a=label:1", b"a=label:\0\xff1"),
    (b"speex/16000", b"spe\0ex/16000"),
)


@pytest.mark.parametrize("count", [SAMPLE, pytest.param(3_000, marks=[pytest.mark.soak])], ids=["sample", "soak"])
async def test_whatever_a_client_sends_the_database_takes_the_call(intake: Intake, tmp_path: Path, count: int) -> None:
    """A call that could not be stored would be tried again for ever."""
    messages = [OPENSIPS.replace(old, new) for old, new in HOSTILE]
    messages += [OPENSIPS.replace(old, new).partition(b"<?xml")[0] for old, new in HOSTILE]

    def collect(message: bytes) -> None:
        messages.append(message)

    examples(count)(given(mutated(seeds()))(collect))()
    for number, message in enumerate(messages):
        with contextlib.suppress(MalformedRequest):
            request = read_request(message)
            if request is None:
                continue
            body = read_body(request.header("content-type"), request.body)
            folder = tmp_path / str(number)
            folder.mkdir()
            journal = Journal(folder)
            journal.write(OPENED, raw=message, call_id=request.call_id)
            for index, media in enumerate(read_offer(body.sdp or b"")):
                journal.write(STREAM, index=index, label=media.label, codecs=media.codecs, active=True)
            journal.write(CLOSED, raw=message, by="client", reason=", ".join(request.headers.get("reason")))
            call = captured_call(read_journal(folder), f"capture-{number}")
            assert await intake.close_call(call)
