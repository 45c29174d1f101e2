"""How a Whisper model wants to be asked; a file ``cardline.json`` in its directory says what differs from the usual."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path

from agent.errors import ModelUnavailable

HABITS_FILE = "cardline.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Habits:
    """What a model's training allows.

    ``join_seconds``: speech joined in a window, at most 25; 0: one stretch a window. ``timestamps``: let the model
    write times. ``word_times``: its word times are worth having. ``temperatures``: tried one after the other while
    the text repeats itself or is improbable. ``short_windows``: it may be given windows as short as their sound, which
    cost a fraction; a Whisper as OpenAI trained them has only ever heard 30 s and begins to repeat itself. ``hints``:
    it has learnt to read names and words before it hears; one that has not takes them for what was said.
    """

    join_seconds: float = 25.0
    timestamps: bool = True
    word_times: bool = True
    beam_size: int = 5
    temperatures: tuple[float, ...] = (0.0, 0.2, 0.4, 0.6)
    short_windows: bool = False
    hints: bool = True


def read_habits(directory: Path) -> Habits:
    """The habits of the model in a directory.

    Raises:
        ModelUnavailable: the file is there and cannot be understood.
    """
    path = directory / HABITS_FILE
    try:
        given = json.loads(path.read_bytes())
        known = {field.name: given[field.name] for field in fields(Habits) if field.name in given}
        if "temperatures" in known:
            known["temperatures"] = tuple(map(float, known["temperatures"])) or (0.0,)
        return Habits(**known)
    except FileNotFoundError:
        return Habits()
    except (OSError, ValueError, TypeError) as error:
        raise ModelUnavailable(f"{path} cannot be read ({error}).", remedy="Correct or remove that file.") from error
