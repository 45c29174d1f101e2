"""A registrar (Kamailio), telephones around it, and lines of ours between them, all on the loopback interface."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from agent.model import CapturedCall, SourceState
from agent.settings_lines import LineSettings, SipSettings
from agent.sip.assembler import _Made, _make
from agent.sip.calls import captured_call
from agent.sip.journal import read_journal
from agent.sip.lines.supervisor import Lines
from agent.sip.taps import Taps
from tests.peers import require
from tests.unit.soundlab import read_sound

CLIENT, MANAGER = "+74950000001", "101"
CLIENT_HZ, MANAGER_HZ = 600, 1500
HOST = "127.0.0.1"
_PATIENCE = 20.0

_KAMAILIO = """#!KAMAILIO
debug=1
log_stderror=yes
fork=yes
children=2
tcp_children=2
listen=udp:{host}:{port}
listen=tcp:{host}:{port}
loadmodule "tm.so"
loadmodule "sl.so"
loadmodule "rr.so"
loadmodule "pv.so"
loadmodule "maxfwd.so"
loadmodule "usrloc.so"
loadmodule "registrar.so"
loadmodule "textops.so"
loadmodule "siputils.so"
loadmodule "auth.so"
modparam("usrloc", "db_mode", 0)
request_route {{
  if (!mf_process_maxfwd_header("10")) {{ sl_send_reply("483", "Too Many Hops"); exit; }}
  if (has_totag()) {{
    if (loose_route()) {{ t_relay(); exit; }}
    if (is_method("ACK")) {{ if (t_check_trans()) t_relay(); exit; }}
    sl_send_reply("404", "Not here"); exit;
  }}
  if (is_method("CANCEL")) {{ if (t_check_trans()) t_relay(); exit; }}
  t_check_trans();
  if (is_method("REGISTER|INVITE")) {{
    if (!pv_auth_check("$fd", "secret-$fU", "0", "0")) {{ auth_challenge("$fd", "0"); exit; }}
    consume_credentials();
  }}
  if (is_method("REGISTER")) {{ save("location"); exit; }}
  record_route();
  if (!lookup("location")) {{ sl_send_reply("404", "Not Found"); exit; }}
  t_relay();
}}
"""


def free_port() -> int:
    """A port that nobody has now, neither for UDP nor for TCP."""
    while True:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one, socket.socket() as other:
            one.bind((HOST, 0))
            with suppress(OSError):
                other.bind(one.getsockname())
                return int(one.getsockname()[1])


@asynccontextmanager
async def kamailio(folder: Path, port: int = 0) -> AsyncIterator[str]:
    """A registrar that knows everybody whose password is ``secret-<user>``; its address."""
    program, port = require("kamailio"), port or free_port()
    config = folder / "kamailio.cfg"
    config.write_text(_KAMAILIO.format(host=HOST, port=port))
    with (folder / "kamailio.log").open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *(program, "-DD", "-E", "-f", str(config), "-Y", str(folder), "-P", str(folder / "kamailio.pid")),
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        await until(lambda: _answers(port), f"kamailio: {(folder / 'kamailio.log').read_text()}")
        yield f"{HOST}:{port}"
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


def _answers(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex((HOST, port)) == 0


async def until(condition: Callable[[], object], what: str) -> None:
    """Ask again and again; the time is only there to end a test that hangs."""
    try:
        async with asyncio.timeout(_PATIENCE):
            while not condition():  # noqa: ASYNC110 - what is waited for is in another process
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"waited {_PATIENCE} s in vain: {what}") from None


class Telephone:
    """The test's handle on a telephone process (`tests.peer.sip_phone`)."""

    def __init__(self, process: asyncio.subprocess.Process, user: str) -> None:
        self.user, self.facts = user, list[dict[str, Any]]()
        self._process = process
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            self.facts.append(json.loads(line))

    def order(self, order: str, **values: Any) -> None:
        """call (uri, headers), hang_up, hold, unhold, press (digits), answer, policy (policy)."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": order, **values}).encode() + b"\n")

    def all(self, fact: str) -> list[dict[str, Any]]:
        """Everything of a kind that happened."""
        return [one for one in self.facts if one["fact"] == fact]

    async def sees(self, fact: str, *, count: int = 1) -> dict[str, Any]:
        """Wait for something to have happened so many times; the last time."""
        await until(lambda: len(self.all(fact)) >= count, f"{self.user} sees {fact}: {self.facts}")
        return self.all(fact)[count - 1]

    def forget(self) -> None:
        """Look at what happens from now on."""
        self.facts.clear()

    async def close(self) -> None:
        """Hang up and end."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._process.wait()
        await self._reader


