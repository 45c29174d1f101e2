"""Recording many calls at once: what the capture process takes for one, and whether every packet is in the logs.

Real SIPREC sessions with two streams of G.711 are opened at a recording server with its capture process; another
process sends speech to all of them, a packet each 20 ms. The packets in the logs are counted, and all calls are
assembled and sealed, which the field counts as part of recording. The peer is the native recorder of the pjsua2 wheel,
four calls with one stream a process, which writes WAV from the same load; as a process of it costs the same whatever
others do, fewer of them stand for all.

CARDLINE_BENCH_CALLS (400), CARDLINE_BENCH_SECONDS (60) and CARDLINE_BENCH_PEER_CALLS (40) change the size.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import logging
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import structlog

from agent.model import CapturedCall
from agent.settings import SiprecSettings
from agent.sip.courier import Courier
from agent.sip.recorder import CaptureEvent, CaptureEventKind, Recorder
from agent.sip.siprec import RecordingServer
from agent.sound.packetlog import read_packets
from tests.bench._record_caller import HOST, Caller
from tests.bench.load import FRAME
from tests.bench.result import Result

CALLS = int(os.environ.get("CARDLINE_BENCH_CALLS", "400"))
SECONDS = float(os.environ.get("CARDLINE_BENCH_SECONDS", "60"))
PEER_CALLS = int(os.environ.get("CARDLINE_BENCH_PEER_CALLS", "40"))
STREAMS = 2
GOAL_PERCENT, GOAL_KB = 0.035, 150.0
PEER_HOLDS = 4  # calls a process of pjsua2
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Of recording one call of two streams: per cent of a core, resident memory in KB."""

    cpu_percent: float
    memory_kb: float

    @property
    def per_core(self) -> float:
        return 100 / self.cpu_percent

    def __str__(self) -> str:
        return f"{self.cpu_percent:.4f} % of a core and {self.memory_kb:.0f} KB a call"


class Intake:
    """Forgets what it is told: the database is another benchmark's."""

    async def open_call(self, call: CapturedCall) -> int:
        return 1

    update_call = close_call = open_call


