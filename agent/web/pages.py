"""Rendering: templates with everything escaped, the reader's language and zone, and addresses of static files."""

from __future__ import annotations

import hashlib
import mimetypes
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from aiohttp import web
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from jinja2.ext import Extension
from markupsafe import Markup, escape

from agent.web.formats import Formats, zone_of
from agent.web.frame import THEMES, frame_for, theme_of
from agent.web.phones import phone
from agent.web.qrcode import qr_code
from agent.web.quotes import shortened
from agent.web.recordings import may_download
from agent.web.services import LOGIN
from agent.web.snippets import Pieces
from agent.web.texts import LANGUAGES, Texts, language_of

_COMMAND = re.compile("`([^`]*)`")
_CONSTANT = re.compile(r"\{\{ t\('([a-z0-9_]+)'\) \}\}")
_FOLDER = Path(__file__).parent


_VENDORED = ("*.js", "*.css")  # of static/vendor, which npm brings (hatch_build.py); licences lie beside them


@dataclass(frozen=True, slots=True)
class StaticFiles:
    """The files of `static`, in memory, under an address that changes with their content."""

    digest: str
    files: Mapping[str, tuple[bytes, str]]

    def has(self, name: str) -> bool:
        """Whether one that npm brings was built."""
        return name in self.files

    def url(self, name: str) -> str:
        """Address of one of them; a name that is not there is an error of ours."""
        if name not in self.files:
            raise KeyError(name)
        return f"/static/{self.digest}/{name}"


def load_static(folder: Path = _FOLDER / "static") -> StaticFiles:
    """Read all static files; one digest for all, so that modules may import each other by relative names.

    A vendored file never takes the place of one of ours.
    """
    files: dict[str, tuple[bytes, str]] = {}
    digest = hashlib.sha256()
    vendored = [path for pattern in _VENDORED for path in (folder / "vendor").glob(pattern)]
    for path in sorted(vendored) + sorted(path for path in folder.iterdir() if path.is_file()):
        content = path.read_bytes()
        digest.update(path.name.encode() + b"\0" + content)
        files[path.name] = (content, mimetypes.guess_type(path.name)[0] or "application/octet-stream")
    return StaticFiles(digest.hexdigest()[:16], files)


class Worded(Extension):
    """Puts a language's constant strings into its templates before they are compiled: most calls of a page were for
    these. Strings with places to fill stay calls."""

    def preprocess(self, source: str, name: str | None, filename: str | None = None) -> str:
        texts: Texts = self.environment.texts  # type: ignore[attr-defined]
        return _CONSTANT.sub(lambda found: str(escape(texts(found[1]))), source)


def environment(language: str) -> Environment:
    """What compiles and keeps the templates of a language."""
    made = Environment(
        loader=FileSystemLoader(_FOLDER / "templates"),
        extensions=[Worded],
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.extend(texts=Texts(language))
    made.filters |= {"phone": phone, "coded": coded, "shortened": shortened, "qr": qr_code, "marked": marked}
    icon: Callable[[str], str] = made.get_template("_icons.html").module.icon  # type: ignore[attr-defined]
    made.globals["icon"] = cache(icon)  # a few dozen, drawn once each
    return made


class Pages:
    """Makes HTML from templates."""

    def __init__(self) -> None:
        self.static = load_static()
        self._environments = {language: environment(language) for language in LANGUAGES}

    def html(self, request: web.Request, template: str, **values: Any) -> str:
        """A page for whoever asks."""
        texts = Texts(language_of(request))
        login = request.get(LOGIN)
        paths = request.app[PATHS]
        frame: dict[str, Any] = {
            "t": texts,
            "f": Formats(texts, zone_of(request.cookies)),
            "login": login,
            "csrf": login.csrf_token if login else "",
            "frame": frame_for(login.viewer, request.path, paths) if login else None,
            "theme": theme_of(request.cookies),
            "themes": THEMES,
            "static": self.static.url,
            "built": self.static.has,
            "may_download": bool(login) and may_download(request),
            "here": request.path,
            "here_quoted": quote(request.path_qs if request.method == "GET" else "/", safe=""),
        }
        return self._environments[texts.language].get_template(template).render(frame | values)


def coded(text: str) -> Markup:
    """A sentence with its commands, which stand between backticks, set as code; everything else is escaped."""
    return Markup(_COMMAND.sub(r"<code>\1</code>", str(escape(text))))  # noqa: S704 - escaped first


def marked(pieces: Pieces) -> Markup:
    """Stretches of a text (`agent.web.snippets`), escaped, those that were looked for marked. A page of hits has
    hundreds: a template that walks through them takes longer than everything else of the page."""
    made = (f"<mark>{escape(words)}</mark>" if is_marked else str(escape(words)) for words, is_marked in pieces)
    return Markup("".join(made))  # noqa: S704 - escaped piece by piece


PAGES: web.AppKey[Pages] = web.AppKey("pages", Pages)
PATHS: web.AppKey[frozenset[tuple[str, str]]] = web.AppKey("paths", frozenset)


def page(request: web.Request, template: str, *, status: int = 200, **values: Any) -> web.Response:
    """An HTML answer; never kept by caches, since it is for one reader."""
    html = request.app[PAGES].html(request, template, **values)
    answer = web.Response(text=html, content_type="text/html", charset="utf-8", status=status)
    answer.headers["Cache-Control"] = "no-store"
    return answer


def formats_of(request: web.Request) -> tuple[Texts, Formats]:
    """Language and formats of whoever asks, for handlers that prepare strings themselves."""
    texts = Texts(language_of(request))
    return texts, Formats(texts, zone_of(request.cookies))