@asynccontextmanager
async def telephone(registrar: str, user: str, tone: int, **more: Any) -> AsyncIterator[Telephone]:
    """A telephone, registered."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.peer.sip_phone"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    told = {"registrar": registrar, "user": user, "secret": f"secret-{user}", "tone": tone, **more}
    process.stdin.write(json.dumps(told).encode() + b"\n")
    one = Telephone(process, user)
    try:
        assert (await one.sees("registered"))["status"] == 200
        yield one
    finally:
        await one.close()


class _Recorder:
    """No stream of packets is ever asked for."""

    def open_stream(self, capture_id: str, index: int, *, events: frozenset[int] = frozenset()) -> int:
        raise AssertionError("a line writes its own sound")

    async def close_capture(self, capture_id: str) -> None:
        return


@dataclass
class Exchange:
    """Lines with a capture folder, and what became of their calls."""

    captures: Path
    lines: Lines = field(init=False)
    taps: Taps = field(init=False)
    ended: list[str] = field(default_factory=list)
    states: list[tuple[str, SourceState, str]] = field(default_factory=list)

    def tell(self, capture_id: str) -> None:
        return

    def tell_ended(self, capture_id: str) -> None:
        self.ended.append(capture_id)

    def note(self, source: str, state: SourceState, detail: str) -> None:
        self.states.append((source, state, detail))

    async def is_up(self, line: str = "Anna", *, times: int = 1) -> None:
        """Wait until a line is registered, for so many times."""
        wanted = (f"line:{line}", SourceState.RUNNING)
        await until(lambda: sum(one[:2] == wanted for one in self.states) >= times, f"{line} is up: {self.states}")

    async def call(self, number: int) -> tuple[CapturedCall, _Made]:
        """The call that ended as the so-manieth, as the database and the assembler would have it."""
        await until(lambda: len(self.ended) > number, "the call has ended")
        capture_id = self.ended[number]
        folder = self.captures / capture_id
        facts = read_journal(folder)
        call = captured_call(facts, capture_id)
        return call, await asyncio.to_thread(_make, facts, call, folder)


def line_settings(registrar: str, **more: Any) -> LineSettings:
    """The line of a manager called Anna."""
    given = {"name": "Anna", "registrar": registrar, "user": "901", "secret": "secret-901", "extension": MANAGER}
    return LineSettings.model_validate({**given, **more})


@asynccontextmanager
async def exchange(folder: Path, *lines: LineSettings) -> AsyncIterator[Exchange]:
    """Lines that run; they are not registered yet."""
    one = Exchange(folder)
    one.taps = Taps(_Recorder(), one, folder)
    one.lines = Lines(SipSettings(listen=HOST, line=lines), one.taps)
    one.lines.watch(one.note)
    one.lines.start()
    try:
        yield one
    finally:
        await one.lines.stop()
        await one.taps.stop()


def loudness(made: _Made, channel: int, hertz: int, *, start: float = 0.3, end: float | None = None) -> float:
    """How strong a tone is on a channel between two seconds of a recording; full scale is 32767.

    Weighed by a Hann window: without one a short piece of a loud tone leaks into every other pitch.
    """
    sound = read_sound(made.assembled.path)[:, channel].astype(np.float64)
    rate = made.assembled.rate
    part = sound[round(start * rate) : len(sound) - round(0.2 * rate) if end is None else round(end * rate)]
    window = np.hanning(len(part))
    turns = np.exp(-2j * np.pi * hertz * np.arange(len(part)) / rate)
    return float(2 * abs((part * window * turns).sum()) / window.sum())


def tone_in(sound: np.ndarray[Any, np.dtype[np.int16]], rate: int, hertz: int) -> float:
    """Seconds for which a tone is heard in what somebody heard, by tenths."""
    step = rate // 10
    turns = np.exp(-2j * np.pi * hertz * np.arange(step) / rate)
    parts = sound[: len(sound) // step * step].astype(np.float64).reshape(-1, step)
    return float((np.abs((parts * turns).mean(axis=1)) > 200).sum()) / 10


def onset(made: _Made, channel: int) -> float:
    """The second at which somebody is heard for the first time on a channel."""
    sound = read_sound(made.assembled.path)[:, channel]
    return float(np.argmax(np.abs(sound.astype(np.int32)) > 500)) / made.assembled.rate
