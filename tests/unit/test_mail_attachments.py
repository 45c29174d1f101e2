"""The words of attached files: office, PDF and text files, archives listed, bombs that cost the child only."""

from __future__ import annotations

import base64
import os
import zipfile
import zlib
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select, text

from agent.archive.blobs import Archive
from agent.errors import Unreadable
from agent.intake import Intake
from agent.mail.attachments.extractor import Extractor
from agent.mail.attachments.reading import AttachmentReader, PartWords
from agent.mail.attachments.words import words_of
from agent.mail.parse import parse
from agent.mail.sniffing import sniff
from agent.model import CapturedMail
from agent.store.engine import Store
from agent.store.schema import attachment
from tests.unit.mail_lab import attached, docx, mixed, odt, pdf, pptx, xlsx, zipped

FILES = {
    "a.docx": (docx("Договор № 1", "Поставка болтов"), "Договор № 1\nПоставка болтов"),
    "a.xlsx": (xlsx("Болт", "100"), "Болт\n100"),
    "a.pptx": (pptx("Первый", "Второй"), "Первый\nВторой"),
    "a.odt": (odt("Договор", "Поставка"), "Договор\nПоставка"),
    "a.pdf": (pdf("Contract 17", "for bolts"), "Contract 17\nfor bolts"),
    "a.txt": ("Прайс\r\n\r\nБолт 5".encode("cp1251"), "Прайс\nБолт 5"),
    "a.csv": ("Болт;5".encode(), "Болт;5"),
    "a.html": ("<p>Прайс</p><script>x</script>".encode(), "Прайс"),
    "a.eml": ("Subject: Заказ\r\n\r\nБолты".encode(), "Заказ\nБолты"),
    "a.zip": (zipped({"прайс.pdf": b"x", "b/c.txt": b"y"}), "прайс.pdf\nb/c.txt"),
    "a.png": (b"\x89PNG\r\n\x1a\n" + b"\0" * 50, None),
    "a.bin": (b"\0\1\2", None),
    "empty.txt": (b"", None),
}


@pytest.mark.parametrize("name", FILES)
def test_words(name: str) -> None:
    content, words = FILES[name]
    assert words_of(content, name=name, media_type="application/octet-stream") == words


def test_the_bytes_decide_not_the_name() -> None:
    assert words_of(docx("Договор"), name="a.jpg", media_type="image/jpeg") == "Договор"
    assert words_of(b"\x89PNG\r\n\x1a\n", name="a.txt", media_type="text/plain") is None


def bombs() -> dict[str, bytes]:
    space = b'xmlns="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
    lol = b"<!DOCTYPE d [<!ENTITY a 'ha'>" + b"".join(
        b"<!ENTITY a%d '%s'>" % (n, b"&a%s;" % (str(n - 1).encode() if n else b"") * 10) for n in range(12)
    )
    return {
        "a gigabyte of nothing": zipped({"word/document.xml": b"<d " + space + b">" + b" " * 300_000_000 + b"</d>"}),
        "a million laughs": zipped({"word/document.xml": lol + b"]><d " + space + b"><t>&a11;</t></d>"}),
        "no XML": zipped({"word/document.xml": b"\0\1\2"}),
        "cut": docx("x")[:-30],
        "directory without files": b"PK\3\4" + b"\0" * 40 + b"PK\5\6" + b"\xff" * 18 + b"word/document.xml",
        "pdf of nothing": b"%PDF-1.4\n%%EOF",
        "pdf that is cut": pdf("words")[:200],
        "text that is none": bytes(range(128, 256)) * 10_000,
    }


@pytest.mark.parametrize("name", bombs())
def test_a_bomb_is_refused_in_words(name: str) -> None:
    try:
        words = words_of(bombs()[name], name="a.docx" if "text" not in name else "a.txt", media_type="text/plain")
    except Unreadable as error:
        assert error.what
    else:
        assert words is None or len(words) <= 1_000_000


