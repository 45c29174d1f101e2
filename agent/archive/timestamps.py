"""RFC 3161: an authority says that a seal existed at a time. The only file that knows the library for it.

That, and HTTP, are imported where they are needed: a proof offline starts at once, and most never meet an authority.

The token is the authority's whole answer (TimeStampResp, DER), as `openssl ts -verify -in` takes it. It stamps
SHA-256(statement ‖ signature) of the seal.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography.x509 import (
    Certificate,
    ExtendedKeyUsage,
    ExtensionNotFound,
    load_der_x509_certificate,
    load_pem_x509_certificates,
)
from cryptography.x509.oid import ExtendedKeyUsageOID

from agent.archive.seals import Seal
from agent.errors import Misconfigured, Unavailable, Unreadable

_SECONDS = 30
_MOST_BYTES = 256 * 1024
_MEDIA_TYPE = "application/timestamp-query"
_GRANTED = 0


class TimestampRefused(Misconfigured):
    """The authority answers, and does not stamp."""

    remedy = "Check seal.timestamp_url and seal.timestamp_ca in cardline.toml, and the authority's conditions."


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp:
    """What a token proves: the seal existed at ``at``, says ``authority`` (the subject of its certificate)."""

    at: datetime
    authority: str


async def fetch_token(url: str, seal: Seal, roots: Sequence[Certificate] = ()) -> bytes:
    """Ask an authority for a token, and check it as far as it can be before it is kept.

    Raises:
        Unavailable: it does not answer, or not now.
        TimestampRefused: it refuses, or what it gives is not for this seal or not signed under ``roots``.
    """
    try:
        token = await _ask(url, seal, with_certificates=True)
    except _UnusualOrder:
        token = await _ask(url, seal, with_certificates=False)
    if roots:
        try:
            check_token(token, seal, roots)
        except Unreadable as error:
            raise TimestampRefused(error.what) from None
    return token


class _UnusualOrder(Exception):
    """The answer cannot be read, most often since its certificates are not in the order of DER, as OpenSSL has them."""


async def _ask(url: str, seal: Seal, *, with_certificates: bool) -> bytes:
    from rfc3161_client import HashAlgorithm, TimestampRequestBuilder, decode_timestamp_response

    builder = TimestampRequestBuilder(hash_algorithm=HashAlgorithm.SHA256, cert_req=with_certificates)
    request = builder.data(seal.statement + seal.signature).build()
    token = await _post(url, request.as_bytes())
    try:
        response = decode_timestamp_response(token)
        status, words = response.status, response.status_string
        info = response.tst_info if status == _GRANTED else None
    except ValueError as error:
        if with_certificates:
            raise _UnusualOrder from None
        raise TimestampRefused(f"What the authority sent is no timestamp: {error}.") from None
    if info is None:
        raise TimestampRefused(f"The authority refuses: {', '.join(words) or status}.")
    if info.message_imprint.message != seal.digest or info.nonce != request.nonce:
        raise TimestampRefused("The authority has stamped something else.")
    return token


async def _post(url: str, body: bytes) -> bytes:
    import aiohttp

    timeout = aiohttp.ClientTimeout(total=_SECONDS)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.post(url, data=body, headers={"Content-Type": _MEDIA_TYPE}) as response,
        ):
            if response.status in (400, 401, 403, 404, 405, 415):
                raise TimestampRefused(f"The authority answers {response.status}.")
            if response.status != 200:
                raise Unavailable(f"The timestamp authority answers {response.status}.")
            answer = await response.content.read(_MOST_BYTES)
            while len(answer) < _MOST_BYTES and (more := await response.content.read(_MOST_BYTES - len(answer))):
                answer += more
            return answer
    except aiohttp.InvalidURL:
        raise TimestampRefused("seal.timestamp_url is no address.") from None
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise Unavailable(f"The timestamp authority does not answer: {str(error) or 'it is too slow'}.") from error


def check_token(token: bytes, seal: Seal, roots: Sequence[Certificate]) -> Stamp:
    """What a token proves of a seal, under the certificates of authorities that the reader trusts.

    Raises:
        Unreadable: it proves nothing; the text says why.
    """
    from rfc3161_client import VerificationError, VerifierBuilder, decode_timestamp_response

    try:
        response = decode_timestamp_response(token)
        signer = None if response.signed_data.certificates else _signer(roots)
        verifier = VerifierBuilder(roots=list(roots), tsa_certificate=signer).build()
        verifier.verify_message(response, seal.statement + seal.signature)
        certificates = response.signed_data.certificates
        authority = _authority(certificates) if signer is None else signer.subject.rfc4514_string()
        return Stamp(at=response.tst_info.gen_time, authority=authority)
    except (VerificationError, ValueError) as error:
        raise Unreadable(f"The timestamp of seal {seal.number} proves nothing: {error}.") from None


def _signer(certificates: Sequence[Certificate]) -> Certificate | None:
    """The authority's own certificate among those of the reader, for a token that does not bring it."""
    for one in certificates:
        with contextlib.suppress(ExtensionNotFound):
            if ExtendedKeyUsageOID.TIME_STAMPING in one.extensions.get_extension_for_class(ExtendedKeyUsage).value:
                return one
    return None


def _authority(certificates: set[bytes]) -> str:
    """The subject of the one certificate that signs nothing else: no other one in the token names it as issuer."""
    found = [load_der_x509_certificate(der) for der in certificates]
    issuers = {one.issuer for one in found}
    leaves = [one for one in found if one.subject not in issuers] or found
    return leaves[0].subject.rfc4514_string() if leaves else ""


def read_roots(path: Path) -> list[Certificate]:
    """Certificates of authorities to trust, from a PEM file: their roots, and best their own beside them, since some
    tokens come without.

    Raises:
        Misconfigured: there is none.
    """
    try:
        return load_pem_x509_certificates(path.read_bytes())
    except OSError as error:
        raise Misconfigured(f"{path} cannot be read: {error.strerror}.") from None
    except ValueError:
        raise Misconfigured(f"There is no certificate in {path}.", remedy="Name the authority's PEM file.") from None
