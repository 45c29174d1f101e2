"""Proves what was handed out: the files of a manifest, the pieces of the chain they stand in, the seals of those.

Everything here comes from somebody else's hands: paths may not leave the folder, sizes are bounded, and nothing is
believed.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.archive.chainfile import HANDOUT_KIND, PROOF, fields_of, read_lines
from agent.archive.offline import Trust
from agent.archive.sealbook import SealBook, Witness
from agent.archive.statements import link_digest, statement_hash
from agent.errors import Unreadable

_MOST_MANIFEST = 256 * 1024 * 1024
_READ_BYTES = 1024 * 1024
_HASH = re.compile(rb"[0-9a-f]{64}")
_QUOTED = re.compile(rb"^>(>*From )", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class HandoutVerdict:
    """What holds of a manifest: ``proved`` items are covered by a seal, ``independent`` of them by one for which more
    speaks than the installation's own key. ``unproved`` came after the last seal; ``faults`` are in words."""

    items: int
    proved: int
    independent: int
    unproved: int
    last_seal: Witness | None
    faults: tuple[str, ...]
    seal_problems: tuple[str, ...]

    @property
    def holds(self) -> bool:
        """Whether nothing is wrong."""
        return not self.faults and not self.seal_problems


@dataclass(frozen=True, slots=True)
class _Proved:
    statement: Mapping[str, Any]
    witness: Witness


def verify_manifest(path: Path, trust: Trust) -> HandoutVerdict:
    """Prove the files of a manifest. Blocks.

    Raises:
        Unreadable: it is no manifest.
    """
    folder, fields = path.parent, _read(path)
    book = trust.book(folder)
    faults: list[str] = []
    chain = _walk(folder / PROOF, book, faults)
    proved, unproved = [], 0
    for item in fields["items"]:
        label = str(item.get("file"))[:200] if isinstance(item, dict) else "?"
        try:
            place = chain.get(item["sequence"])
            problem = _problem(folder, item, place)
            if place is None and item["sequence"] is not None and int(item["sequence"]) <= book.reach:
                problem = problem or "its link is not shown, though a seal covers it"
        except (KeyError, TypeError, ValueError, AttributeError, OSError):
            problem, place = "its entry in the manifest is broken", None
        if problem:
            faults.append(f"{label}: {problem}")
        elif place is None:
            unproved += 1
        else:
            proved.append(place.witness)
    faults += [f"{other.get('file')}: {problem}" for other in fields["others"] if (problem := _other(folder, other))]
    return HandoutVerdict(
        items=len(fields["items"]),
        proved=len(proved),
        independent=sum(book.is_independent(one) for one in proved),
        unproved=unproved,
        last_seal=max(proved, key=lambda one: one.seal.number, default=None),
        faults=tuple(faults),
        seal_problems=tuple(book.problems),
    )


def _read(path: Path) -> Mapping[str, Any]:
    try:
        if path.stat().st_size > _MOST_MANIFEST:
            raise Unreadable(f"{path} is too large to be a manifest.")
        fields = json.loads(path.read_bytes())
    except OSError as error:
        raise Unreadable(f"{path} cannot be read: {error.strerror}.", remedy="Name a manifest.json.") from None
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict) or fields.get("kind") != HANDOUT_KIND or fields.get("v") != 1:
        raise Unreadable(f"{path} is no manifest of Cardline.", remedy="Name the manifest.json of an export.")
    if not isinstance(fields.get("items"), list) or not isinstance(fields.get("others"), list):
        raise Unreadable(f"{path} lists nothing.", remedy="Name the manifest.json of an export.")
    fields["others"] = [one for one in fields["others"] if isinstance(one, dict)]
    return fields


def _walk(path: Path, book: SealBook, faults: list[str]) -> dict[int, _Proved]:
    """Statements by position, of those pieces that a good seal ends."""
    chain: dict[int, _Proved] = {}
    lines = read_lines(path)
    try:
        for line in lines:
            chain |= _proved_piece(fields_of(line), lines, book)
    except (KeyError, TypeError, ValueError):
        faults.append(f"{PROOF} is broken")
    except Unreadable as error:
        faults.append(error.what.rstrip("."))
    return chain


def _proved_piece(piece: Mapping[str, Any], lines: Iterator[bytes], book: SealBook) -> dict[int, _Proved]:
    after, until, head = int(piece["after"]), int(piece["until"]), bytes.fromhex(piece["head"])
    if not _is_known(book, after, head):
        raise Unreadable(f"The piece of the chain after link {after} begins at no seal.")
    found, digest = _piece(lines, after, until, head)
    witness = next((one for one in book.at(until) if one.seal.head == digest), None)
    if witness is None:
        raise Unreadable(f"The piece of the chain up to link {until} leads to no good seal.")
    return {sequence: _Proved(statement, witness) for sequence, statement in found.items()}


def _is_known(book: SealBook, after: int, head: bytes) -> bool:
    return (after == 0 and head == b"") or any(one.seal.head == head for one in book.at(after))


def _piece(lines: Iterator[bytes], after: int, until: int, digest: bytes) -> tuple[dict[int, Mapping[str, Any]], bytes]:
    found: dict[int, Mapping[str, Any]] = {}
    for sequence in range(after + 1, until + 1):
        line = next(lines, b"")
        if _HASH.fullmatch(line):
            hashed = bytes.fromhex(line.decode())
        else:
            hashed, found[sequence] = statement_hash(line), fields_of(line)
            if found[sequence].get("sequence") != sequence:
                raise Unreadable(f"The statement of link {sequence} stands in another's place.")
        digest = link_digest(digest, hashed)
    return found, digest


def _problem(folder: Path, item: Mapping[str, Any], place: _Proved | None) -> str:
    path = _inside(folder, item["file"])
    if path is None:
        return "it is missing"
    digest, salted = hashlib.sha256(), hashlib.sha256(bytes.fromhex(item["salt"]))
    for chunk in _chunks(path, item.get("offset"), item.get("length")):
        digest.update(chunk)
        salted.update(chunk)
    if digest.hexdigest() != item["sha256"]:
        return "it was changed since it was handed out"
    if place is not None and salted.hexdigest() != place.statement.get("salted"):
        return f"it is not what stands in the chain as link {item['sequence']}"
    if place is not None and item["source"] != place.statement.get("source"):
        return "its source is not the one that stands in the chain"
    return ""


def _chunks(path: Path, offset: int | None, length: int | None) -> Iterator[bytes]:
    """The bytes of an item; those of an mbox with its quoting undone."""
    with path.open("rb") as file:
        if offset is None or length is None:
            while chunk := file.read(_READ_BYTES):
                yield chunk
            return
        file.seek(int(offset))
        yield _QUOTED.sub(rb"\1", file.read(max(0, min(int(length), path.stat().st_size))))


def _other(folder: Path, other: Mapping[str, Any]) -> str:
    path = _inside(folder, str(other.get("file")))
    if path is None:
        return "it is missing"
    digest = hashlib.sha256()
    for chunk in _chunks(path, None, None):
        digest.update(chunk)
    return "" if digest.hexdigest() == other.get("sha256") else "it was changed since it was handed out"


def _inside(folder: Path, name: str) -> Path | None:
    """A regular file within the folder, whatever a hostile manifest says."""
    try:
        path = (folder / name).resolve()
        return path if path.is_relative_to(folder.resolve()) and path.is_file() else None
    except (OSError, ValueError, RuntimeError):
        return None
