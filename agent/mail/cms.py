"""What lies inside of a signed S/MIME body (CMS, RFC 5652): the content and the certificates. Pure.

Mail programs write BER with lengths that are not known beforehand, which DER readers refuse, so the outer shells are
read here; the certificates, which are DER, are read by the library. Nothing is verified.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from cryptography import x509

_DEEPEST = 24
_MOST_NODES = 20_000
_MOST_CERTIFICATES = 20
_SEQUENCE, _SET, _OID, _OCTETS, _OCTETS_OF_OCTETS, _EXPLICIT = 0x30, 0x31, 0x06, 0x04, 0x24, 0xA0


class CmsKind(StrEnum):
    """The content types that mail knows (RFC 8551, 2.4)."""

    SIGNED = "signed"
    ENVELOPED = "enveloped"
    COMPRESSED = "compressed"


_KINDS = {
    bytes.fromhex("2a864886f70d010702"): CmsKind.SIGNED,
    bytes.fromhex("2a864886f70d010703"): CmsKind.ENVELOPED,
    bytes.fromhex("2a864886f70d0109100117"): CmsKind.ENVELOPED,  # authenticated (RFC 5083)
    bytes.fromhex("2a864886f70d0109100109"): CmsKind.COMPRESSED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cms:
    """``content`` is what was signed, None where it stands elsewhere; ``certificates`` are DER."""

    kind: CmsKind
    content: bytes | None = None
    certificates: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class _Node:
    tag: int
    whole: bytes
    content: bytes


def read_cms(data: bytes) -> Cms | None:
    """What the bytes are, None where they are no CMS that can be read."""
    try:
        outer = _list(_one(data, _Budget()).content)
        kind = _KINDS.get(outer[0].content) if outer[0].tag == _OID else None
        if kind is not CmsKind.SIGNED:
            return Cms(kind=kind) if kind is not None else None
        return _read_signed(_list(outer[1].content)[0])
    except (IndexError, ValueError, RecursionError):
        return None


def signer_of(certificates: tuple[bytes, ...], sender: str) -> str:
    """Whom the certificates name: the sender's address where one of them has it, else the first person's name."""
    names = []
    for raw in certificates[:_MOST_CERTIFICATES]:
        try:
            certificate = x509.load_der_x509_certificate(raw)
            addresses = _addresses(certificate)
            if sender and sender.lower() in (one.lower() for one in addresses):
                return sender.lower()
            if not _is_authority(certificate):
                names.append(addresses[0] if addresses else certificate.subject.rfc4514_string())
        except (ValueError, TypeError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
            continue
    return names[0][:200] if names else ""


def _addresses(certificate: x509.Certificate) -> list[str]:
    found = [str(one.value) for one in certificate.subject.get_attributes_for_oid(x509.NameOID.EMAIL_ADDRESS)]
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return [*names.get_values_for_type(x509.RFC822Name), *found]
    except (x509.ExtensionNotFound, ValueError):
        return found


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        return bool(certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca)
    except (x509.ExtensionNotFound, ValueError):
        return False


def _read_signed(signed: _Node) -> Cms:
    content: bytes | None = None
    certificates: tuple[bytes, ...] = ()
    for node in _list(signed.content):
        if node.tag == _SEQUENCE:
            inner = _list(node.content)
            if len(inner) > 1 and inner[1].tag == _EXPLICIT:
                content = _octets(_list(inner[1].content)[0])
        elif node.tag == _EXPLICIT:
            certificates = tuple(one.whole for one in _list(node.content)[:_MOST_CERTIFICATES])
    return Cms(kind=CmsKind.SIGNED, content=content, certificates=certificates)


def _octets(node: _Node, depth: int = 0) -> bytes:
    """An OCTET STRING, which may be a chain of such (X.690, 8.7.3)."""
    if node.tag == _OCTETS_OF_OCTETS and depth < _DEEPEST:
        return b"".join(_octets(one, depth + 1) for one in _list(node.content))
    if node.tag != _OCTETS:
        raise ValueError("no octets")
    return node.content


class _Budget:
    """How many nodes may still be looked at."""

    def __init__(self) -> None:
        self.left = _MOST_NODES

    def take(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise ValueError("too many nodes")


def _list(data: bytes) -> list[_Node]:
    return list(_nodes(data, _Budget()))


def _nodes(data: bytes, budget: _Budget) -> Iterator[_Node]:
    at = 0
    while at < len(data):
        if data[at : at + 2] == b"\0\0":
            return
        node, at = _read(data, at, budget, 0)
        yield node


def _one(data: bytes, budget: _Budget) -> _Node:
    node, _ = _read(data, 0, budget, 0)
    if node.tag != _SEQUENCE:
        raise ValueError("no CMS")
    return node


def _read(data: bytes, at: int, budget: _Budget, depth: int) -> tuple[_Node, int]:
    """The node at ``at`` and where it ends (X.690, 8.1)."""
    budget.take()
    start, tag, length = at, data[at], data[at + 1]
    at += 2
    if tag & 0x1F == 0x1F or depth > _DEEPEST:
        raise ValueError("not of this sort")
    if length == 0x80:
        end = at
        while data[end : end + 2] != b"\0\0":
            end = _skip(data, end, budget, depth + 1)
        return _Node(tag, data[start : end + 2], data[at:end]), end + 2
    if length > 0x80:
        size = length & 0x7F
        length, at = int.from_bytes(data[at : at + size], "big"), at + size
    if at + length > len(data):
        raise ValueError("cut")
    return _Node(tag, data[start : at + length], data[at : at + length]), at + length


def _skip(data: bytes, at: int, budget: _Budget, depth: int) -> int:
    """Where the node at ``at`` ends, without taking it out."""
    budget.take()
    tag, length = data[at], data[at + 1]
    at += 2
    if tag & 0x1F == 0x1F or depth > _DEEPEST:
        raise ValueError("not of this sort")
    if length == 0x80:
        while data[at : at + 2] != b"\0\0":
            at = _skip(data, at, budget, depth + 1)
        return at + 2
    if length > 0x80:
        size = length & 0x7F
        length, at = int.from_bytes(data[at : at + size], "big"), at + size
    if at + length > len(data):
        raise ValueError("cut")
    return at + length
