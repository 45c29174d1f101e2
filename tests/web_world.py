"""A small company for the tests of the pages: stored through the real door, linked by the real linker.

Anna and Ivan are managers. Maria is Anna's client, the Camomile company is Ivan's; an unknown number has called Anna.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import av
import numpy as np
from aiohttp import ClientSession, CookieJar
from yarl import URL

from agent.archive.blobs import Archive
from agent.intake import Intake
from agent.model import (
    CapturedCall,
    CapturedMail,
    CapturedParty,
    Disposition,
    Gap,
    Identity,
    IdentityKind,
    MessageCategory,
    SourceState,
    UserRole,
    Utterance,
)
from agent.model_mail import ParsedAttachment, ParsedMessage
from agent.settings import Settings, WebSettings
from agent.store import accounts, blobs, cards, employees, messages, recordings, sources, transcripts
from agent.store.engine import Store
from agent.web.app import WebServer
from agent.web.services import Services
from linker.link import Linker

PASSWORD = "correct horse battery"
ANNA, IVAN = "+74950000101", "ivan@example.com"
MARIA, MARIA_MAIL = "+74950000011", "maria@client.example.org"
CAMOMILE = "+74950000022"
STRANGER = "+74950000033"
NOW = datetime.now(UTC).replace(microsecond=0)

SAID = (
    (0, 1.0, "Здравствуйте, это Мария. Я смотрела ваше предложение."),
    (1, 4.5, "Добрый день, Мария! Спасибо, что перезвонили."),
    (1, 7.2, "Что вы решили по срокам поставки?"),
    (0, 10.1, "Нам подходит начало декабря, если доставка входит в цену."),
    (1, 15.8, "Да, доставка входит. Счёт я пришлю сегодня до пяти."),
    (0, 20.3, "Отлично, тогда жду. И добавьте, пожалуйста, два стола."),
    (1, 25.9, "Записала: два стола. Хорошего дня!"),
)


def tone_flac(seconds: float, *, rate: int = 8000) -> bytes:
    """Stereo FLAC as a recorder makes it; every ten seconds the pitch of the left channel is another one."""
    samples = np.arange(int(seconds * rate)) / rate
    pitch = 200 + 50 * ((samples // 10).astype(int) % 7)
    channels = [np.sin(2 * np.pi * np.cumsum(pitch) / rate), np.sin(2 * np.pi * 440 * samples)]
    noise = np.random.default_rng(7).normal(0, 0.05, (2, len(samples)))
    data = ((np.stack(channels) * 0.4 + noise) * 20000).astype(np.int16)
    output = io.BytesIO()
    with av.open(output, "w", format="flac") as container:
        stream: Any = container.add_stream("flac", rate=rate, layout="stereo")
        for start in range(0, data.shape[1], rate):
            piece = np.ascontiguousarray(data[:, start : start + rate].T).reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(piece, format="s16", layout="stereo")
            frame.sample_rate, frame.pts = rate, start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return output.getvalue()


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Ids of what was stored."""

    maria: int
    camomile: int
    marias_call: int
    marias_recording: int
    camomiles_call: int
    camomiles_recording: int
    camomiles_mail: int
    camomiles_attachment: int
    camomiles_evidence: int
    strangers_call: int
    unreadable_evidence: int
    ivan: int


