"""A folder of recordings as it lies on the disk: which files are one recording, and which of them to take. Blocks."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from agent.sip.imports.names import split_side
from agent.sound.containers import SUFFIXES

OTHER_FORMAT = "the same recording is there in another format"
NO_SOUND_FILE = "no sound file"
_BEST = ("wav", "flac", "w64", "sln16", "sln")  # of one recording in several formats; then the largest


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundFile:
    """One file. ``side`` is 0 for what the recorded channel said, 1 for what it heard, None for both."""

    path: Path
    stem: str
    side: int | None
    suffix: str
    size: int
    modified_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """One recording: a file, or one a party. ``path`` is its name within the folder, without side and ending."""

    path: bytes
    stem: str
    files: tuple[FoundFile, ...]

    @property
    def size(self) -> int:
        """Of all its files, in bytes."""
        return sum(one.size for one in self.files)

    @property
    def modified_ns(self) -> int:
        """When the last of its files was last written, in nanoseconds since the epoch."""
        return max(one.modified_ns for one in self.files)

    @property
    def modified(self) -> datetime:
        """The same as a time."""
        return datetime.fromtimestamp(self.modified_ns / 1e9, UTC)

    @property
    def shown(self) -> str:
        """Its name for people and machines; what is no text in it is shown as the disk has it."""
        names = " + ".join(one.path.name for one in self.files)
        folder = Path(os.fsdecode(self.path)).parent
        return readable(str(folder / names))


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """A file that is no recording to take, and why."""

    path: str
    reason: str


def readable(name: str) -> str:
    """A file's name as text; names of older systems are most often in cp1251 here."""
    raw = os.fsencode(name)
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("cp1251", errors="replace")


def folders_of(root: Path) -> Iterator[Path]:
    """The folder and all folders in it; hidden ones and links are left out, so that none is walked twice. Those that
    may not be read come last: whoever looks into them is told so."""
    closed: list[Path] = []
    for name, subfolders, _ in os.walk(root, onerror=_note_closed(root, closed)):
        subfolders[:] = sorted((one for one in subfolders if not one.startswith(".")), reverse=True)
        yield Path(name)
    yield from closed


def look(root: Path, folder: Path) -> tuple[list[Unit], list[LeftOut]]:
    """The recordings of one folder, newest first.

    Raises:
        OSError: it cannot be read.
    """
    found: dict[str, list[FoundFile]] = defaultdict(list)
    left: list[LeftOut] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(".") or not entry.is_file(follow_symlinks=False):
                continue
            stem, _, suffix = entry.name.rpartition(".")
            if not stem or suffix.lower() not in SUFFIXES:
                left.append(LeftOut(path=readable(entry.name), reason=NO_SOUND_FILE))
                continue
            status = entry.stat(follow_symlinks=False)
            rest, side = split_side(stem)
            file = FoundFile(
                path=Path(entry.path),
                stem=stem,
                side=side,
                suffix=suffix,
                size=status.st_size,
                modified_ns=status.st_mtime_ns,
            )
            found[rest].append(file)
    units = [unit for rest, files in found.items() for unit in _units(root, folder, rest, files, left)]
    return sorted(units, key=lambda unit: unit.modified_ns, reverse=True), left


def _units(root: Path, folder: Path, rest: str, files: list[FoundFile], left: list[LeftOut]) -> Iterator[Unit]:
    """Of files that have all but side and ending in common: the pair, or each by itself."""
    sides = {side: _best([one for one in files if one.side == side], left) for side in (0, 1)}
    whole = _best([one for one in files if one.side is None], left)
    pair = tuple(one for one in sides.values() if one is not None)
    if len(pair) == 2:
        if whole is not None:
            left.append(LeftOut(path=readable(whole.path.name), reason=OTHER_FORMAT))
        yield _unit(root, folder, rest, pair)
        return
    for one in (*pair, whole):
        if one is not None:
            yield _unit(root, folder, one.stem, (one,))


def _unit(root: Path, folder: Path, stem: str, files: tuple[FoundFile, ...]) -> Unit:
    return Unit(path=os.fsencode((folder / stem).relative_to(root)), stem=stem, files=files)


def _best(files: Iterable[FoundFile], left: list[LeftOut]) -> FoundFile | None:
    """Of one recording in several formats the one that is nearest to what was said."""

    def rank(file: FoundFile) -> tuple[int, int]:
        return (_BEST.index(file.suffix) if file.suffix in _BEST else len(_BEST), -file.size)

    ordered = sorted(files, key=rank)
    left += [LeftOut(path=readable(one.path.name), reason=OTHER_FORMAT) for one in ordered[1:]]
    return ordered[0] if ordered else None


def _note_closed(root: Path, closed: list[Path]) -> Callable[[OSError], None]:
    """A folder that went away while we walked is no matter; the one that was named is."""

    def tell(error: OSError) -> None:
        if error.filename is None:
            return
        if Path(error.filename) == root:
            raise error
        if not isinstance(error, FileNotFoundError):
            closed.append(Path(error.filename))

    return tell
