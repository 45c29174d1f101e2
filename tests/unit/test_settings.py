"""Settings: each described, the example accepted, each wrong value one clear sentence, secrets never shown."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from agent.errors import Misconfigured
from agent.settings import MailboxSettings, Settings, load_settings
from agent.settings_asterisk import AsteriskSettings

EXAMPLE = Path(__file__).parents[2] / "deploy" / "cardline.example.toml"
SECRET = "hunter2-is-a-secret"
LISTS: dict[str, type[BaseModel]] = {"mailbox": MailboxSettings, "asterisk": AsteriskSettings}
ASTERISK = '[[asterisk]]\nname = "office"\nuser = "cardline"\nsecret = "hunter2-is-a-secret"\n'
MAILBOX = '[[mailbox]]\nname = "Anna"\nhost = "imap.example.com"\nuser = "anna"\n'


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("CARDLINE_"):
            monkeypatch.delenv(name)


def load(folder: Path, text: str) -> Settings:
    path = folder / "cardline.toml"
    path.write_text(text)
    return load_settings(path)


def refusal(folder: Path, text: str) -> str:
    with pytest.raises(Misconfigured) as caught:
        load(folder, text)
    return str(caught.value)


def sections() -> Iterator[tuple[str, type[BaseModel]]]:
    yield "", Settings
    for name, field in Settings.model_fields.items():
        if name in LISTS:
            yield name, LISTS[name]
        elif isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield name, field.annotation


def test_every_setting_has_a_description() -> None:
    lacking = [
        f"{section}.{name}"
        for section, model in sections()
        for name, field in model.model_fields.items()
        if not field.description and name not in dict(sections())
    ]
    assert lacking == []
    assert [section for section, model in sections() if not model.__doc__] == []


def uncommented(example: str) -> str:
    """The example with everything that stands behind #, however deep."""
    return re.sub(r"^(?:# +)+(?=\[|[\w\"@.]+ = )", "", example, flags=re.MULTILINE)


def test_the_example_is_accepted_with_every_commented_setting(tmp_path: Path) -> None:
    plain = EXAMPLE.read_text()
    complete = uncommented(plain)
    found = load(tmp_path, complete)
    assert found.archive.url == "s3://recordings/cardline"
    assert found.mailbox[0].folders == ("INBOX", "Sent*")
    assert found.sip.line[0].beep_s == 15
    given = tomllib.loads(complete)
    assert all(found.model_fields_set >= {name} for name in given)


def test_the_example_as_it_is_attaches_nobody_and_shuts_nobody_out(tmp_path: Path) -> None:
    """Who copies it and changes one table must not find PBXs, mailboxes and networks of an example in his service."""
    found, bare = load(tmp_path, EXAMPLE.read_text()), load(tmp_path, "")
    for name in ("mailbox", "asterisk", "provider", "recordings", "crm", "seal", "smtp", "siprec", "sip", "web"):
        assert getattr(found, name) == getattr(bare, name), name


def test_the_example_shows_every_section_or_it_needs_no_thought() -> None:
    given = tomllib.loads(uncommented(EXAMPLE.read_text()))
    assert {name for name, _ in sections() if name} <= set(given)


def test_without_any_file_the_defaults_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = load_settings()
    assert (found.region, found.web.port, found.mailbox) == ("RU", 8040, ())


def test_a_variable_overrides_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CARDLINE_WEB__PORT", "8081")
    monkeypatch.setenv("CARDLINE_SIPREC__ALLOW", '["192.0.2.0/24"]')
    monkeypatch.setenv("CARDLINE_REGION", "DE")
    found = load(tmp_path, 'region = "KZ"\n[web]\nport = 1\nlisten = "192.0.2.9"\n')
    assert (found.web.port, found.web.listen, found.region) == (8081, "192.0.2.9", "DE")
    assert found.siprec.allow == ("192.0.2.0/24",)


def test_a_home_folder_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load(tmp_path, 'data_dir = "~/cardline"').data_dir == tmp_path / "cardline"


