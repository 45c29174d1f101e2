"""Templates as they are compiled: for each language with its constant strings in them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from markupsafe import escape

from agent.web import pages
from agent.web.texts import LANGUAGES, TEXTS, Texts

CONSTANT = re.compile(r"\{\{ t\('([a-z0-9_]+)'\) \}\}")
TEMPLATES = sorted(path.name for path in (Path(pages.__file__).parent / "templates").glob("*.html"))


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", TEMPLATES)
def test_each_compiles_and_has_its_strings(name: str, language: str) -> None:
    """An unknown key ends compiling, so a misspelt one never waits for somebody to open the page."""
    made = pages.environment(language)
    assert made.loader is not None
    source = made.loader.get_source(made, name)[0]
    worded = made.preprocess(source)
    texts = Texts(language)
    for key in CONSTANT.findall(source):
        assert str(escape(texts(key))) in worded
    assert not CONSTANT.search(worded)
    made.get_template(name)
    assert source.count("\n") == worded.count("\n")  # a line of an error is the line of the file


def test_no_string_is_read_as_a_template() -> None:
    assert not [key for key, words in TEXTS.items() if any(re.search(r"\{[{%#]", one) for one in words)]


def test_an_unknown_string_is_an_error() -> None:
    with pytest.raises(KeyError, match="no_such_text"):
        pages.environment("ru").from_string("{{ t('no_such_text') }}")