class Builder:
    """Stores things as the sources would, one line each."""

    def __init__(self, store: Store, archive: Archive, intake: Intake, settings: Settings) -> None:
        self.store, self.archive, self.intake = store, archive, intake
        self.linker = Linker(store, settings)
        self._number = 0

    def _key(self) -> str:
        self._number += 1
        return f"key-{self._number}"

    async def employee(self, name: str, *identities: Identity) -> int:
        async with self.store.begin() as connection:
            number = await employees.insert_employee(connection, name)
            for identity in identities:
                await employees.insert_identity(connection, number, identity)
        return number

    async def account(self, login: str, name: str, role: UserRole, employee_id: int | None = None) -> int:
        async with self.store.begin() as connection:
            return await accounts.insert_account(connection, login, name, PASSWORD, role, employee_id)

    async def card(self, name: str, *identities: Identity, responsible: int | None = None, **more: Any) -> int:
        async with self.store.begin() as connection:
            number = await cards.insert_card(connection, name, responsible_id=responsible, **more)
            for identity in identities:
                await cards.insert_contact_point(connection, number, identity)
        return number

    async def call(
        self,
        caller: str,
        callee: str,
        started: datetime,
        *,
        ring: float = 6,
        talk: float | None = 30,
        disposition: Disposition = Disposition.ANSWERED,
        caller_name: str = "",
        flags: tuple[str, ...] = (),
        ended: bool = True,
        capture_id: str | None = None,
    ) -> int:
        answered = started + timedelta(seconds=ring) if talk is not None else None
        end = (answered or started + timedelta(seconds=ring)) + timedelta(seconds=talk or 0)
        number = await self.intake.open_call(
            CapturedCall(
                source="siprec",
                key=self._key(),
                started=started,
                answered=answered,
                ended=end if ended else None,
                disposition=disposition,
                parties=(
                    CapturedParty(
                        position="caller", kind=IdentityKind.PHONE, value=caller, name=caller_name, channel=0
                    ),
                    CapturedParty(position="callee", kind=IdentityKind.PHONE, value=callee, channel=1),
                ),
                flags=flags,
                capture_id=capture_id,
            )
        )
        await self.linker.link([number])
        return number

    async def recording(
        self,
        interaction_id: int,
        started: datetime,
        flac: bytes,
        seconds: float,
        *,
        said: Sequence[tuple[int, float, str]] | None = None,
        gaps: tuple[Gap, ...] = (),
        truncated: bool = False,
    ) -> int:
        sealed = await asyncio.to_thread(self.archive.seal, flac, media_type="audio/flac")
        capture_id = f"capture-{self._key()}"
        async with self.store.begin() as connection:
            await recordings.open_capture(connection, capture_id, interaction_id, "test")
            await recordings.close_capture(connection, capture_id, truncated=truncated)
            number = await recordings.save_recording(
                connection,
                capture_id=capture_id,
                interaction_id=interaction_id,
                blob_id=await blobs.save_blob(connection, sealed, source="siprec"),
                started=started,
                duration_ms=round(seconds * 1000),
                channels=2,
                sample_rate=8000,
                gaps=gaps,
                truncated=truncated,
            )
            await recordings.mark_assembled(connection, capture_id)
            if said is not None:
                lines = [
                    Utterance(channel=channel, start=start, end=start + 2.5, text=text, confidence=0.9)
                    for channel, start, text in said
                ]
                await transcripts.save_transcript(
                    connection, recording_id=number, model="small", language="ru", utterances=lines
                )
        return number

    async def mail(
        self,
        sender: tuple[str, str],
        recipient: tuple[str, str],
        sent: datetime,
        subject: str,
        text: str,
        *,
        html: str = "",
        reply_to: str = "",
        message_id: str = "",
        attachments: tuple[ParsedAttachment, ...] = (),
        raw: bytes = b"",
    ) -> tuple[int, int]:
        """Evidence and interaction."""
        key = self._key()
        (proof,) = await self.intake.store_evidence(
            [CapturedMail(source="imap:sales", key=key, raw=raw or key.encode(), received=sent + timedelta(seconds=4))]
        )
        parties = [
            CapturedParty(position=position, kind=IdentityKind.ADDRESS, value=address, name=name)
            for position, (name, address) in (("from", sender), ("to", recipient))
        ]
        number = await self.intake.accept_message(
            proof,
            ParsedMessage(
                logical_key=key,
                message_id=message_id or f"{key}@example.com",
                in_reply_to=(reply_to,) if reply_to else (),
                references=(reply_to,) if reply_to else (),
                subject=subject,
                sent=sent,
                parties=tuple(parties),
                category=MessageCategory.CONVERSATION,
                category_reason="a person wrote it",
                text=text,
                html=html,
                attachments=attachments,
            ),
        )
        await self.linker.link([number])
        return proof, number


def phone(value: str) -> Identity:
    """A phone."""
    return Identity(kind=IdentityKind.PHONE, value=value)


def extension(value: str) -> Identity:
    """An extension."""
    return Identity(kind=IdentityKind.EXTENSION, value=value)


def address(value: str) -> Identity:
    """A mail address."""
    return Identity(kind=IdentityKind.ADDRESS, value=value)