WRONG = [
    ("nonsense = 1", "nonsense: there is no such setting."),
    ("web = { prot = 1 }", "web.prot: there is no such setting."),
    ("web = { port = 70000 }", "web.port: Input should be less than or equal to 65535 (it is 70000)."),
    ("web = { port = -1 }", "web.port: Input should be greater than or equal to 0 (it is -1)."),
    ('web = { port = "x" }', "web.port: Input should be a valid integer"),
    ("web = 1", "web: it should be a table, [web]."),
    ('web = { public_url = "cardline.example.com" }', "web.public_url: it must begin with https://"),
    ("data_dir = 5", "data_dir: Input is not a valid path (it is 5)."),
    ('data_dir = ""', "data_dir: it must name a folder"),
    ('region = "XX"', "region: not a country known to phonenumbers"),
    ('region = "ru"', "region: not a country known to phonenumbers; two capital letters"),
    ('log_format = "xml"', "log_format: "),
    ("extension_digits = 99", "extension_digits: Input should be less than or equal to 8 (it is 99)."),
    (
        'siprec = { allow = ["300.0.0.0/8"] }',
        "siprec.allow: '300.0.0.0/8' does not appear to be an IPv4 or IPv6 network",
    ),
    ('siprec = { allow = ["192.0.2.1/24"] }', "siprec.allow: 192.0.2.1/24 has host bits set"),
    ('siprec = { allow = "192.0.2.0/24" }', "siprec.allow: it should be a list"),
    ('smtp = { allow = ["everybody"] }', "smtp.allow: 'everybody' does not appear"),
    ("siprec = { rtp_ports = [40000, 40001] }", "siprec.rtp_ports: at least four ports are needed"),
    ("siprec = { rtp_ports = [50000, 40000] }", "siprec.rtp_ports: at least four ports are needed"),
    ("siprec = { rtp_ports = [40000] }", "siprec.rtp_ports.1: it must be given."),
    ("siprec = { rtp_ports = [40000, 70000] }", "siprec.rtp_ports.1: Input should be less than or equal to 65535"),
    ("siprec = { max_calls = 0 }", "siprec.max_calls: Input should be greater than or equal to 1 (it is 0)."),
    ("smtp = { max_bytes = 1 }", "smtp.max_bytes: Input should be greater than or equal to 1024 (it is 1)."),
    (
        'jobs = { queues = ["nope"] }',
        "jobs.queues.0: Input should be 'parse', 'words', 'index', 'link' or 'host' (it is 'nope').",
    ),
    ('archive = { url = "ftp://192.0.2.1/x" }', "archive.url: it must begin with s3://, gs://, az://"),
    ('database = { url = "mysql://192.0.2.1/x" }', "database.url: it must begin with postgresql://"),
    (MAILBOX, "mailbox.0.password: it must be given."),
    (ASTERISK, "asterisk.0.url: it must be given."),
    (f'{ASTERISK}url = "192.0.2.10:8088/ari"', "asterisk.0.url: it must look like http://192.0.2.10:8088/ari"),
    (
        f'{ASTERISK}url = "http://me:you@192.0.2.10:8088/ari"',
        "asterisk.0: url: user and secret have settings of their own.",
    ),
    (f'{ASTERISK}url = "http://192.0.2.10:8088/ari"\nformat = "opus"', "asterisk.0.format:"),
    (f'{MAILBOX}password = "p"\n' * 2, "mailbox: the name Anna is given to two of them; each needs its own"),
    ("[web\n", "cannot be read: "),
    ("web = {", "cannot be read: "),
    ("x = 1\nx = 2", "cannot be read: "),
    ("[web]\nport = 1\n[web]\nport = 2", "cannot be read: "),
    ('siprec = { pause_keys = "7" }', "siprec.pause_keys: two to eight of"),
    ('siprec = { resume_keys = "*x" }', "siprec.resume_keys: two to eight of"),
    ('siprec = { pause_keys = "*7", resume_keys = "*71" }', "neither may begin with the other"),
]


