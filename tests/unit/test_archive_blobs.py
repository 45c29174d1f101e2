"""Blobs: on disk before anybody is told so, and no rubbish left where they could not be written."""

from __future__ import annotations

import concurrent.futures
import errno
import io
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from agent.archive.blobs import Archive, BucketStorage, open_archive
from agent.archive.keys import KeyRing
from agent.archive.local import LocalStorage
from agent.archive.sealing import FRAME
from agent.errors import ArchiveUnavailable, BlobAltered, BlobErased, BlobMissing
from agent.model import SealedBlob

_MAIL = b"Subject: hello\r\n\r\n" + os.urandom(100_000)


def _stored(folder: Path) -> list[Path]:
    return [path for path in (folder / "blobs").rglob("*") if path.is_file()]


def test_what_is_sealed_comes_back_and_is_proved(tmp_path: Path) -> None:
    archive = open_archive(tmp_path, "")
    blob = archive.seal(_MAIL, media_type="message/rfc822")
    (file,) = _stored(tmp_path)
    assert file.name == blob.name
    assert file.stat().st_size == blob.stored_size
    assert file.stat().st_mode & 0o777 == 0o600
    assert blob.plain_size == len(_MAIL)
    assert archive.read(blob) == _MAIL
    assert archive.check(blob) == ""
    assert _MAIL[20:60] not in file.read_bytes()


@pytest.mark.parametrize("size", [0, 1, FRAME - 1, FRAME, FRAME + 1, 3 * FRAME])
def test_the_rest_of_a_blob_can_be_read_at_once_from_anywhere(tmp_path: Path, size: int) -> None:
    archive, content = open_archive(tmp_path, ""), os.urandom(size)
    blob = archive.seal(content, media_type="text/plain")
    for start in {0, 1, size // 2, size, size + 10, FRAME}:
        reader = archive.open(blob)
        reader.seek(start)
        assert reader.readall() == content[start:]
        assert reader.read(1) == b""


def test_folders_are_private(tmp_path: Path) -> None:
    open_archive(tmp_path, "").seal(b"x", media_type="text/plain")
    folders = [path for path in (tmp_path / "blobs").rglob("*") if path.is_dir()]
    assert len(folders) == 3
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "blobs", *folders)} == {0o700}


def test_the_same_bytes_twice_are_two_blobs(tmp_path: Path) -> None:
    archive = open_archive(tmp_path, "")
    one, two = (archive.seal(b"same", media_type="text/plain") for _ in range(2))
    assert one.name != two.name
    assert one.salted_digest != two.salted_digest
    assert archive.fingerprint(b"same") == open_archive(tmp_path, "").fingerprint(b"same")


class _Recorder:
    """The order in which names and bytes are made durable."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.steps: list[tuple[str, str]] = []
        real_fsync, real_link = os.fsync, os.link

        def fsync(descriptor: int) -> None:
            path = Path(f"/proc/self/fd/{descriptor}").resolve()
            self.steps.append(("sync", str(path.relative_to(root))))
            real_fsync(descriptor)

        def link(source: Path, target: Path) -> None:
            self.steps.append(("link", str(target.relative_to(root))))
            real_link(source, target)

        monkeypatch.setattr(os, "fsync", fsync)
        monkeypatch.setattr(os, "link", link)


def test_bytes_then_name_then_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = open_archive(tmp_path, "")
    recorder = _Recorder(tmp_path / "blobs", monkeypatch)
    name = archive.seal(_MAIL, media_type="message/rfc822").name
    one, two = name[:2], f"{name[:2]}/{name[2:4]}"
    assert recorder.steps[0][1].startswith("incoming/")
    assert recorder.steps[1:] == [("sync", "."), ("sync", one), ("link", f"{two}/{name}"), ("sync", two)]


def test_a_folder_that_somebody_else_made_is_synced_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever made it may have been killed before it could sync the name."""
    archive = open_archive(tmp_path, "")
    for number in range(256):
        (tmp_path / "blobs" / f"{number:02x}").mkdir(mode=0o700)
    recorder = _Recorder(tmp_path / "blobs", monkeypatch)
    name = archive.seal(_MAIL, media_type="message/rfc822").name
    assert [step for step in recorder.steps[1:] if step[0] == "sync"] == [
        ("sync", "."),
        ("sync", name[:2]),
        ("sync", f"{name[:2]}/{name[2:4]}"),
    ]


