"""The documents say what the program does: tables load, links lead somewhere, commands, settings and files exist."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, get_args

import pytest
import typer.main
from markdown_it import MarkdownIt
from markdown_it.token import Token
from pydantic import BaseModel

from agent.cli import app
from agent.settings import Settings, load_settings
from tests.bench.__main__ import BENCHMARKS

ROOT = Path(__file__).parents[2]
PAGES = tuple(
    path.relative_to(ROOT)
    for path in sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("deploy/*.md")])
)
TABLE = re.compile(r"\[\[?([a-z_.]+)\]\]?")
CODE = ("fence", "code_block")


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A stretch of code in a document, and where it stands."""

    page: Path
    line: int
    text: str
    language: str = ""

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


@cache
def tokens(page: Path) -> tuple[Token, ...]:
    return tuple(MarkdownIt("commonmark").enable("table").parse((ROOT / page).read_text()))


def blocks() -> Iterator[Piece]:
    for page in PAGES:
        for token in tokens(page):
            if token.type in CODE:
                line = (token.map or [0])[0] + 1
                yield Piece(page=page, line=line, text=token.content, language=token.info)


def spans() -> Iterator[Piece]:
    for page in PAGES:
        line = 0
        for token in tokens(page):
            line = token.map[0] + 1 if token.map else line
            for inside in token.children or ():
                if inside.type == "code_inline":
                    yield Piece(page=page, line=line, text=inside.content)


def tables_of_settings() -> list[Piece]:
    return [one for one in blocks() if one.language == "toml" or TABLE.match(one.text)]


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("CARDLINE_"):
            monkeypatch.delenv(name)


@pytest.mark.parametrize("table", tables_of_settings(), ids=str)
def test_a_table_of_settings_is_accepted_as_it_stands(table: Piece, tmp_path: Path) -> None:
    file = tmp_path / "cardline.toml"
    file.write_text(table.text)
    found = load_settings(file)
    assert found.model_fields_set


def test_there_are_tables_to_be_tried() -> None:
    assert len({one.page for one in tables_of_settings()}) > 15


