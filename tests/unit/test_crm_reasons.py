"""Why a CRM was not told, on a Russian and on an English page: what we know in its language, the CRM's words quoted."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.errors import CardlineError
from agent.web import reasons_crm
from agent.web.reasons_crm import explain
from linker.crm import protocol
from linker.crm.amocrm.api import _refusal
from linker.crm.bitrix24.api import error_of
from linker.crm.onec.api import refusal
from linker.crm.transport import Answer

_CYRILLIC = set("абвгдежзийклмнопрстуфхцчшщъыьэюяё")


def _is_russian(text: str) -> bool:
    return bool(_CYRILLIC & set(text.lower()))


def _answer(status: int, body: str) -> Answer:
    return Answer(status=status, headers={}, body=body.encode())


@pytest.mark.parametrize(
    ("error", "russian", "english", "quoted"),
    [
        (
            error_of(403, {"error": "ACCESS_DENIED", "error_description": "Access denied."}),
            "Битрикс24 не даёт на это прав.",
            "Bitrix24 does not give us the right to do this.",
            "ACCESS_DENIED: Access denied",
        ),
        (
            error_of(400, {"error": "WRONG_AUTH_TYPE", "error_description": "Current authorization type is denied"}),
            "Битрикс24 разрешает это только локальному приложению, не вебхуку.",
            "Bitrix24 allows this to a local application only, not to a webhook.",
            "WRONG_AUTH_TYPE: Current authorization type is denied",
        ),
        (
            error_of(400, {"error": "", "error_description": "Обязательное поле не заполнено"}),
            "Битрикс24 отказывает.",
            "Bitrix24 refuses.",
            "400: Обязательное поле не заполнено",
        ),
        (
            _refusal(_answer(402, '{"title": "Payment Required", "status": 402}')),
            "amoCRM не оплачена.",
            "amoCRM is not paid for.",
            "402: Payment Required",
        ),
        (
            refusal(_answer(404, '{"odata.error": {"code": "8", "message": {"value": "Не найдено: X"}}}')),
            "1С не публикует этот объект для OData.",
            "1C does not publish this object for OData.",
            "8: Не найдено: X",
        ),
    ],
)
def test_what_a_crm_says_is_told_and_quoted(error: CardlineError, russian: str, english: str, quoted: str) -> None:
    failure = type(error).__name__
    told = explain(error.what, error.remedy, failure, "ru")
    assert (told.says, told.quoted) == (russian, quoted)
    assert _is_russian(told.remedy)
    told = explain(error.what, error.remedy, failure, "en")
    assert (told.says, told.quoted, told.remedy) == (english, quoted, error.remedy)
    assert _is_russian(explain(str(error), "", "", "ru").remedy), "as a connector's own problem is kept"


def test_our_own_words_are_in_the_readers_language() -> None:
    told = explain("The CRM has no card for Petrova.", "", "CrmRefused", "ru")
    assert (told.says, told.quoted) == ("В CRM нет карточки для: Petrova.", "")
    assert explain("Never heard of.", "Do it.", "", "ru").says == "Never heard of.", "unknown words stay as they are"


def _raised() -> Iterator[tuple[str, str]]:
    """Each sentence of ours with which a connector fails, places filled with a word."""
    names = {"CrmUnreachable", "CrmLimit", "CrmAuthFailed", "CrmRightsMissing", "CrmGone", "CrmRefused"}
    for path in sorted(Path(protocol.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names:
                text = _filled(node.args[0]) if node.args else ""
                if any(one.isalpha() for one in text):
                    yield f"{path.name}:{node.lineno}", text


def _filled(node: ast.expr) -> str:
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(str(one.value) if isinstance(one, ast.Constant) else "7" for one in node.values)
    return ""


def test_each_sentence_of_a_connector_is_known_in_russian() -> None:
    unknown = [(place, text) for place, text in _raised() if not _is_russian(explain(text, "", "", "ru").says)]
    assert unknown == []
    assert len(list(_raised())) > 40


def test_each_remedy_of_an_error_is_known_in_russian() -> None:
    for error in (protocol.CrmAuthFailed, protocol.CrmRightsMissing, protocol.CrmGone, protocol.CrmUnreachable):
        assert _is_russian(explain("x", error.remedy, "", "ru").remedy), error


def test_it_is_quick_with_hostile_words() -> None:
    for text in ("Bitrix24: " + "A: " * 5000, "a may be any of " * 2000, "(" * 10_000):
        for language in ("ru", "en"):
            assert reasons_crm.explain(text, "", "", language).says
