"""Whether a mail is signed or encrypted, and by whom its certificate says. Pure; nothing is verified or decrypted.

A mail that is encrypted is kept as it is: it can be downloaded and read by whoever has the key.
"""

from __future__ import annotations

from collections.abc import Sequence

from agent.mail.cms import CmsKind, read_cms, signer_of
from agent.mail.parts import Part, part_bytes
from agent.mail.wrappings import PKCS7
from agent.model_mail import Protection, ProtectionKind

_SMIME, _OPENPGP = "S/MIME", "OpenPGP"
_SIGNATURES = frozenset(("application/pkcs7-signature", "application/x-pkcs7-signature"))
_PGP_ENCRYPTED = b"-----BEGIN PGP MESSAGE-----"
_PGP_SIGNED = b"-----BEGIN PGP SIGNED MESSAGE-----"


def read_protection(parts: Sequence[Part], sender: str) -> tuple[Protection | None, str | None]:
    """How the mail is protected, if it is, and what a person should know about that."""
    found = [one for one in (_of_part(part, sender) for part in parts if not part.is_container) if one is not None]
    found += [one for one in (_of_container(part, sender) for part in parts) if one is not None]
    for kind in (ProtectionKind.ENCRYPTED, ProtectionKind.SIGNED):
        of_kind = [one for one in found if one.kind is kind]
        if of_kind:
            best = max(of_kind, key=lambda one: bool(one.signer))
            return best, _note(best)
    return None, None


def _note(found: Protection) -> str | None:
    if found.kind is ProtectionKind.ENCRYPTED:
        return f"it is encrypted ({found.method}); it was kept and could not be read"
    return None


def _of_container(part: Part, sender: str) -> Protection | None:
    media_type = part.media_type
    if media_type == "multipart/encrypted":
        return Protection(kind=ProtectionKind.ENCRYPTED, method=_OPENPGP)
    if media_type == "multipart/signed":
        is_pgp = "pgp" in part.parameter("protocol").lower()
        return Protection(kind=ProtectionKind.SIGNED, method=_OPENPGP if is_pgp else _SMIME)
    if part.is_opened and _is_pkcs7(part):
        return _of_cms(part_bytes(part), sender)
    return None


def _of_part(part: Part, sender: str) -> Protection | None:
    media_type = part.media_type
    if media_type in _SIGNATURES or _is_pkcs7(part):
        return _of_cms(part_bytes(part), sender)
    if not part.is_body:
        return None
    data = part_bytes(part)
    if _PGP_ENCRYPTED in data:
        return Protection(kind=ProtectionKind.ENCRYPTED, method=_OPENPGP)
    if _PGP_SIGNED in data:
        return Protection(kind=ProtectionKind.SIGNED, method=_OPENPGP)
    return None


def _is_pkcs7(part: Part) -> bool:
    if part.message.is_multipart():
        return False
    return part.media_type in PKCS7 or part.raw_name.lower().endswith((".p7m", ".p7s"))


def _of_cms(data: bytes, sender: str) -> Protection | None:
    cms = read_cms(data)
    if cms is None or cms.kind is CmsKind.COMPRESSED:
        return None
    if cms.kind is CmsKind.ENVELOPED:
        return Protection(kind=ProtectionKind.ENCRYPTED, method=_SMIME)
    return Protection(kind=ProtectionKind.SIGNED, method=_SMIME, signer=signer_of(cms.certificates, sender))
