"""New calls: how long an INVITE waits for its 200 while calls begin 50 a second, and whether every one is kept.

Ours is the whole service, with its database, the capture process and the worker that assembles what was recorded. The
peer is the pjsua2 wheel in as many processes as it takes (4 calls each), which answers the same rate of ordinary calls
with one stream and writes them as WAV: it does less for each call, since it knows no SIPREC. SIPp, where installed,
shows what a C program that only answers takes on this machine.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import text

from tests.acceptance.service import ServiceUnderTest
from tests.bench.result import Result

RATE, SECONDS, TALK_S = 50, 20, 4
GOAL_MS = 50.0
PEER_PROCESSES = RATE * TALK_S // 4 + 10  # pjsua2 holds four calls a process
STORED_S = 240.0
LOAD = [sys.executable, "-m", "tests.bench._call_setup_load"]
OPTIONS = ["--rate", str(RATE), "--seconds", str(SECONDS), "--talk", str(TALK_S)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What the load saw: waits in ms, and how many calls were answered as they should."""

    p50: float
    p99: float
    longest: float
    answered: int
    right: bool

    def __str__(self) -> str:
        figures = f"p50 {self.p50:7.2f} ms, p99 {self.p99:7.2f} ms, longest {self.longest:7.2f} ms"
        return f"{figures}, {self.answered} answered, all right: {self.right}"


class Recorder(ServiceUnderTest):
    """The whole service with enough ports for this rate."""

    def _configuration(self, queues: object, speech: bool) -> str:
        return f"""
data_dir = "{self.folder / "data"}"
siprec = {{ listen = "127.0.0.1", port = 0, rtp_ports = [20000, 32767] }}
smtp = {{ enabled = false }}
web = {{ listen = "127.0.0.1", port = 0 }}
transcribe = {{ enabled = false }}
jobs = {{ general = true, speech = false }}
"""


def run() -> Result:
    """Ours, then the peers, one after the other so that neither disturbs the other."""
    calls = RATE * SECONDS
    ours, stored = asyncio.run(_ours(calls))
    print(f"cardline      {ours}; {stored} of {calls} calls in the database")
    peer = _pjsua2(calls) if importlib.util.find_spec("pjsua2") else None
    floor = _sipp(calls)
    other = peer or floor
    return Result(
        bench="call-setup",
        work=f"{RATE} new calls/s for {SECONDS} s, {TALK_S} s each with RTP; INVITE to 200",
        unit="ms p99",
        ours=ours.p99,
        peer=other.p99 if other else None,
        ratio=round(other.p99 / ours.p99, 2) if other else None,
        goal=f"p99 under {GOAL_MS:g} ms, all answers right, all calls in the database",
        holds=ours.p99 < GOAL_MS and ours.right and stored == calls,
        details={
            "p50_ms": ours.p50,
            "peer_p50_ms": other.p50 if other else None,
            "peer": "pjsua2" if peer else "SIPp",
            "peer_answered": other.answered if other else None,
            "sipp_p99_ms": floor.p99 if floor else None,
        },
    )


async def _ours(calls: int) -> tuple[Figures, int]:
    with tempfile.TemporaryDirectory(prefix="cardline-bench-") as name:
        service = Recorder(Path(name))
        await service.start()
        try:
            host, port = service.addresses["siprec"]
            figures = await asyncio.to_thread(_load, [(host, port)], calls)
            stored = await _stored(service, calls)
        finally:
            await service.stop()
    return figures, stored


async def _stored(service: ServiceUnderTest, calls: int) -> int:
    """Calls that ended and whose sound is sealed; waits for the worker to come to all of them."""
    query = text(
        "SELECT count(*) FROM evidence e JOIN call c USING (interaction_id) JOIN recording r USING (interaction_id) "
        "WHERE e.source = 'siprec' AND c.ended_at IS NOT NULL AND c.disposition = 'answered' AND NOT c.truncated"
    )
    deadline, found = time.monotonic() + STORED_S, 0
    async with service.store() as store:
        while found < calls and time.monotonic() < deadline:
            await asyncio.sleep(1)
            async with store.begin() as connection:
                found = (await connection.execute(query)).scalar_one()
    return found


def _load(servers: list[tuple[str, int]], calls: int, *options: str) -> Figures:
    addresses = ",".join(f"{host}:{port}" for host, port in servers)
    done = subprocess.run([*LOAD, addresses, *OPTIONS, *options], stdout=subprocess.PIPE, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    waits = sorted(found.pop("waits_ms"))
    print(json.dumps(found))
    right = found["statuses"] == {"INVITE 200": calls, "BYE 200": calls} and not found["wrong"]
    return Figures(
        p50=waits[len(waits) // 2],
        p99=waits[int(len(waits) * 0.99)],
        longest=waits[-1],
        answered=found["statuses"].get("INVITE 200", 0),
        right=right,
    )


def _pjsua2(calls: int) -> Figures | None:
    with tempfile.TemporaryDirectory(prefix="cardline-bench-") as name, _workers(Path(name)) as ports:
        if not ports:
            return None
        figures = _load([("127.0.0.1", port) for port in ports], calls, "--plain")
    print(f"pjsua2 x {len(ports)}  {figures}")
    return figures


@contextmanager
def _workers(folder: Path) -> Iterator[list[int]]:
    command = [sys.executable, "-m", "tests.bench._call_setup_peer", str(folder)]
    processes = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) for _ in range(PEER_PROCESSES)
    ]
    try:
        yield [port for process in processes if (port := _port_of(process))]
    finally:
        for process in processes:
            process.kill()
            process.wait()
            if process.stdout:
                process.stdout.close()


def _port_of(process: subprocess.Popen[bytes]) -> int:
    """The port a worker prints, whatever the library prints before it; 0 when it ended."""
    assert process.stdout
    for line in process.stdout:
        if line.strip().isdigit():
            return int(line)
    return 0


def _sipp(calls: int) -> Figures | None:
    sipp = shutil.which("sipp")
    if sipp is None:
        return None
    with tempfile.TemporaryDirectory(prefix="cardline-bench-") as name:
        scenario = Path(name) / "uas.xml"
        scenario.write_text(_UAS)
        port = _free_port()
        process = subprocess.Popen(
            [sipp, "-sf", str(scenario), "-i", "127.0.0.1", "-p", str(port), "-nostdin"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=name,
        )
        try:
            time.sleep(1)
            figures = _load([("127.0.0.1", port)], calls, "--plain")
        finally:
            process.kill()
            process.wait()
    print(f"SIPp          {figures}")
    return figures


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


_UAS = """<?xml version="1.0" encoding="UTF-8"?>
<scenario name="answers at once">
  <recv request="INVITE"/>
  <send retrans="500"><![CDATA[
SIP/2.0 200 OK
[last_Via:]
[last_From:]
[last_To:];tag=[call_number]
[last_Call-ID:]
[last_CSeq:]
Contact: <sip:[local_ip]:[local_port]>
Content-Type: application/sdp
Content-Length: [len]

v=0
o=- 1 1 IN IP4 [local_ip]
s=-
c=IN IP4 [media_ip]
t=0 0
m=audio [media_port] RTP/AVP 8 101
a=recvonly
]]></send>
  <recv request="ACK"/>
  <recv request="BYE"/>
  <send><![CDATA[
SIP/2.0 200 OK
[last_Via:]
[last_From:]
[last_To:]
[last_Call-ID:]
[last_CSeq:]
Content-Length: 0

]]></send>
</scenario>
"""