def test_a_deep_document_is_read() -> None:
    space = 'xmlns="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
    deep = f"<d {space}>" + "<p>" * 50_000 + "<t>x</t>" + "</p>" * 50_000 + "</d>"
    assert words_of(zipped({"word/document.xml": deep.encode()}), name="", media_type="") == "x"


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from(sorted(name for name, (content, _) in FILES.items() if content)),
    st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 30), st.binary(max_size=5)), min_size=1, max_size=6),
)
def test_mutated_files_are_read_or_refused(name: str, changes: list[tuple[int, int, bytes]]) -> None:
    content = FILES[name][0]
    for place, length, new in changes:
        at = place % (len(content) + 1)
        content = content[:at] + new + content[at + length :]
    try:
        words = words_of(content, name=name, media_type="application/octet-stream")
    except Unreadable:
        return
    except (zlib.error, zipfile.BadZipFile) as error:
        raise AssertionError("it must be refused in words") from error
    assert words is None or "\0" not in words


@pytest.mark.parametrize(
    ("content", "media_type"),
    [
        (FILES["a.docx"][0], "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
        (FILES["a.xlsx"][0], "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
        (FILES["a.odt"][0], "application/vnd.oasis.opendocument.text"),
        (FILES["a.zip"][0], "application/zip"),
        (b"MZ\x90\0", "application/x-msdownload"),
        (b"<!DOCTYPE html><p>", "text/html"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + "WordDocument".encode("utf-16-le"), "application/msword"),
        (b"", ""),
        (b"words", ""),
    ],
)
def test_sniffing(content: bytes, media_type: str) -> None:
    assert sniff(content) == media_type


def test_a_program_in_disguise_is_said() -> None:
    message = parse(mixed(b"\r\nwords", attached(b"MZ" + b"\0" * 100, "application/pdf", "invoice.pdf")), {})
    assert any("invoice.pdf is a Windows program" in problem for problem in message.problems)
    honest = parse(mixed(b"\r\nwords", attached(b"MZ" + b"\0" * 100, "application/octet-stream", "setup.exe")), {})
    assert not any("program" in problem for problem in honest.problems)


# --- The child and the job --------------------------------------------------------------------------------------------


@pytest.fixture
async def reader() -> AsyncIterator[AttachmentReader]:
    reader = AttachmentReader(seconds=20)
    yield reader
    await reader.stop()


async def test_one_bomb_costs_no_other_file(reader: AttachmentReader, tmp_path: Path) -> None:
    deadly = zipped({"word/document.xml": b"x"})
    raw = mixed(
        b"\r\nwords",
        attached(docx("Договор"), "application/x", "a.docx"),
        attached(deadly, "application/x", "b.docx"),
        attached(pdf("Contract"), "application/pdf", "c.pdf"),
    )
    found = await reader.read(raw, [2, 3, 4])
    assert [(one.part, one.text) for one in found] == [(2, "Договор"), (3, None), (4, "Contract")]
    assert found[1].problem


async def test_a_child_that_dies_costs_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mortal.py").write_text(
        "import json, os\nfrom agent.mail.parse_child import serve\n"
        "def do(request, raw):\n"
        "    if 3 in request['parts']: os.kill(os.getpid(), 9)\n"
        "    return json.dumps({'texts': [{'part': n, 'sha256': '', 'text': 'ok', 'problem': ''}"
        " for n in request['parts']]}).encode(), b''\n"
        "serve(lambda: None, do)\n"
    )
    monkeypatch.setenv(
        "PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", ""), str(Path.cwd())])
    )
    reader = AttachmentReader(module="mortal")
    found = await reader.read(b"x", [2, 3, 4])
    await reader.stop()
    assert [one.text for one in found] == ["ok", None, "ok"]
    assert "ended the process" in found[1].problem