def run() -> Result:
    """Ours, then the peer, so that neither disturbs the other."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    with tempfile.TemporaryDirectory(prefix="cardline-bench-") as name:
        cost, server_percent, load, lost = asyncio.run(_ours(Path(name)))
        packets = _count(Path(name) / "captures")
        assembling = _assemble(Path(name)) / CALLS / SECONDS * 100
    sent = round(SECONDS / FRAME) * CALLS * STREAMS
    whole = cost.cpu_percent + assembling
    print(f"load      {json.dumps(load)}")
    print(f"cardline  {cost}; {packets} of {sent} packets in the logs; the kernel dropped {lost}")
    print(f"          SIP server {server_percent:.4f} %, assembling and sealing {assembling:.4f} % of a core a call")
    print(
        f"          together {whole:.4f} %, which is {100 / whole:.0f} calls a core; capture alone {cost.per_core:.0f}"
    )
    peer = _pjsua2() if importlib.util.find_spec("pjsua2") else None
    if peer:
        print(f"pjsua2    {peer}")
    return Result(
        bench="record",
        work=f"{CALLS} SIPREC calls of two G.711 streams for {SECONDS:g} s; pjsua2: {PEER_CALLS} to WAV",
        unit="% of a core a call",
        ours=round(cost.cpu_percent, 4),
        peer=round(peer.cpu_percent, 4) if peer else None,
        ratio=round(peer.cpu_percent / cost.cpu_percent, 1) if peer else None,
        goal=f"every packet in the logs, at most {GOAL_PERCENT} % of a core and {GOAL_KB:g} KB a call",
        holds=packets == sent and cost.cpu_percent <= GOAL_PERCENT and cost.memory_kb <= GOAL_KB,
        details={
            "packets": packets,
            "sent": sent,
            "memory_kb": round(cost.memory_kb),
            "with_assembling": round(whole, 4),
            "ratio_with_assembling": round(peer.cpu_percent / whole, 1) if peer else None,
            "peer": asdict(peer) if peer else None,
            "load": load,
        },
    )


async def _ours(folder: Path) -> tuple[Cost, float, dict[str, float], int]:
    """Cost a call, CPU of the SIP side in per cent a call, what the load says, packets that the kernel dropped."""
    closed, done, captures = [], asyncio.Event(), folder / "captures"

    def note(event: CaptureEvent) -> None:
        if event.kind is CaptureEventKind.CLOSED:
            closed.append(event.details)
            if len(closed) == CALLS:
                done.set()

    recorder = Recorder(captures, address=HOST, ports=(20000, 20000 + 8 * CALLS), on_event=note)
    courier = Courier(Intake(), captures)
    settings = SiprecSettings(listen=HOST, port=0, max_calls=CALLS)
    server = RecordingServer(settings, recorder, courier, folder)
    await recorder.start()
    await server.start()
    try:
        callers = [Caller(server.address, number, siprec=True) for number in range(CALLS)]
        ports = await asyncio.to_thread(lambda: [port for caller in callers for port in caller.invite()])
        assert recorder.pid is not None and len(ports) == CALLS * STREAMS
        pids, own = [recorder.pid], _own_cpu()
        cost, load = await asyncio.to_thread(_measure, pids, ports, CALLS)
        server_percent = (_own_cpu() - own) / SECONDS / CALLS * 100
        await asyncio.to_thread(_hang_up, callers)
        await done.wait()
    finally:
        await server.stop()
        await courier.stop()
        await recorder.stop()
    return cost, server_percent, load, sum(counts["overflowed"] for counts in closed)


def _hang_up(callers: list[Caller]) -> None:
    for caller in callers:
        caller.bye()


def _measure(pids: list[int], ports: list[int], calls: int) -> tuple[Cost, dict[str, float]]:
    """Send to the ports, and see what that costs the processes."""
    before = sum(map(_cpu, pids))
    command = [sys.executable, "-m", "tests.bench.load", HOST, str(SECONDS), *map(str, ports)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    time.sleep(1)
    cpu = sum(map(_cpu, pids)) - before
    memory = sum(map(_resident, pids))
    load: dict[str, float] = json.loads(done.stdout)
    return Cost(cpu_percent=cpu / SECONDS / calls * 100, memory_kb=memory / calls), load


def _count(captures: Path) -> int:
    """Packets in all logs that are whole, of one sender, and each there once."""
    count = 0
    for path in captures.glob("*/*.rtpdump"):
        reader = read_packets(path)
        sequence = [int.from_bytes(packet.data[2:4], "big") for packet in reader if len(packet.data) == 172]
        assert reader.torn is None, f"{path}: {reader.torn}"
        assert len(set(sequence)) == len(sequence), f"{path}: packets are there twice"
        count += len(sequence)
    return count


def _assemble(folder: Path) -> float:
    """CPU seconds for all calls."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    (folder / "sealed").mkdir()
    command = [sys.executable, "-m", "tests.bench._record_assemble", str(folder / "captures"), str(folder / "sealed")]
    subprocess.run(command, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _pjsua2() -> Cost:
    with tempfile.TemporaryDirectory(prefix="cardline-bench-") as name:
        calls = PEER_CALLS * STREAMS
        with _workers(Path(name), -(-calls // PEER_HOLDS)) as workers:
            callers = [
                Caller((HOST, port), number, siprec=False) for port in workers.values() for number in range(PEER_HOLDS)
            ][:calls]
            ports = [port for caller in callers for port in caller.invite()]
            time.sleep(1)
            cost, _ = _measure(list(workers), ports, PEER_CALLS)
            _hang_up(callers)
            written = [path.stat().st_size for path in Path(name).glob("*.wav")]
        most = SECONDS * 8000 * 2
        print(f"pjsua2    {len(written)} files, {sum(written) / len(written) / most:.1%} as long as what was sent")
    return cost


@contextmanager
def _workers(folder: Path, count: int) -> Iterator[dict[int, int]]:
    """Processes of the peer: their ids, and the SIP port of each."""
    command = [sys.executable, "-m", "tests.bench._record_peer", str(folder)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) for _ in range(count)]
    try:
        yield {process.pid: _sip_port(process) for process in processes}
    finally:
        for process in processes:
            process.kill()
            process.wait()
            if process.stdout:
                process.stdout.close()


def _sip_port(process: subprocess.Popen[bytes]) -> int:
    """The number that it prints after what the library has to say."""
    assert process.stdout is not None
    for line in process.stdout:
        if line.strip().isdigit():
            return int(line)
    raise SystemExit("pjsua2 does not start")


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def _own_cpu() -> float:
    return _cpu(os.getpid())


def _resident(pid: int) -> int:
    """In KB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))