@pytest.mark.parametrize(("text", "words"), WRONG, ids=[text[:40] for text, _ in WRONG])
def test_a_wrong_value_ends_in_a_sentence_that_names_it(text: str, words: str, tmp_path: Path) -> None:
    told = refusal(tmp_path, text)
    assert words in told
    assert "Correct cardline.toml" in told
    assert "\n" not in told
    for jargon in ("Value error", "pydantic", "pathlib", "tuple", "dictionary", "Traceback"):
        assert jargon not in told


def test_several_wrong_values_are_all_named(tmp_path: Path) -> None:
    told = refusal(tmp_path, 'region = "XX"\nweb = { port = 70000 }')
    assert "region:" in told
    assert "web.port:" in told


LEAKS = [
    f'database = {{ url = "nonsense://u:{SECRET}@192.0.2.1/x" }}',
    f'database = {{ url = ["{SECRET}"] }}',
    f'database = "postgresql://u:{SECRET}@192.0.2.1/x"',
    f'[database]\nuri = "postgresql://u:{SECRET}@192.0.2.1/x"',
    f'{MAILBOX}password = ["{SECRET}"]',
    f'{MAILBOX}pasword = "{SECRET}"',
    f'{MAILBOX}password = {{ is = "{SECRET}" }}',
    f'[mailbox]\nname = "Anna"\npassword = "{SECRET}"',
    f'mailbox = "{SECRET}"',
    f'mailbox = ["{SECRET}"]',
    f'{MAILBOX}password = "{SECRET}"\n{MAILBOX}password = "{SECRET}"',
    f'password = "{SECRET}',
]


@pytest.mark.parametrize("text", LEAKS)
def test_no_error_shows_a_secret(text: str, tmp_path: Path) -> None:
    assert SECRET not in refusal(tmp_path, text)


@pytest.mark.parametrize("name", ["CARDLINE_DATABASE", "CARDLINE_MAILBOX", "CARDLINE_DATABASE__URL"])
def test_no_error_about_a_variable_shows_a_secret(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, f"sqlite:{SECRET}")
    told = refusal(tmp_path, "")
    assert SECRET not in told
    assert name.removeprefix("CARDLINE_").split("__")[0].lower() in told


def test_neither_repr_nor_dump_shows_a_secret(tmp_path: Path) -> None:
    text = f'database = {{ url = "postgresql://u:{SECRET}@192.0.2.1/x" }}\n{MAILBOX}password = "{SECRET}"'
    found = load(tmp_path, text)
    assert found.mailbox[0].password.get_secret_value() == SECRET
    for shown in (repr(found), str(found), repr(found.model_dump()), found.model_dump_json()):
        assert SECRET not in shown


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("CARDLINE_WEB__PORT", "x", "web.port"),
        ("CARDLINE_WEB__PROT", "1", "web.prot: there is no such setting."),
        ("CARDLINE_WEBB__PORT", "1", "CARDLINE_WEBB__PORT: there is no section webb."),
        ("CARDLINE_SIPREC__ALLOW", "192.0.2.0/24", "Write lists and tables as JSON"),
    ],
)
def test_a_wrong_variable_is_named(
    name: str, value: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    assert words in refusal(tmp_path, "")


def test_variables_of_others_are_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CARDLINE_CONFIG", "CARDLINE_PEERS", "CARDLINE_SERVICE_HOST", "CARDLINE_PORT_8040_TCP"):
        monkeypatch.setenv(name, "whatever")
    assert load(tmp_path, "").web.port == 8040


def test_a_file_that_is_missing_a_folder_or_no_text(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.toml", tmp_path):
        with pytest.raises(Misconfigured, match=r"no configuration file.*--config"):
            load_settings(path)
    garbage = tmp_path / "garbage.toml"
    garbage.write_bytes(b"\xff\xfe\x00" + SECRET.encode())
    with pytest.raises(Misconfigured, match="cannot be read") as caught:
        load_settings(garbage)
    assert SECRET not in str(caught.value)


def test_a_file_read_once_does_not_haunt_later_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other").mkdir()
    assert load(tmp_path / "other", 'region = "DE"').region == "DE"
    refusal(tmp_path / "other", "web = {")
    assert Settings().region == "RU"