async def test_a_mail_full_of_deadly_files_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "fatal.py").write_text(
        "import os\nfrom agent.mail.parse_child import serve\nfrom pathlib import Path\n"
        "def do(request, raw):\n    Path(__file__).with_name('asked').open('a').write('x')\n"
        "    os.kill(os.getpid(), 9)\n"
        "serve(lambda: None, do)\n"
    )
    monkeypatch.setenv(
        "PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", ""), str(Path.cwd())])
    )
    reader = AttachmentReader(module="fatal")
    found = await reader.read(b"x", range(2, 20))
    await reader.stop()
    assert [one.part for one in found] == list(range(2, 20))
    assert all(one.problem for one in found)
    assert len((tmp_path / "asked").read_text()) == 6


async def test_the_job_waits_behind_the_mails(store: Store, archive: Archive, intake: Intake) -> None:
    raw = mixed(b"\r\nother words", attached(docx("x"), "application/x", "a.docx")).replace(b"<1@", b"<2@")
    mail = CapturedMail(source="test:job", key="1", raw=raw, received=datetime.now(UTC))
    (evidence_id,) = await intake.store_evidence([mail])
    await intake.accept_message(evidence_id, parse(raw, {}))
    query = text(
        "SELECT args, priority, lock FROM procrastinate_jobs WHERE task_name = 'extract_words' ORDER BY id DESC"
    )
    async with store.begin() as connection:
        job = (await connection.execute(query)).first()
    assert job is not None
    assert (job.args, job.lock) == ({}, "extract_words")
    assert job.priority < 0


async def test_words_come_into_the_database_once(
    store: Store, archive: Archive, intake: Intake, reader: AttachmentReader
) -> None:
    raw = mixed(
        b"\r\nwords",
        attached(docx("Договор"), "application/x", "a.docx"),
        attached(b"\x89PNG\r\n\x1a\n", "image/png", "a.png"),
        attached(docx("x")[:-40], "application/x", "b.docx"),
    )
    mail = CapturedMail(source="test:words", key="1", raw=raw, received=datetime.now(UTC))
    (evidence_id,) = await intake.store_evidence([mail])
    interaction_id = await intake.accept_message(evidence_id, parse(raw, {}))
    extractor = Extractor(store, archive, reader)
    await extractor.extract()
    await extractor.extract()
    query = select(attachment.c.text_state, attachment.c.text).where(attachment.c.interaction_id == interaction_id)
    async with store.begin() as connection:
        rows = list(await connection.execute(query.order_by(attachment.c.part)))
    assert [(row.text_state, row.text) for row in rows] == [("read", "Договор"), ("none", ""), ("failed", "")]


async def test_a_mail_at_which_we_fail_keeps_no_other_from_being_read(
    store: Store, archive: Archive, intake: Intake, reader: AttachmentReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    mails = [
        mixed(b"\r\nwords", attached(docx(words), "application/x", "a.docx")).replace(b"<1@", key)
        for words, key in (("older", b"<older@"), ("newer", b"<newer@"))
    ]
    found = []
    for number, raw in enumerate(mails):
        mail = CapturedMail(source="test:fails", key=str(number), raw=raw, received=datetime.now(UTC))
        (evidence_id,) = await intake.store_evidence([mail])
        found.append(await intake.accept_message(evidence_id, parse(raw, {})))
    read = reader.read

    async def fail_once(raw: bytes, parts: Sequence[int]) -> list[PartWords]:
        if raw == mails[1]:
            raise ZeroDivisionError
        return await read(raw, parts)

    monkeypatch.setattr(reader, "read", fail_once)
    await Extractor(store, archive, reader).extract()
    query = select(attachment.c.text_state, attachment.c.text).where(attachment.c.interaction_id.in_(found))
    async with store.begin() as connection:
        rows = list(await connection.execute(query.order_by(attachment.c.interaction_id)))
    assert [(row.text_state, row.text) for row in rows] == [("read", "older"), ("failed", "")]


def test_base64_of_nothing() -> None:
    assert words_of(base64.b64decode(""), name="a.pdf", media_type="application/pdf") is None
