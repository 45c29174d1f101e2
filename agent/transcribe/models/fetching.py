"""Where a speech model lies: built in, in a directory, or fetched once into ``<data_dir>/models/<name>``.

That folder is also where an administrator puts a model by hand. What was fetched has a manifest with the checksum of
each file: a file that is missing, or was changed, is named and fetched anew. Nothing is ever written into a home
folder. With ``HF_HUB_OFFLINE=1`` in the environment nothing is fetched: only what lies there already is used.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeAlias

import structlog

from agent.errors import ModelUnavailable
from agent.transcribe.models import hub, manifest
from agent.transcribe.models.catalogue import KNOWN, Kind, is_fetchable, needed, repository_of
from agent.transcribe.models.manifest import Entry, Manifest

log = structlog.get_logger()

TINY_DEMO = "tiny-demo"
_BUILT_IN = Path(__file__).parent
_NEEDED = ("config.json", "model.bin", "tokenizer.json")  # without tokenizer.json one would be fetched for every start
_SPARE_BYTES = 256 * 1024**2  # a disk is never filled to its last byte with a model: calls are recorded on it
_LOG_STEPS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How much of a model is here: ``done`` of ``total`` bytes, just now of ``file``."""

    model: str
    file: str
    done: int
    total: int


Tell: TypeAlias = Callable[[Progress], None]


def find_model(name: str, *, data_dir: Path, thorough: bool = False) -> Path:
    """The directory of a model that is on this machine already. Blocks, but never for the network.

    ``name`` is a short name (``small``, ``gigaam-v3-ctc``), a hub name (``owner/name``), a directory or `TINY_DEMO`.
    ``thorough`` reads all of a fetched model and compares checksums.

    Raises:
        ModelUnavailable: it is not on this machine, or not whole; the remedy says how to get it.
    """
    hub.keep_out_of_home(_folder(data_dir) / ".hub")  # before an engine imports the hub's client
    if name == TINY_DEMO:
        return _whole(_BUILT_IN / TINY_DEMO)
    directory = Path(name).expanduser()
    if directory.is_dir():
        return _whole(directory)
    if not is_fetchable(name):
        raise ModelUnavailable(
            f"There is no speech model {name!r}.",
            remedy=f"Set transcribe.model to an existing model directory or to one of {', '.join(KNOWN)}.",
        )
    return _found(name, data_dir, thorough)


def fetch_model(name: str, *, data_dir: Path, full_precision: bool = False, tell: Tell | None = None) -> Path:
    """The directory of a model, fetched from the hub as far as it is not on this machine. Blocks, maybe for hours.

    What was fetched before is checked byte for byte. ``full_precision`` takes the larger files of an ONNX model, for
    a GPU. Whoever comes while another process fetches the same model waits for it.

    Raises:
        ModelUnavailable: it cannot be had now.
    """
    try:
        return find_model(name, data_dir=data_dir, thorough=True)
    except ModelUnavailable as error:
        if not is_fetchable(name) or Path(name).expanduser().is_dir() or _is_by_hand(name, data_dir):
            raise
        if hub.is_offline():
            raise _missing(name, data_dir, f"{error.what} HF_HUB_OFFLINE forbids fetching it.") from None
    try:
        with _alone(name, data_dir):
            try:
                return _fetched(name, data_dir, full_precision, tell or _Logged())
            finally:
                _give_to_service(data_dir)
    except ModelUnavailable as error:
        raise _missing(name, data_dir, error.what) from error
    except OSError as error:
        raise _missing(name, data_dir, f"It cannot be written: {error}.") from error


def kind_of(directory: Path) -> Kind:
    """Which engine runs a model: one converted to CTranslate2 has a model.bin, the others are ONNX graphs."""
    return "whisper" if (directory / "model.bin").is_file() else "onnx"


def models_on_disk(data_dir: Path) -> list[str]:
    """Names of the models below ``data_dir`` that are whole, and of the one that is built in."""
    found = [TINY_DEMO]
    folder = _folder(data_dir)
    for directory in sorted(folder.iterdir()) if folder.is_dir() else ():
        name = directory.name.replace("--", "/", 1)
        if directory.is_dir() and is_fetchable(name):
            try:
                find_model(name, data_dir=data_dir)
            except ModelUnavailable:
                continue
            found.append(name)
    return found


def _found(name: str, data_dir: Path, thorough: bool) -> Path:
    directory = _place(name, data_dir)
    written = manifest.read(directory)
    if written is None:
        if directory.is_dir():
            return _whole(directory)
        if (cached := _in_cache_of_hub(name, data_dir)) is not None:
            return cached
        raise _missing(name, data_dir, "It was not fetched yet.")
    wrong = manifest.broken(directory, written, thorough=thorough)
    if wrong and written.is_complete:
        log.warning("speech_model_broken", model=name, files=wrong)
        trouble = "; ".join(f"{file}: {why}" for file, why in wrong.items())
        raise _missing(name, data_dir, f"It is broken: {trouble}.")
    if not written.is_complete:
        raise _missing(name, data_dir, "It was fetched in part only.")
    return _whole(directory)