def slug(title: str) -> str:
    """The anchor of a heading, as forges make it."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


@cache
def anchors(page: Path) -> frozenset[str]:
    stream = tokens(page)
    titles = [stream[place + 1].content for place, one in enumerate(stream) if one.type == "heading_open"]
    return frozenset(slug(title) for title in titles)


def links(page: Path) -> Iterator[str]:
    for token in tokens(page):
        for inside in token.children or ():
            if inside.type in ("link_open", "image"):
                yield str(inside.attrs.get("href") or inside.attrs.get("src"))
        if token.type in ("html_block", "inline"):
            yield from re.findall(r'src="([^"]+)"', token.content)


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_links_lead_somewhere(page: Path) -> None:
    dead = []
    for link in links(page):
        if re.match(r"[a-z]+:", link):
            continue
        target, _, anchor = link.partition("#")
        place = (ROOT / page.parent / target).resolve() if target else ROOT / page
        if not place.exists() or (anchor and anchor not in anchors(place.relative_to(ROOT))):
            dead.append(link)
    assert dead == []


def test_every_page_is_reached_from_the_readme() -> None:
    seen, ahead = set(), [ROOT / "README.md"]
    while ahead:
        page = ahead.pop()
        if page.suffix != ".md" or page in seen or not page.is_file():
            continue
        seen.add(page)
        for link in links(page.relative_to(ROOT)):
            ahead.append((page.parent / link.partition("#")[0]).resolve())
    assert {ROOT / page for page in PAGES} == seen


COMMAND = re.compile(r"^(?:\$ )?(?:\S+/)?cardline (?=[a-z-])(.+)$", re.MULTILINE)


def commands() -> list[tuple[Piece, str]]:
    """What is to be typed: whole lines of blocks, continued ones joined, and spans."""
    everything = [*blocks(), *spans()]
    joined = ((one, one.text.replace("\\\n", " ")) for one in everything if one.language not in ("toml", "json"))
    return [(one, found.group(1)) for one, text in joined for found in COMMAND.finditer(text)]


def test_commands_and_their_options_exist() -> None:
    wrong = [f"{piece}: cardline {line}: {why}" for piece, line in commands() if (why := refusal(line))]
    assert len(commands()) > 60
    assert wrong == []


def refusal(line: str) -> str:
    """What the command line has against these words; empty: nothing."""
    at: Any = typer.main.get_command(app)
    words = shlex.split(line, comments=True)
    while words and (known := getattr(at, "commands", {})) and not words[0].startswith("-"):
        word = words.pop(0)
        if word == "…" or word.startswith("<"):
            return ""
        if word not in known:
            return f"no command {word}"
        at = known[word]
    options = {option for one in at.params for option in (*one.opts, *one.secondary_opts)} | {"--help"}
    given = [word.partition("=")[0] for word in words if word.startswith("--")]
    return ", ".join(f"no option {option}" for option in given if option not in options)


def kind_at(path: tuple[str, ...]) -> Any:
    """What a setting holds, or None where there is none of this name."""
    kind: Any = Settings
    for name in path:
        models = [one for one in (kind, *get_args(kind)) if isinstance(one, type) and issubclass(one, BaseModel)]
        if not models:
            return kind if get_args(kind)[:1] == (str,) else None  # of a dict: names are the reader's own
        if name not in models[0].model_fields:
            return None
        kind = models[0].model_fields[name].annotation
    return kind


def settings_named() -> Iterator[tuple[Piece, str]]:
    sections = "|".join(sorted(Settings.model_fields))
    for span in spans():
        setting = re.match(rf"((?:{sections})\.[a-z_.]+)(?: = .*)?$", span.text)
        if found := setting or TABLE.fullmatch(span.text):
            yield span, found.group(1)
    for piece in (*blocks(), *spans()):
        for name in re.findall(r"CARDLINE_([A-Z_]+__[A-Z_]+)", piece.text):
            yield piece, name.lower().replace("__", ".")


def test_settings_exist() -> None:
    files = re.compile(r"\.(md|py|toml|yaml|txt)$")
    named = [(piece, name) for piece, name in settings_named() if not files.search(name)]
    foreign = {
        "general",
        "csv",
        "line",
        "tool.importlinter",
        "jobs.speech_priority",
    }  # of other files, and a module of ours
    wrong = [f"{at}: {name}" for at, name in named if name not in foreign and kind_at(tuple(name.split("."))) is None]
    assert len(named) > 60
    assert wrong == []


def test_rows_of_tables_of_settings_name_settings() -> None:
    wrong, seen = [], 0
    for page in PAGES:
        for table, name in rows(page):
            seen += 1
            if kind_at((*table.split("."), name)) is None:
                wrong.append(f"{page}: [{table}] {name}")
    assert seen > 10
    assert wrong == []


def rows(page: Path) -> Iterator[tuple[str, str]]:
    """Names in the first column of tables whose head says ``setting of `[name]` ``."""
    stream, table, is_first = tokens(page), "", False
    for place, token in enumerate(stream):
        if token.type == "table_close":
            table = ""
        elif token.type == "tr_open":
            is_first = True
        elif token.type in ("th_open", "td_open") and is_first:
            is_first, inline = False, stream[place + 1]
            names = [one.content for one in inline.children or () if one.type == "code_inline"]
            if token.type == "th_open" and inline.content.startswith("setting of") and names:
                table = names[0].strip("[]")
            elif token.type == "td_open" and table:
                yield from ((table, name.partition(" ")[0]) for name in names)


def test_what_make_is_asked_for_it_knows() -> None:
    text = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([\w.$()/-]+):", text, re.MULTILINE)) | {".venv/.installed", ".venv/.assets"}
    wrong = []
    for piece in (*blocks(), *spans()):
        for target in re.findall(r"(?:^|&& )make ([a-z.][\w./-]*)", piece.text, re.MULTILINE):
            wrong += [f"{piece}: make {target}"] if target not in targets else []
        for name in re.findall(r"BENCH=([\w-]+)", piece.text):
            wrong += [f"{piece}: BENCH={name}"] if name not in (*BENCHMARKS, "name") else []
    assert wrong == []


def test_files_exist() -> None:
    """A file is named by the end of its path, as the page that tells the way through a package does."""
    there = [f"/{path.relative_to(ROOT)}" for top in ("agent", "linker", "tests") for path in (ROOT / top).rglob("*.*")]
    there += [f"/{path.name}" for path in ROOT.iterdir()]
    named = [one for one in spans() if re.fullmatch(r"\w[\w/]+\.(?:py|js|txt|yaml|html)", one.text)]
    wrong = [f"{one}: {one.text}" for one in named if not any(path.endswith(f"/{one.text}") for path in there)]
    assert len(named) > 150
    assert wrong == []
