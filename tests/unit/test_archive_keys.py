"""Master keys: private files, whole or not there, and never made anew over an archive that needs the old ones."""

from __future__ import annotations

import io
import os
import re
import threading
from pathlib import Path

import pytest

from agent.archive import keys as keys_module
from agent.archive.blobs import open_archive
from agent.archive.keys import KeyRing
from agent.errors import BlobAltered, MasterKeyMissing, Misconfigured


def test_the_first_start_makes_one_private_key(tmp_path: Path) -> None:
    ring = KeyRing.open_or_create(tmp_path / "data" / "keys")
    (file,) = (tmp_path / "data" / "keys").iterdir()
    assert file.name == "master-0001.key"
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700
    assert ring.current == 1


def test_the_second_start_reads_the_same_key(tmp_path: Path) -> None:
    wrapped = KeyRing.open_or_create(tmp_path).wrap(b"12345678" * 8)
    assert KeyRing.open_or_create(tmp_path).unwrap(1, wrapped) == b"12345678" * 8


def test_two_processes_at_the_first_start_end_up_with_one_key(tmp_path: Path) -> None:
    rings: list[KeyRing] = []
    barrier = threading.Barrier(8)

    def start() -> None:
        barrier.wait()
        rings.append(KeyRing.open_or_create(tmp_path / "keys"))

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({ring.export() for ring in rings}) == 1
    assert rings[0].export() == KeyRing.open_or_create(tmp_path / "keys").export()