def _fetched(name: str, data_dir: Path, full_precision: bool, tell: Tell) -> Path:
    try:
        return find_model(name, data_dir=data_dir, thorough=True)  # another process was faster
    except ModelUnavailable:
        directory = _place(name, data_dir)
    repository = repository_of(name)
    listing = hub.list_files(repository)
    chosen = set(needed(name, [one.path for one in listing.files], full_precision=full_precision))
    files = [one for one in listing.files if one.path in chosen]
    if not files:
        raise ModelUnavailable(f"The repository {repository} holds no speech model for this program.")
    directory.mkdir(parents=True, exist_ok=True)
    missing = [one for one in files if not one.is_at(directory / one.path)]
    _check_room(directory, missing)
    begun = Manifest(
        repository=repository,
        revision=listing.revision,
        is_complete=False,
        files={one.path: Entry(size=one.size, sha256=one.sha256) for one in files},
    )
    manifest.write(directory, begun)
    total, here = sum(one.size for one in files), sum(one.size for one in files if one not in missing)
    for one in missing:
        (directory / one.path).unlink(missing_ok=True)
        counted = partial(_tell_bytes, tell, Progress(model=name, file=one.path, done=here, total=total))
        hub.download(repository, listing.revision, one, directory / one.path, counted)
        here += one.size
    _finish(directory, begun)
    log.info("speech_model_fetched", model=name, megabytes=total // 10**6, revision=listing.revision)
    return _whole(directory)


def _tell_bytes(tell: Tell, before: Progress, done: int) -> None:
    tell(replace(before, done=before.done + done))


def _finish(directory: Path, begun: Manifest) -> None:
    """Note the checksums of all files, and remove what is left over of earlier tries."""
    files: Mapping[str, Entry] = {
        name: replace(entry, sha256=entry.sha256 or manifest.sha256_of(directory / name))
        for name, entry in begun.files.items()
    }
    manifest.write(directory, replace(begun, files=files, is_complete=True))
    for part in directory.glob("*.part"):
        part.unlink()


def _check_room(directory: Path, missing: list[hub.HubFile]) -> None:
    begun = sum(part.stat().st_size for part in directory.glob("*.part"))
    want = sum(one.size for one in missing) - begun + _SPARE_BYTES
    free = shutil.disk_usage(directory).free
    if free < want:
        raise ModelUnavailable(
            f"The disk of {directory} has {free / 1e9:.1f} GB free, and the speech model needs {want / 1e9:.1f} GB."
        )


@contextmanager
def _alone(name: str, data_dir: Path) -> Iterator[None]:
    """Held while a model is fetched, by one process at a time; a killed one lets go of it."""
    folder = _folder(data_dir)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f".{_place(name, data_dir).name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _give_to_service(data_dir: Path) -> None:
    """What root has fetched belongs to the user of the data directory: it is he who fetches more of it."""
    if os.geteuid() == 0:
        owner = data_dir.stat()
        for path in (_folder(data_dir), *_folder(data_dir).rglob("*")):
            os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)


class _Logged:
    """Writes progress into the log, a line for each twentieth."""

    def __init__(self) -> None:
        self._step = -1

    def __call__(self, now: Progress) -> None:
        step = now.done * _LOG_STEPS // max(1, now.total)
        if step != self._step:
            self._step = step
            log.info(
                "speech_model_fetching",
                model=now.model,
                file=now.file,
                megabytes=now.done // 10**6,
                of_megabytes=now.total // 10**6,
            )


def _folder(data_dir: Path) -> Path:
    return data_dir / "models"


def _place(name: str, data_dir: Path) -> Path:
    return _folder(data_dir) / name.replace("/", "--")


def _is_by_hand(name: str, data_dir: Path) -> bool:
    """Whether somebody put this model there himself: nothing of his is overwritten."""
    directory = _place(name, data_dir)
    return directory.is_dir() and any(directory.iterdir()) and manifest.read(directory) is None


def _in_cache_of_hub(name: str, data_dir: Path) -> Path | None:
    """A model in the layout of the hub's own client, as earlier versions kept it or it was copied from elsewhere."""
    cache = _folder(data_dir) / f"models--{repository_of(name).replace('/', '--')}"
    try:
        return _whole(cache / "snapshots" / (cache / "refs" / "main").read_text().strip())
    except (OSError, ModelUnavailable):
        return None


def _whole(directory: Path) -> Path:
    """The directory itself, if nothing is missing in it.

    Raises:
        ModelUnavailable: a file is missing; the text names it.
    """
    if any(directory.glob("*.onnx")) and not (directory / "model.bin").exists():
        return directory  # which of them make a model is known to its engine
    missing = [name for name in _NEEDED if not (directory / name).is_file()]
    if not missing:
        return directory
    raise ModelUnavailable(
        f"The speech model in {directory} is not whole: {', '.join(missing)} missing.",
        remedy="Put the missing files there (a Whisper model converted to CTranslate2, with its tokenizer.json, or an "
        "ONNX model), or name another in transcribe.model.",
    )


def _missing(name: str, data_dir: Path, why: str) -> ModelUnavailable:
    prefix = f"The speech model {name} is not on this machine: "
    return ModelUnavailable(why if why.startswith(prefix) else prefix + why, remedy=_how_to_get(name, data_dir))


def _how_to_get(name: str, data_dir: Path) -> str:
    return (
        "Calls are kept and their transcripts wait. It is fetched by itself once there is internet, or by `cardline "
        f"model fetch`; else copy the files of {repository_of(name)} into {_place(name, data_dir)}, or name a model "
        "directory in transcribe.model."
    )
