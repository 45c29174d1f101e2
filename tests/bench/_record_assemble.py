"""What `tests.bench.record` runs to know what assembling costs: every capture of a folder to a sealed FLAC."""

from __future__ import annotations

import sys
from pathlib import Path

from agent.archive.blobs import open_archive
from agent.sound.assemble import StreamPlan, assemble
from agent.sound.packetlog import read_packets


def main(captures: Path, sealed: Path) -> None:
    """Assemble them one after the other; each from its first packet on for as long as it has some."""
    archive = open_archive(sealed, "")
    for folder in sorted(captures.iterdir()):
        logs = sorted(folder.glob("*.rtpdump"))
        times = [packet.at for packet in read_packets(logs[0])]
        plans = [StreamPlan(path=path, channel=channel, codecs={}) for channel, path in enumerate(logs)]
        done = assemble(plans, started=times[0], ended=times[-1], out=sealed / "call.flac")
        with done.path.open("rb") as source:
            blob = archive.seal(source, media_type="audio/flac")
        if problem := archive.check(blob):
            raise SystemExit(problem)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
