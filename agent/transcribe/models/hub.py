"""The hub that speech models are fetched from (huggingface.co, or a mirror of it named by HF_ENDPOINT).

The only file that imports huggingface_hub. What is there, with sizes and checksums, and who may read it, is asked by
that client; the bytes are fetched here, because it throws away what it has when a line breaks or the service stops,
and a model is up to 3 GB.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import sleep
from typing import Any

import structlog

from agent.errors import ModelUnavailable
from agent.transcribe.models.manifest import blob_id_of, sha256_of

log = structlog.get_logger()

_ASK_SECONDS = 10.0
_READ_SECONDS = 30.0  # without a byte, after which the line counts as broken
_ATTEMPTS = 5  # without a byte of progress
_PARTIAL = 206
_TRY_AGAIN = {408, 429}


@dataclass(frozen=True, slots=True, kw_only=True)
class HubFile:
    """A file at the hub: its size in bytes and either the SHA-256 of its bytes or, for small ones, git's name."""

    path: str
    size: int
    sha256: str
    blob_id: str

    def is_at(self, path: Path) -> bool:
        """Whether a file has exactly these bytes."""
        if not path.is_file() or path.stat().st_size != self.size:
            return False
        return sha256_of(path) == self.sha256 if self.sha256 else blob_id_of(path) == self.blob_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """All files of a repository at one commit."""

    revision: str
    files: tuple[HubFile, ...]


def keep_out_of_home(folder: Path) -> None:
    """Make the hub's client keep its files in ``folder``; it reads the environment once, when it is imported."""
    os.environ.setdefault("HF_HOME", str(folder))
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")


def is_offline() -> bool:
    """Whether the environment forbids to ask the hub for anything."""
    return any(
        os.environ.get(name, "").upper() in {"1", "ON", "YES", "TRUE"}
        for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
    )


def list_files(repository: str) -> Listing:
    """What a repository has. Blocks for at most some seconds.

    Raises:
        ModelUnavailable: there is no such repository, one may not read it, or the hub does not answer.
    """
    from huggingface_hub import HfApi

    try:
        found = HfApi(endpoint=_endpoint()).model_info(repository, files_metadata=True, timeout=_ASK_SECONDS)
        files = tuple(_file(one) for one in found.siblings or () if "/" not in one.rfilename)
        return Listing(revision=str(found.sha), files=files)
    except Exception as error:  # the client has a tree of errors of its own, and httpx2, OSError, ValueError
        raise ModelUnavailable(f"The hub gives no list of {repository}: {_in_words(error)}.") from error


def download(repository: str, revision: str, file: HubFile, target: Path, tell: Callable[[int], None]) -> None:
    """Fetch a file to ``target``; ``tell`` is told how many of its bytes are here. Blocks, maybe for hours.

    What is here already of the same bytes is kept under another name in the same folder, and a later call goes on
    from there.

    Raises:
        ModelUnavailable: the hub refuses it, the line breaks again and again, or other bytes came twice.
        OSError: the disk is full or may not be written.
    """
    part = target.with_name(f"{target.name}.{(file.sha256 or file.blob_id)[:12]}.part")
    for last_chance in (False, True):
        _fetch_rest(repository, revision, file, part, tell)
        if file.is_at(part):
            with part.open("rb+") as whole:
                os.fsync(whole.fileno())
            part.replace(target)
            return
        part.unlink()
        log.warning("speech_model_file_wrong", repository=repository, file=file.path, given_up=last_chance)
    raise ModelUnavailable(f"{file.path} of {repository} came twice with a wrong checksum.")


def _fetch_rest(repository: str, revision: str, file: HubFile, part: Path, tell: Callable[[int], None]) -> None:
    """Append to ``part`` what is missing, and try again where the line breaks, unless nothing comes any more."""
    fruitless = 0
    while not part.exists() or _size(part) < file.size:
        before = _size(part)
        tell(before)
        try:
            _stream(repository, revision, file, part, tell)
        except Exception as error:  # whatever the HTTP client calls a broken line
            if _is_final(error):
                raise
            fruitless = 0 if _size(part) > before else fruitless + 1
            if fruitless >= _ATTEMPTS:
                what = f"{file.path} of {repository} cannot be fetched: {_in_words(error)}."
                raise ModelUnavailable(what) from error
            log.info("speech_model_line_broken", file=file.path, bytes=_size(part), of=file.size)
            sleep(min(0.2 * 2**fruitless, 5.0))
    tell(file.size)


def _is_final(error: Exception) -> bool:
    """Whether trying again at once is of no use: the hub refuses, or the disk does."""
    is_disk = isinstance(error, OSError) and not isinstance(error, ConnectionError | TimeoutError)
    return is_disk or isinstance(error, ModelUnavailable)


class _HubInTrouble(Exception):
    """The hub answers, but cannot serve just now."""


def _stream(repository: str, revision: str, file: HubFile, part: Path, tell: Callable[[int], None]) -> None:
    """One answer of the hub, as far as it goes."""
    from huggingface_hub import get_session, get_token, hf_hub_url

    have, token = _size(part), get_token()  # of HF_TOKEN, where a repository is not for everybody
    headers = {"Accept-Encoding": "identity"}
    headers |= {"Range": f"bytes={have}-"} if have else {}
    headers |= {"Authorization": f"Bearer {token}"} if token else {}
    url = hf_hub_url(repository, file.path, revision=revision, endpoint=_endpoint())
    with get_session().stream("GET", url, headers=headers, timeout=_READ_SECONDS) as response, part.open("ab") as sink:
        _check_status(response.status_code)
        if response.status_code != _PARTIAL:  # it cannot go on in the middle
            have = 0
            sink.truncate(0)
        for block in response.iter_bytes():  # as they come: none is lost when the line breaks
            have += sink.write(block)
            tell(min(have, file.size))
            if have > file.size:
                return
    if have < file.size:
        raise _HubInTrouble("it ended too early")


def _check_status(status: int) -> None:
    if status in {200, _PARTIAL}:
        return
    if status >= 500 or status in _TRY_AGAIN:
        raise _HubInTrouble(f"it answers {status}")
    raise ModelUnavailable(f"The hub refuses a file of the speech model: it answers {status}.")


def _endpoint() -> str | None:
    """The mirror that the environment names; None: the hub itself."""
    return os.environ.get("HF_ENDPOINT", "").rstrip("/") or None


def _file(told: Any) -> HubFile:
    lfs = told.lfs
    return HubFile(
        path=str(told.rfilename),
        size=int(lfs.size if lfs else told.size),
        sha256=str(lfs.sha256) if lfs else "",
        blob_id=str(told.blob_id or ""),
    )


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _in_words(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__
