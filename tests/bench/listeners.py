"""``BENCH=listeners``: a hundred people listen at once, each to a whole recording, and every byte arrives.

The service's pages run in a process of their own over a sealed recording; a hundred clients, each with a login of its
own, fetch it as fast as it comes: one asks for everything, the next in stretches. Each compares the digest. Beside them
somebody keeps opening the page of the call, from a process of his own. Ours is bytes a second; the peer is
`http.server` of Python with the plain file, which decrypts nothing and checks no right. LISTENERS_BENCH_SECONDS is the
length of the recording.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import select
import statistics
import subprocess
import sys
import time
import urllib.request
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from typing import Any

from aiohttp import ClientSession, ClientTimeout, TCPConnector

from tests.bench.result import Result

LISTENERS = 100
_STRETCH = 1_000_000  # bytes; about what a browser asks for at a time
_MOST_MEMORY = 200.0  # MB that all of them together may cost
_TIMEOUT = ClientTimeout(total=600)


def run() -> Result:
    """Serve, listen, compare."""
    with TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        command = [sys.executable, "-m", "tests.bench._listeners_serve", folder]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout is not None
            told = json.loads(server.stdout.readline())
            Path(f"/proc/{server.pid}/clear_refs").write_text("5")  # what it took to begin with does not count
            before = _memory(server.pid)
            ours = asyncio.run(_listen(told, server.pid))
            server.communicate("stop\n", timeout=60)
        peer = _peer(Path(folder), told)
    grown = ours["memory"] - before
    holds = ours["wrong"] == 0 and grown < _MOST_MEMORY
    return Result(
        bench="listeners",
        work=f"{LISTENERS} listeners at once, a recording of {told['size'] / 1e6:.1f} MB each",
        unit="MB/s",
        ours=round(ours["rate"] / 1e6, 1),
        peer=round(peer / 1e6, 1),
        ratio=round(ours["rate"] / peer, 2),
        goal=f"no byte dropped or altered, and no more than {_MOST_MEMORY:.0f} MB of memory for all of them",
        holds=holds,
        details={
            "wrong": ours["wrong"],
            "grown_mb": round(grown, 1),
            "seconds": round(ours["seconds"], 1),
            "page_p50_ms": ours["page_p50_ms"],
            "page_p95_ms": ours["page_p95_ms"],
            "cores": os.cpu_count(),
        },
    )


def _memory(pid: int) -> float:
    """Peak resident memory in MB."""
    status = Path(f"/proc/{pid}/status").read_text()
    (line,) = [one for one in status.splitlines() if one.startswith("VmHWM")]
    return int(line.split()[1]) / 1024


async def _listen(told: dict[str, Any], pid: int) -> dict[str, Any]:
    base = f"http://127.0.0.1:{told['port']}"
    connector = TCPConnector(limit=0)
    async with ClientSession(base, connector=connector, timeout=_TIMEOUT) as http:
        arguments = f"{base!r}, '/interactions/{told['call']}', {told['cookies'][0]!r}"
        program = f"from tests.bench.listeners import look; look({arguments})"
        pipe = asyncio.subprocess.PIPE
        looking = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdin=pipe, stdout=pipe)
        began = time.perf_counter()
        work = [_one(http, told, number) for number in range(LISTENERS)]
        digests = await asyncio.gather(*work)
        seconds = time.perf_counter() - began
        waits, _ = await looking.communicate(b"")
        pages = [float(one) for one in waits.split()]
    cuts = statistics.quantiles(pages, n=20) if len(pages) > 1 else [0.0] * 19
    return {
        "wrong": sum(one != told["sha256"] for one in digests),
        "seconds": seconds,
        "rate": LISTENERS * told["size"] / seconds,
        "memory": _memory(pid),
        "page_p50_ms": round(cuts[9] * 1000, 1),
        "page_p95_ms": round(cuts[18] * 1000, 1),
    }


async def _one(http: ClientSession, told: dict[str, Any], number: int) -> str:
    """All of it; every second listener in stretches, over as many requests."""
    digest = hashlib.sha256()
    headers = {"Cookie": f"cardline_session={told['cookies'][number]}"}
    step = told["size"] if number % 2 else _STRETCH
    for start in range(0, told["size"], step):
        part = headers | {"Range": f"bytes={start}-{min(start + step, told['size']) - 1}"}
        async with http.get(f"/recordings/{told['recording']}", headers=part) as answer:
            assert answer.status == 206, answer.status
            async for piece in answer.content.iter_any():
                digest.update(piece)
    return digest.hexdigest()


def look(base: str, path: str, cookie: str) -> None:
    """Somebody who reads while the others listen, until his standard input ends; prints each wait in seconds."""
    request = urllib.request.Request(base + path, headers={"Cookie": f"cardline_session={cookie}"})
    while not select.select([sys.stdin], [], [], 0.1)[0]:
        began = time.perf_counter()
        with urllib.request.urlopen(request, timeout=60) as answer:
            answer.read()
        print(time.perf_counter() - began, flush=True)


def _peer(folder: Path, told: dict[str, Any]) -> float:
    """The same file, plain, from the standard library's server to as many clients."""

    class Quiet(SimpleHTTPRequestHandler):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments, directory=str(folder))

        def log_message(self, *arguments: Any) -> None:
            return

    ThreadingHTTPServer.request_queue_size = LISTENERS
    server = ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    Thread(target=server.serve_forever, daemon=True).start()

    async def fetch() -> float:
        base = f"http://127.0.0.1:{server.server_address[1]}"
        async with ClientSession(base, connector=TCPConnector(limit=0), timeout=_TIMEOUT) as http:

            async def one() -> None:
                async with http.get("/plain.flac") as answer:
                    async for _ in answer.content.iter_any():
                        pass

            began = time.perf_counter()
            await asyncio.gather(*(one() for _ in range(LISTENERS)))
            return time.perf_counter() - began

    seconds = asyncio.run(fetch())
    server.shutdown()
    return float(LISTENERS * told["size"] / seconds)
