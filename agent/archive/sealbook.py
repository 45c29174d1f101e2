"""All seals that take part in a proof: whose they are, where they were kept, and which heads they vouch for; pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.x509 import Certificate

from agent.archive.seals import Seal, fingerprint
from agent.archive.timestamps import Stamp, check_token
from agent.errors import Unreadable


@dataclass(slots=True, kw_only=True)
class Witness:
    """A seal with a good signature. ``outside``: it comes from where the archive's owner could not change it."""

    seal: Seal
    outside: bool
    stamps: list[Stamp]

    @property
    def stamped(self) -> datetime | None:
        """The earliest time at which an authority saw it."""
        return min((stamp.at for stamp in self.stamps), default=None)


class SealBook:
    """Seals by the length of the chain they vouch for."""

    def __init__(self, keys: Sequence[Ed25519PublicKey], roots: Sequence[Certificate] = ()) -> None:
        """``keys``: whose seals count; ``roots``: whose timestamps count."""
        self._keys = {fingerprint(key): key for key in keys}
        self._roots = roots
        self._by_statement: dict[bytes, Witness] = {}
        self._by_length: defaultdict[int, list[Witness]] = defaultdict(list)
        self._vouched: set[bytes] | None = None
        self.problems: list[str] = []

    def add(self, seals: Iterable[Seal], *, outside: bool) -> None:
        """Take seals in; those that are not good become problems in words."""
        self._vouched = None
        taken = sorted(seals, key=lambda seal: seal.number)
        good = [seal for seal in taken if self._take(seal, outside=outside)]
        if not outside:
            self._check_order(good)

    def at(self, length: int) -> list[Witness]:
        """The seals that vouch for the chain's first ``length`` links."""
        return self._by_length.get(length, [])

    def beyond(self, length: int) -> Witness | None:
        """The seal that vouches for the most links, if those are more than ``length``."""
        return self._by_length[self.reach][0] if self.reach > length else None

    @property
    def reach(self) -> int:
        """How many links the longest of them vouches for."""
        return max(self._by_length, default=0)

    def is_independent(self, witness: Witness) -> bool:
        """Whether more than the installation's own key speaks for it: it was kept outside, an authority stamped it, or
        a later seal of which that is true names it, directly or through those between."""
        if self._vouched is None:
            self._vouched = set()
            for one in sorted(self._by_statement.values(), key=lambda each: each.seal.number, reverse=True):
                if one.outside or one.stamps or one.seal.digest in self._vouched:
                    self._vouched |= {one.seal.digest, one.seal.previous}
        return witness.seal.digest in self._vouched

    def __len__(self) -> int:
        return len(self._by_statement)

    def _take(self, seal: Seal, *, outside: bool) -> bool:
        key = self._keys.get(seal.key)
        if key is None:
            self.problems.append(f"seal {seal.number} is signed by a key that is none of yours ({seal.key[:8]})")
            return False
        if not seal.is_signed_by(key):
            self.problems.append(f"the signature of seal {seal.number} is not good: it was changed")
            return False
        witness = self._by_statement.get(seal.statement)
        if witness is None:
            witness = Witness(seal=seal, outside=False, stamps=[])
            self._by_statement[seal.statement] = witness
            self._by_length[seal.length].append(witness)
        witness.outside |= outside
        witness.stamps += self._stamps(seal)
        return True

    def _stamps(self, seal: Seal) -> list[Stamp]:
        stamps = []
        for token in seal.tokens if self._roots else ():
            try:
                stamps.append(check_token(token, seal, self._roots))
            except Unreadable as error:
                self.problems.append(error.what.rstrip("."))
        return stamps

    def _check_order(self, seals: Sequence[Seal]) -> None:
        """The archive's own seals follow each other; one that was taken out or put in again is noticed."""
        number, previous, length = 0, b"", 0
        for seal in seals:
            if seal.number != number + 1:
                self.problems.append(f"seal {number + 1} was removed or is there twice")
            elif seal.previous != previous:
                self.problems.append(f"seal {seal.number} does not follow seal {number}")
            elif seal.length < length:
                self.problems.append(f"seal {seal.number} vouches for fewer links than the one before")
            number, previous, length = seal.number, seal.digest, seal.length
