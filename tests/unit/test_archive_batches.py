"""Many blobs at once: durable by the same promise as one, at the price of two syncs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from agent.archive import local
from agent.archive.blobs import open_archive
from agent.errors import ArchiveUnavailable
from tests.peers import require

_CONTENTS = [os.urandom(3000) + bytes([number]) for number in range(40)]
_SCRIPT = """
import os, pathlib, signal, sys
from agent.archive import blobs, local
archive = blobs.open_archive(pathlib.Path(sys.argv[1]), "")
{spoil}
names = archive.seal_all([bytes([one]) * 3000 for one in range(40)], media_type="text/plain")
print("promised", len(names), flush=True)
"""


def _stored(folder: Path) -> list[Path]:
    return [path for path in (folder / "blobs").rglob("*") if path.is_file()]


def test_what_is_sealed_together_comes_back_and_is_proved(tmp_path: Path) -> None:
    archive = open_archive(tmp_path, "")
    blobs = archive.seal_all(_CONTENTS, media_type="message/rfc822")
    assert [archive.read(blob) for blob in blobs] == _CONTENTS
    assert {archive.check(blob) for blob in blobs} == {""}
    assert {path.name for path in _stored(tmp_path)} == {blob.name for blob in blobs}
    assert {path.stat().st_mode & 0o777 for path in _stored(tmp_path)} == {0o600}
    folders = [path for path in (tmp_path / "blobs").rglob("*") if path.is_dir()]
    assert {path.stat().st_mode & 0o777 for path in folders} == {0o700}


@pytest.mark.parametrize("count", [0, 1, local._FEW, local._FEW + 1])
def test_few_and_many_are_the_same_to_the_caller(tmp_path: Path, count: int) -> None:
    archive = open_archive(tmp_path, "")
    blobs = archive.seal_all(_CONTENTS[:count], media_type="text/plain")
    assert [archive.read(blob) for blob in blobs] == _CONTENTS[:count]


def test_an_old_kernel_gets_a_sync_a_blob(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "_syncfs_tells", lambda: False)
    monkeypatch.setattr(local, "_sync_file_system", lambda _: pytest.fail("it does not tell of faults there"))
    archive = open_archive(tmp_path, "")
    blobs = archive.seal_all(_CONTENTS, media_type="text/plain")
    assert [archive.read(blob) for blob in blobs] == _CONTENTS


def test_contents_are_synced_before_they_are_named_and_names_before_it_returns(tmp_path: Path) -> None:
    """Seen by strace from outside: what the kernel was asked for, in which order."""
    trace = tmp_path / "trace"
    calls = "openat,write,rename,renameat,renameat2,syncfs,fsync"
    command = [require("strace"), "-f", "-o", str(trace), "-e", f"trace={calls}"]
    script = _SCRIPT.format(spoil="")
    subprocess.run([*command, sys.executable, "-c", script, str(tmp_path)], check=True, capture_output=True)
    lines = trace.read_text().splitlines()
    steps = [
        kind
        for line in lines
        for kind, pattern in (
            ("written", r'openat\(.*incoming/[0-9a-f]{32}", O_WRONLY'),
            ("synced", r"syncfs\(\d+\) += 0"),
            ("named", r"rename(at2?)?\(.*incoming/.*\) += 0"),
            ("promised", r'write\(1, "promised'),
        )
        if re.search(pattern, line)
    ]
    assert steps == ["written"] * 40 + ["synced"] + ["named"] * 40 + ["synced", "promised"]


@pytest.mark.parametrize("at", ["_sync_file_system", "os.rename"])
def test_a_killed_writer_promises_nothing_and_leaves_nothing_half_written_under_a_final_name(
    tmp_path: Path, at: str
) -> None:
    spoil = f"local.{at} = lambda *_: os.kill(os.getpid(), signal.SIGKILL)"
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT.format(spoil=spoil), str(tmp_path)], check=False, capture_output=True
    )
    assert done.returncode == -9
    assert done.stdout == b""
    assert {path.parent.name for path in _stored(tmp_path)} == {"incoming"}
    open_archive(tmp_path, "").sweep()
    assert _stored(tmp_path) == []


@pytest.mark.parametrize("failing", ["_sync_file_system", "_write_all"])
def test_a_disk_that_fails_promises_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str) -> None:
    archive = open_archive(tmp_path, "")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(local, failing, fail)
    with pytest.raises(ArchiveUnavailable, match="No space left"):
        archive.seal_all(_CONTENTS, media_type="text/plain")
    assert _stored(tmp_path) == []
