"""What the tests of mail make by themselves: winmail.dat, office files, PDF, S/MIME with openssl."""

from __future__ import annotations

import base64
import io
import shutil
import struct
import subprocess
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

HEAD = b"From: anna@example.com\r\nDate: Mon, 2 Mar 2026 10:00:00 +0300\r\nMessage-ID: <1@example.com>\r\n"


def mixed(*parts: bytes) -> bytes:
    """A multipart/mixed of these parts, each with its own header."""
    return (
        HEAD
        + b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n--b\r\n'
        + b"\r\n--b\r\n".join(parts)
        + b"\r\n--b--\r\n"
    )


def attached(content: bytes, media_type: str, name: str) -> bytes:
    """One part: a file."""
    head = f"Content-Type: {media_type}; name={name}\r\nContent-Disposition: attachment; filename={name}\r\n"
    return head.encode() + b"Content-Transfer-Encoding: base64\r\n\r\n" + base64.encodebytes(content)


# --- winmail.dat (MS-OXTNEF) ------------------------------------------------------------------------------------------


def tnef(*, html: bytes = b"", files: Mapping[str, bytes] | None = None) -> bytes:
    """What Outlook puts into winmail.dat, as far as our reader cares."""
    objects = [_object(1, 0x9006, 8, struct.pack("<I", 0x10000)), _object(1, 0x9007, 6, struct.pack("<II", 1251, 0))]
    if html:
        objects.append(_object(1, 0x9003, 6, struct.pack("<I", 1) + _binary(0x1013, html)))
    for name, content in (files or {}).items():
        objects.append(_object(2, 0x9002, 6, b"\0" * 14))
        objects.append(_object(2, 0x8010, 1, name.encode("cp1251") + b"\0"))
        objects.append(_object(2, 0x800F, 6, content))
    return struct.pack("<IH", 0x223E9F78, 1) + b"".join(objects)


def _object(level: int, name: int, kind: int, content: bytes) -> bytes:
    return struct.pack("<BHHI", level, name, kind, len(content)) + content + struct.pack("<H", sum(content) & 0xFFFF)


def _binary(name: int, content: bytes) -> bytes:
    return struct.pack("<HHII", 0x0102, name, 1, len(content)) + content + b"\0" * (-len(content) % 4)


# --- Office files and PDF ---------------------------------------------------------------------------------------------


def zipped(members: Mapping[str, bytes], *, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A ZIP archive."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content, method)  # without the time of day
    return target.getvalue()


def docx(*paragraphs: str) -> bytes:
    """A text document as Word writes it."""
    space = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
    body = "".join(f"<w:p><w:r><w:t>{one}</w:t></w:r></w:p>" for one in paragraphs)
    document = f'<w:document xmlns:w="{space}"><w:body>{body}</w:body></w:document>'
    return zipped({"[Content_Types].xml": b"<Types/>", "word/document.xml": document.encode()})


def xlsx(*cells: str) -> bytes:
    """A sheet as Excel writes it."""
    space = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    strings = "".join(f"<si><t>{one}</t></si>" for one in cells)
    return zipped(
        {"xl/workbook.xml": b"<workbook/>", "xl/sharedStrings.xml": f'<sst xmlns="{space}">{strings}</sst>'.encode()}
    )


def pptx(*slides: str) -> bytes:
    """Slides as PowerPoint writes them."""
    space = "http://schemas.openxmlformats.org/drawingml/2006/main"
    members = {
        f"ppt/slides/slide{number}.xml": f'<p xmlns:a="{space}"><a:p><a:r><a:t>{one}</a:t></a:r></a:p></p>'.encode()
        for number, one in enumerate(slides, 1)
    }
    return zipped({"ppt/presentation.xml": b"<p/>", **members})


def odt(*paragraphs: str) -> bytes:
    """A text document as LibreOffice writes it."""
    space = "urn:oasis:names:tc:opendocument:xmlns:text:1.0"
    body = "".join(f"<t:p>{one}</t:p>" for one in paragraphs)
    content = f'<o xmlns:t="{space}">{body}</o>'.encode()
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr(zipfile.ZipInfo("mimetype"), "application/vnd.oasis.opendocument.text", zipfile.ZIP_STORED)
        archive.writestr(zipfile.ZipInfo("content.xml"), content, zipfile.ZIP_DEFLATED)
    return target.getvalue()


def pdf(*lines: str) -> bytes:
    """One page of Latin text."""
    words = b"BT /F1 12 Tf 20 100 Td 14 TL " + b" ".join(b"(%s) Tj T*" % one.encode() for one in lines) + b" ET"
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 300 200]/Contents 4 0 R/Resources<</Font<</F1 5 0 R>>>>>>",
        b"<</Length %d>>stream\n%s\nendstream" % (len(words), words),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    ]
    out, places = b"%PDF-1.4\n", []
    for number, one in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj%s endobj\n" % (number, one)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    end = b"trailer<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF" % (len(objects) + 1, len(out))
    return out + b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1) + table + end


# --- S/MIME -----------------------------------------------------------------------------------------------------------


def openssl_cms(folder: Path, *options: str, content: bytes) -> bytes:
    """What `openssl cms` makes of a content, with a fresh certificate of anna@example.com."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    key, certificate, plain, out = (folder / name for name in ("key.pem", "certificate.pem", "plain", "out"))
    if not key.exists():
        names = ("-subj", "/CN=Anna", "-addext", "subjectAltName=email:anna@example.com")
        _openssl(
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate, "-days", "9", *names
        )
    plain.write_bytes(content)
    sign = ("-signer", certificate, "-inkey", key) if "-sign" in options else ()
    recipient = (certificate,) if "-encrypt" in options else ()
    _openssl("cms", *options, "-in", plain, "-out", out, "-binary", *sign, *recipient)
    return out.read_bytes()


def _openssl(*arguments: object) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)
