"""Where the speech model lies: built in, in a directory, or fetched once into ``<data_dir>/models``.

Nothing is ever written into a home folder. With ``HF_HUB_OFFLINE=1`` in the environment nothing is fetched: only what
lies there already is used.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

import structlog

from agent.errors import ModelUnavailable
from agent.settings import Settings
from agent.transcribe import whisper

log = structlog.get_logger()

TINY_DEMO = "tiny-demo"
_BUILT_IN = Path(__file__).parent / "models"
_NEEDED = ("config.json", "model.bin", "tokenizer.json")  # without tokenizer.json one would be fetched for every start
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCheck:
    """For `cardline doctor`: whether the model is there, and what to do where it is not (empty: nothing)."""

    ok: bool
    what: str
    remedy: str = ""


def find_model(name: str, *, data_dir: Path) -> Path:
    """The directory of a model that is on this machine already. Blocks, but never for the network.

    ``name`` is a Whisper size (``small``), a hub name (``owner/name``), a directory or `TINY_DEMO`.

    Raises:
        ModelUnavailable: it is not on this machine, or not whole; the remedy says how to get it.
    """
    if name == TINY_DEMO:
        return _whole(_BUILT_IN / TINY_DEMO)
    whisper.keep_out_of_home(_folder(data_dir))
    directory = Path(name).expanduser()
    if directory.is_dir():
        return _whole(directory)
    if not _fetchable(name):
        raise ModelUnavailable(
            f"There is no speech model {name!r}.",
            remedy=f"Set transcribe.model to an existing model directory or to one of {', '.join(whisper.sizes())}.",
        )
    by_hand = _put_by_hand(name, data_dir)
    if by_hand.is_dir():
        return _whole(by_hand)
    try:
        return _whole(whisper.fetch(name, _folder(data_dir), offline=True))
    except ModelUnavailable:
        raise _missing(name, data_dir, "it was not fetched yet") from None


def fetch_model(name: str, *, data_dir: Path) -> Path:
    """The directory of a model, fetched from the hub if it is not on this machine. Blocks, maybe for minutes.

    Raises:
        ModelUnavailable: it cannot be had now.
    """
    try:
        return find_model(name, data_dir=data_dir)
    except ModelUnavailable:
        local = name == TINY_DEMO or Path(name).expanduser().is_dir() or _put_by_hand(name, data_dir).is_dir()
        if local or not _fetchable(name):
            raise
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}:
        raise _missing(name, data_dir, "HF_HUB_OFFLINE forbids fetching it")
    log.info("speech_model_fetching", model=name)
    try:
        _folder(data_dir).mkdir(parents=True, exist_ok=True)
        return _whole(whisper.fetch(name, _folder(data_dir), offline=False))
    except ModelUnavailable as error:
        raise ModelUnavailable(error.what, remedy=_how_to_get(name, data_dir)) from error
    except OSError as error:
        raise _missing(name, data_dir, str(error)) from error


def check_model(settings: Settings, *, fetch: bool = False) -> ModelCheck:
    """Say whether transcription has its model and whether it loads; with ``fetch`` it is brought here first. Blocks."""
    chosen = settings.transcribe.model
    if not settings.transcribe.enabled:
        return ModelCheck(ok=True, what="Transcription is switched off.")
    try:
        get = fetch_model if fetch else find_model
        directory = get(chosen, data_dir=settings.data_dir)
        whisper.WhisperEngine(directory, name=chosen).load()
    except ModelUnavailable as error:
        return ModelCheck(ok=False, what=error.what, remedy=error.remedy)
    note = " It understands only the phrases of the demo." if chosen == TINY_DEMO else ""
    return ModelCheck(ok=True, what=f"The speech model {chosen} is there and loads.{note}")


def _folder(data_dir: Path) -> Path:
    return data_dir / "models"


def _put_by_hand(name: str, data_dir: Path) -> Path:
    return _folder(data_dir) / name.replace("/", "--")


def _fetchable(name: str) -> bool:
    return bool(_HUB_NAME.fullmatch(name)) or name in whisper.sizes()


def _whole(directory: Path) -> Path:
    """The directory itself, if nothing is missing in it.

    Raises:
        ModelUnavailable: a file is missing; the text names it.
    """
    missing = [name for name in _NEEDED if not (directory / name).is_file()]
    if not missing:
        return directory
    raise ModelUnavailable(
        f"The speech model in {directory} is not whole: {', '.join(missing)} missing.",
        remedy="Put the missing files there (a Whisper model converted to CTranslate2, with its tokenizer.json), "
        "or name another in transcribe.model.",
    )


def _missing(name: str, data_dir: Path, why: str) -> ModelUnavailable:
    what = f"The speech model {name} is not on this machine: {why}."
    return ModelUnavailable(what, remedy=_how_to_get(name, data_dir))


def _how_to_get(name: str, data_dir: Path) -> str:
    return (
        "Calls are kept and their transcripts wait. It is fetched by itself once there is internet; else copy its "
        f"directory to {_put_by_hand(name, data_dir)} or name a model directory in transcribe.model."
    )
