"""RFC 3161: an authority says that a seal existed at a time. The only file that knows the library for it.

That, and HTTP, are imported where they are needed: a proof offline starts at once, and most never meet an authority.

The token is the authority's whole answer (TimeStampResp, DER), as `openssl ts -verify -in` takes it. It stamps
SHA-256(statement ‖ signature) of the seal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography.x509 import Certificate, load_der_x509_certificate, load_pem_x509_certificates

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
    from rfc3161_client import TimestampRequestBuilder, decode_timestamp_response

    request = TimestampRequestBuilder().data(seal.statement + seal.signature).build()
    token = await _post(url, request.as_bytes())
    try:
        response = decode_timestamp_response(token)
        if response.status != _GRANTED:
            raise TimestampRefused(f"The authority refuses: {', '.join(response.status_string) or response.status}.")
        info = response.tst_info
        if info.message_imprint.message != seal.digest or info.nonce != request.nonce:
            raise TimestampRefused("The authority has stamped something else.")
    except ValueError as error:
        raise TimestampRefused(f"What the authority sent is no timestamp: {error}.") from None
    if roots:
        try:
            check_token(token, seal, roots)
        except Unreadable as error:
            raise TimestampRefused(error.what) from None
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

    builder = VerifierBuilder(roots=list(roots))
    try:
        response = decode_timestamp_response(token)
        builder.build().verify_message(response, seal.statement + seal.signature)
        info = response.tst_info
        return Stamp(at=info.gen_time, authority=_authority(response.signed_data.certificates))
    except (VerificationError, ValueError) as error:
        raise Unreadable(f"The timestamp of seal {seal.number} proves nothing: {error}.") from None


def _authority(certificates: set[bytes]) -> str:
    """The subject of the one certificate that signs nothing else: no other one in the token names it as issuer."""
    found = [load_der_x509_certificate(der) for der in certificates]
    issuers = {one.issuer for one in found}
    leaves = [one for one in found if one.subject not in issuers] or found
    return leaves[0].subject.rfc4514_string() if leaves else ""


def read_roots(path: Path) -> list[Certificate]:
    """Certificates of authorities to trust, from a PEM file.

    Raises:
        Misconfigured: there is none.
    """
    try:
        return load_pem_x509_certificates(path.read_bytes())
    except OSError as error:
        raise Misconfigured(f"{path} cannot be read: {error.strerror}.") from None
    except ValueError:
        raise Misconfigured(f"There is no certificate in {path}.", remedy="Name the authority's PEM file.") from None