async def build(builder: Builder, attachment: ParsedAttachment, raw: bytes, *, hostile: str = "") -> World:
    """Everything that the tests look at; ``hostile`` is put wherever the outside can put words."""
    anna = await builder.employee("Анна Петрова", extension("101"), address("anna@example.com"))
    ivan = await builder.employee("Иван Сидоров", extension("102"), address(IVAN))
    await builder.account("admin", "Ольга Админ", UserRole.ADMINISTRATOR)
    await builder.account("boss", "Пётр Босс", UserRole.SUPERVISOR)
    await builder.account("anna", "Анна Петрова", UserRole.MANAGER, anna)
    await builder.account("ivan", "Иван Сидоров", UserRole.MANAGER, ivan)
    await builder.account("nobody", "Без Сотрудника", UserRole.MANAGER)
    maria = await builder.card("Мария Смирнова", phone(MARIA), address(MARIA_MAIL), responsible=anna)
    camomile = await builder.card(f"ООО «Ромашка»{hostile}", phone(CAMOMILE), address("info@camomile.example.org"))
    flac = await asyncio.to_thread(tone_flac, 30)
    early = NOW - timedelta(days=3, hours=2)
    marias_call = await builder.call(MARIA, "101", NOW - timedelta(hours=1), caller_name="Мария")
    marias_recording = await builder.recording(marias_call, NOW - timedelta(hours=1), flac, 30, said=SAID)
    camomiles_call = await builder.call("102", CAMOMILE, early, flags=(f"odd header {hostile}",))
    camomiles_recording = await builder.recording(
        camomiles_call, early, flac, 30, said=[(1, 1.0, f"Алло {hostile}")], gaps=(_gap(hostile),), truncated=True
    )
    proof, camomiles_mail = await builder.mail(
        (f"Вера {hostile}", "info@camomile.example.org"),
        ("Иван", IVAN),
        early + timedelta(hours=1),
        f"Заявка {hostile}",
        f"Текст письма {hostile}\n\n> цитата {hostile}",
        html="<p>Письмо <b>с оформлением</b></p>",
        attachments=(attachment,),
        raw=raw,
    )
    strangers_call = await builder.call(
        STRANGER,
        "101",
        NOW - timedelta(hours=2),
        talk=None,
        disposition=Disposition.NO_ANSWER,
        caller_name=f"Кто-то {hostile}",
    )
    (unreadable,) = await builder.intake.store_evidence(
        [CapturedMail(source="smtp", key="broken", raw=b"\0\0", received=NOW)]
    )
    await builder.intake.reject_evidence(unreadable, f"no header could be read {hostile}")
    async with builder.store.begin() as connection:
        await sources.save_status(connection, "siprec", SourceState.RUNNING)
        await sources.save_status(connection, "imap:sales", SourceState.LOGIN_FAILED, f"refused {hostile}")
        camomiles_attachment = (await _attachments(connection, camomiles_mail))[0]
    return World(
        maria=maria,
        camomile=camomile,
        marias_call=marias_call,
        marias_recording=marias_recording,
        camomiles_call=camomiles_call,
        camomiles_recording=camomiles_recording,
        camomiles_mail=camomiles_mail,
        camomiles_attachment=camomiles_attachment,
        camomiles_evidence=proof,
        strangers_call=strangers_call,
        unreadable_evidence=unreadable,
        ivan=ivan,
    )


def _gap(hostile: str) -> Gap:
    return Gap(channel=0, start_ms=3000, end_ms=4500, reason=f"lost {hostile}")


async def _attachments(connection: Any, interaction_id: int) -> list[int]:
    return [one.id for one in await messages.list_attachments(connection, [interaction_id])]


async def serve(store: Store, archive: Archive, settings: Settings, extract_part: Any) -> WebServer:
    """The pages on a free port of this machine."""
    server = WebServer(
        Services(
            settings=settings,
            store=store,
            archive=archive,
            linker=Linker(store, settings),
            extract_part=extract_part,
        )
    )
    await server.start()
    return server


def settings_for(data_dir: Any, **web: Any) -> Settings:
    """Settings that open a free port and read no file."""
    return Settings(data_dir=data_dir, web=WebSettings(port=0, **web))


class Browser:
    """An HTTP client with cookies that can log in and bring forms' tokens back."""

    def __init__(self, server: WebServer) -> None:
        self.base = URL(f"http://{server.address[0]}:{server.address[1]}")
        self.http = ClientSession(
            base_url=self.base, cookie_jar=CookieJar(unsafe=True), headers={"Accept": "text/html"}
        )

    async def log_in(self, login: str, password: str = PASSWORD) -> int:
        """Status of the answer to the form."""
        token = await self.token("/login")
        form = {"login": login, "password": password, "csrf": token, "next": "/"}
        async with self.http.post("/login", data=form, allow_redirects=False) as answer:
            return answer.status

    async def token(self, path: str = "/cards") -> str:
        """The token in the first form of a page."""
        async with self.http.get(path) as answer:
            text = await answer.text()
        _, found, rest = text.partition('name="csrf" value="')
        assert found, text[:500]
        return rest.partition('"')[0]

    async def get(self, path: str, **headers: str) -> tuple[int, str]:
        """Status and text."""
        async with self.http.get(path, headers=headers, allow_redirects=False) as answer:
            return answer.status, (await answer.read()).decode(errors="replace")

    async def post(self, path: str, **form: str) -> int:
        """Status of a form sent with the right token."""
        form.setdefault("csrf", await self.token())
        async with self.http.post(path, data=form, allow_redirects=False) as answer:
            return answer.status

    async def close(self) -> None:
        """Forget everything."""
        await self.http.close()