@pytest.mark.parametrize("cut_at", ["open", "write", "fsync", "rename", "sync_folder"])
def test_a_power_cut_while_a_key_is_made(cut_at: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class PowerCut(BaseException):
        pass

    def cut(*arguments: object, **more: object) -> None:
        raise PowerCut

    with monkeypatch.context() as patch:
        if cut_at == "open":
            patch.setattr(os, "fdopen", cut)
        elif cut_at == "write":

            def half(descriptor: int, mode: str) -> None:
                os.write(descriptor, b"abc")
                cut()

            patch.setattr(os, "fdopen", half)
        elif cut_at == "fsync":
            real = os.fsync

            def second(descriptor: int) -> None:
                if Path(f"/proc/self/fd/{descriptor}").is_file():
                    cut()
                real(descriptor)

            patch.setattr(os, "fsync", second)
        elif cut_at == "rename":
            patch.setattr(Path, "rename", cut)
        else:
            (tmp_path / "keys").mkdir(mode=0o700)
            patch.setattr(keys_module, "sync_folder", cut)
        with pytest.raises(PowerCut):
            KeyRing.open_or_create(tmp_path / "keys")
    ring = KeyRing.open_or_create(tmp_path / "keys")
    assert re.fullmatch(r"master-0001\.key [0-9a-f]{64}\n", ring.export())
    assert ring.export() == KeyRing.open_or_create(tmp_path / "keys").export()


def test_a_key_is_on_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []
    real_fsync, real_rename = os.fsync, Path.rename

    def fsync(descriptor: int) -> None:
        steps.append(f"sync {Path(f'/proc/self/fd/{descriptor}').resolve().relative_to(tmp_path)}")
        real_fsync(descriptor)

    def rename(path: Path, target: Path) -> Path:
        steps.append(f"name {target.relative_to(tmp_path)}")
        return real_rename(path, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "rename", rename)
    KeyRing.open_or_create(tmp_path / "keys")
    assert steps == ["sync .", "sync keys/master-0001.partial", "name keys/master-0001.key", "sync keys"]


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    KeyRing.open_or_create(tmp_path)
    (tmp_path / "master-0001.key").chmod(0o640)
    with pytest.raises(Misconfigured, match="chmod 600"):
        KeyRing.open_or_create(tmp_path)


@pytest.mark.parametrize("text", ["", "zz", "00" * 31, "00" * 33, "ключ"])
def test_a_damaged_key_is_refused(text: str, tmp_path: Path) -> None:
    KeyRing.open_or_create(tmp_path)
    (tmp_path / "master-0001.key").write_text(text)
    with pytest.raises(Misconfigured, match="is damaged"):
        KeyRing.open_or_create(tmp_path)


def test_a_key_that_is_no_text_is_damaged_too(tmp_path: Path) -> None:
    KeyRing.open_or_create(tmp_path)
    (tmp_path / "master-0001.key").write_bytes(b"\xff\xfe\x00" * 20)
    with pytest.raises(Misconfigured, match="is damaged"):
        KeyRing.open_or_create(tmp_path)


def test_a_stray_file_is_named(tmp_path: Path) -> None:
    KeyRing.open_or_create(tmp_path)
    stray = tmp_path / "master-copy.key"
    stray.write_text("x")
    stray.chmod(0o600)
    with pytest.raises(Misconfigured, match=r"master-copy\.key is no key file"):
        KeyRing.open_or_create(tmp_path)


def _add_key(folder: Path, number: int) -> None:
    file = folder / f"master-{number:04d}.key"
    file.write_text(os.urandom(32).hex())
    file.chmod(0o600)


def test_a_second_key_wraps_and_the_first_still_opens(tmp_path: Path) -> None:
    archive = open_archive(tmp_path, "")
    old = archive.seal(b"old", media_type="text/plain")
    mark = archive.fingerprint(b"old")
    _add_key(tmp_path / "keys", 2)
    archive = open_archive(tmp_path, "")
    new = archive.seal(b"new", media_type="text/plain")
    assert (old.master_key, new.master_key) == (1, 2)
    assert archive.read(old) + archive.read(new) == b"oldnew"
    assert archive.fingerprint(b"old") == mark


def test_a_missing_key_is_called_missing_and_its_return_mends_all(tmp_path: Path) -> None:
    archive = open_archive(tmp_path, "")
    _add_key(tmp_path / "keys", 2)
    blob = open_archive(tmp_path, "").seal(b"x", media_type="text/plain")
    saved = (tmp_path / "keys" / "master-0002.key").rename(tmp_path / "saved")
    with pytest.raises(MasterKeyMissing, match="Master key 2"):
        open_archive(tmp_path, "").read(blob)
    with pytest.raises(MasterKeyMissing):
        archive.read(blob)
    saved.rename(tmp_path / "keys" / "master-0002.key")
    assert open_archive(tmp_path, "").read(blob) == b"x"


def test_a_wrong_key_is_no_missing_key(tmp_path: Path) -> None:
    blob = open_archive(tmp_path, "").seal(b"x", media_type="text/plain")
    (tmp_path / "keys" / "master-0001.key").write_text("11" * 32)
    with pytest.raises(BlobAltered, match="master key 1"):
        open_archive(tmp_path, "").read(blob)


def test_no_new_key_is_made_over_an_archive_whose_key_is_lost(tmp_path: Path) -> None:
    archive = open_archive(tmp_path, "")
    blob = archive.seal(io.BytesIO(b"x"), media_type="text/plain")
    saved = (tmp_path / "keys" / "master-0001.key").rename(tmp_path / "saved")
    with pytest.raises(MasterKeyMissing, match="no master key"):
        open_archive(tmp_path, "")
    assert list((tmp_path / "keys").iterdir()) == []
    saved.rename(tmp_path / "keys" / "master-0001.key")
    assert open_archive(tmp_path, "").read(blob) == b"x"


def test_the_check_code_confirms_exactly_these_keys(tmp_path: Path) -> None:
    ring = KeyRing.open_or_create(tmp_path)
    assert not ring.is_confirmed
    with pytest.raises(Misconfigured, match="not that of these keys"):
        ring.confirm("00000000" if ring.check_code() != "00000000" else "11111111")
    assert not ring.is_confirmed
    ring.confirm(f"  {ring.check_code().upper()}\n")
    assert KeyRing.open_or_create(tmp_path).is_confirmed
    _add_key(tmp_path, 2)
    assert not KeyRing.open_or_create(tmp_path).is_confirmed


def test_a_code_that_is_no_ascii_is_only_wrong(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="not that of these keys"):
        KeyRing.open_or_create(tmp_path).confirm("код")


def test_keys_for_other_purposes_differ(tmp_path: Path) -> None:
    ring = KeyRing.open_or_create(tmp_path)
    assert len({ring.derive(b"fingerprint"), ring.derive(b"cookies"), bytes.fromhex(ring.export().split()[1])}) == 3