@pytest.mark.parametrize("failing", ["write", "fsync", "link"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
def test_a_full_or_broken_disk_leaves_nothing(
    failing: str, number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = open_archive(tmp_path, "")

    def fail(*arguments: object) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, failing, fail)
        with pytest.raises(ArchiveUnavailable, match=os.strerror(number)):
            archive.seal(_MAIL, media_type="message/rfc822")
    assert _stored(tmp_path) == []
    blob = archive.seal(_MAIL, media_type="message/rfc822")
    assert archive.read(blob) == _MAIL


def test_a_really_full_disk(tmp_path: Path) -> None:
    """A file may not grow past 64 KiB in the child: the kernel itself refuses (EFBIG) in the middle of a frame."""
    script = f"""
import os, pathlib, resource, signal
from agent.archive.blobs import open_archive
from agent.errors import ArchiveUnavailable
archive = open_archive(pathlib.Path({str(tmp_path)!r}), "")
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))
try:
    archive.seal(os.urandom(200_000), media_type="text/plain")
except ArchiveUnavailable as error:
    print("unavailable:", error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("unavailable: The archive cannot be written: File too large.")
    assert _stored(tmp_path) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small file system")
def test_a_small_file_system_that_is_full(tmp_path: Path) -> None:
    (tmp_path / "blobs").mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", tmp_path / "blobs"], check=False).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        archive = open_archive(tmp_path, "")
        kept = archive.seal(os.urandom(50_000), media_type="text/plain")
        with pytest.raises(ArchiveUnavailable, match="No space left"):
            archive.seal(os.urandom(500_000), media_type="text/plain")
        assert [path.name for path in _stored(tmp_path)] == [kept.name]
        archive.seal(os.urandom(50_000), media_type="text/plain")
    finally:
        subprocess.run(["umount", tmp_path / "blobs"], check=True)


def test_many_seals_at_once(tmp_path: Path) -> None:
    archive = open_archive(tmp_path, "")
    contents = [os.urandom(10_000) + bytes([number]) for number in range(64)]
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        blobs = list(pool.map(lambda content: archive.seal(content, media_type="text/plain"), contents))
    assert [archive.read(blob) for blob in blobs] == contents
    assert {path.name for path in _stored(tmp_path)} == {blob.name for blob in blobs}


def test_the_sweep_takes_what_a_crash_left_and_nothing_else(tmp_path: Path) -> None:
    archive = open_archive(tmp_path, "")
    blob = archive.seal(b"kept", media_type="text/plain")
    (tmp_path / "blobs" / "incoming" / "leftover").write_bytes(b"half of somethi")
    archive.sweep()
    assert [path.name for path in _stored(tmp_path)] == [blob.name]
    assert archive.read(blob) == b"kept"


def test_a_killed_writer_leaves_nothing_under_a_final_name(tmp_path: Path) -> None:
    open_archive(tmp_path, "")
    script = f"""
import os, pathlib, signal, threading
from agent.archive import blobs, local
archive = blobs.open_archive(pathlib.Path({str(tmp_path)!r}), "")
local.os.link = lambda *names: os.kill(os.getpid(), signal.SIGKILL)
archive.seal(os.urandom(200_000), media_type="text/plain")
"""
    done = subprocess.run([sys.executable, "-c", script], check=False)
    assert done.returncode == -9
    assert {path.parent.name for path in _stored(tmp_path)} == {"incoming"}
    open_archive(tmp_path, "").sweep()
    assert _stored(tmp_path) == []


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    archive = open_archive(tmp_path, "")
    blob = archive.seal(b"x" * 100, media_type="text/plain")
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(50):
        archive.read(blob)
        archive.check(blob)
        with pytest.raises(BlobMissing):
            archive.open(replace(blob, name="00" * 32))
    assert len(list(Path("/proc/self/fd").iterdir())) <= before + 1


def test_check_names_what_is_wrong(tmp_path: Path) -> None:
    archive = open_archive(tmp_path, "")
    blob = archive.seal(_MAIL, media_type="message/rfc822")
    (file,) = _stored(tmp_path)
    good = file.read_bytes()
    for bad in (good[:-1], good + b"x", good[:500] + bytes([good[500] ^ 1]) + good[501:], b""):
        file.write_bytes(bad)
        assert archive.check(blob) == "its stored bytes were changed"
    file.write_bytes(good)
    assert archive.check(blob) == ""
    file.unlink()
    assert archive.check(blob) == "it is missing"
    with pytest.raises(BlobMissing):
        archive.read(blob)


def test_check_finds_a_row_that_was_changed(tmp_path: Path) -> None:
    archive = open_archive(tmp_path, "")
    blob = archive.seal(_MAIL, media_type="message/rfc822")
    other = archive.seal(_MAIL, media_type="message/rfc822")
    assert archive.check(replace(blob, salted_digest=other.salted_digest)) != ""
    assert archive.check(replace(blob, wrapped_key=other.wrapped_key)) != ""
    assert archive.check(replace(blob, wrapped_key=bytes(72))) != ""
    assert archive.check(replace(blob, plain_size=65536)) != ""
    assert archive.check(replace(blob, plain_size=blob.plain_size - 1)) != ""
    assert archive.check(replace(blob, name=other.name)) != ""


def test_an_erased_blob_still_checks_but_never_opens(tmp_path: Path) -> None:
    archive = open_archive(tmp_path, "")
    erased = replace(archive.seal(_MAIL, media_type="message/rfc822"), wrapped_key=None)
    assert archive.check(erased) == ""
    with pytest.raises(BlobErased):
        archive.open(erased)


def test_an_unreadable_disk_is_no_missing_blob(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = open_archive(tmp_path, "")
    blob = archive.seal(b"x", media_type="text/plain")

    def fail(*arguments: object) -> bytes:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "pread", fail)
    with pytest.raises(ArchiveUnavailable, match="cannot be read"):
        archive.read(blob)


# --- Buckets --------------------------------------------------------------------------------------------------------


@pytest.fixture
def bucket(tmp_path: Path) -> Archive:
    return Archive(BucketStorage("memory:///"), KeyRing.open_or_create(tmp_path / "keys"))


@pytest.mark.parametrize("size", [0, 1, 65536, 65537, 6 * 1024 * 1024])
def test_a_bucket_gives_it_back(bucket: Archive, size: int) -> None:
    plain = os.urandom(size)
    blob = bucket.seal(io.BytesIO(plain), media_type="audio/flac")
    assert bucket.read(blob) == plain
    assert bucket.check(blob) == ""
    with bucket.open(blob) as reader:
        reader.seek(size // 2)
        assert reader.read(1000) == plain[size // 2 : size // 2 + 1000][: 65536 - (size // 2) % 65536]


def test_a_bucket_says_what_is_missing(bucket: Archive, tmp_path: Path) -> None:
    blob = bucket.seal(b"x", media_type="text/plain")
    elsewhere = Archive(BucketStorage("memory:///"), KeyRing.open_or_create(tmp_path / "keys"))
    with pytest.raises(BlobMissing):
        elsewhere.open(blob)
    assert elsewhere.check(blob) == "it is missing"


def test_an_empty_bucket_is_told_from_a_used_one() -> None:
    storage = BucketStorage("memory:///")
    assert storage.is_empty()
    archive = Archive(storage, KeyRing(Path("/nonexistent"), {1: bytes(32)}))
    archive.seal(b"x", media_type="text/plain")
    assert not storage.is_empty()


def test_a_bucket_that_does_not_answer_is_unavailable(
    bucket: Archive, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    blob = bucket.seal(b"x", media_type="text/plain")
    reader = bucket.open(blob)

    def fail(*arguments: object, **more: object) -> None:
        raise RuntimeError("connection refused")

    for name in ("put", "head", "get_range", "list"):
        monkeypatch.setattr(f"agent.archive.blobs.obstore.{name}", fail)
    with pytest.raises(ArchiveUnavailable, match="connection refused"):
        bucket.seal(b"y", media_type="text/plain")
    with pytest.raises(ArchiveUnavailable, match="connection refused"):
        bucket.open(blob)
    with pytest.raises(ArchiveUnavailable, match="connection refused"):
        reader.read(1)
    with pytest.raises(ArchiveUnavailable, match="connection refused"):
        BucketStorage("memory:///").is_empty()


def test_an_altered_object_is_found(tmp_path: Path) -> None:
    """Two storages under one name: what lies there is not what was put."""
    archive = Archive(LocalStorage(tmp_path / "blobs"), KeyRing.open_or_create(tmp_path / "keys"))
    blob: SealedBlob = archive.seal(b"x" * 1000, media_type="text/plain")
    (file,) = _stored(tmp_path)
    file.write_bytes(file.read_bytes()[:-1] + b"\0\0")
    with pytest.raises(BlobAltered):
        archive.read(blob)
