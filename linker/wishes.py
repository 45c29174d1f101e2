"""What a delivery is to tell: the activity, recording and transcript as they are now, and the card they belong on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from agent.model import Identity, InteractionKind
from agent.settings_crm import CrmSettings
from agent.store import cards, history, mirror
from agent.store.connectors import Connector
from agent.store.deliveries import Delivery
from agent.store.engine import Store
from agent.store.history import Entry
from linker.crm.compose import compose, compose_transcript, credited, digest
from linker.crm.facts import Activity, CallToLog, CardToCreate, ExternalId, TranscriptToAttach
from linker.crm.protocol import Capability, Crm, CrmGone, CrmRefused
from linker.outbox import Wanted


class NotYet(Exception):
    """It is not to be told yet."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """A delivery with all that is to be told of it."""

    delivery: Delivery
    activity: Activity | None
    recording_id: int | None
    transcript: TranscriptToAttach | None
    wanted: Wanted


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What is known of a batch of deliveries: entries by interaction, places by card, users by employee."""

    entries: Mapping[int, Entry]
    places: Mapping[int, Sequence[tuple[str, str]]]
    users: Mapping[int, str]


async def load(connection: AsyncConnection, connector: Connector, batch: Sequence[Delivery]) -> Batch:
    living = [one for one in batch if not one.withdrawn and one.interaction_id is not None]
    entries = await history.load_entries(connection, [one.interaction_id for one in living if one.interaction_id])
    cards_wanted = [one.card_id for one in living if one.card_id is not None]
    parties = [credited(one) for one in entries]
    who = [one.employee_id for one in parties if one is not None and one.employee_id is not None]
    return Batch(
        entries={one.interaction.id: one for one in entries},
        places=await mirror.list_places(connection, connector.id, cards_wanted),
        users=await mirror.find_users(connection, connector.id, who),
    )


class Composer:
    """For one CRM and one batch."""

    def __init__(self, store: Store, settings: CrmSettings, known: Batch, crm: Crm, *, public_url: str) -> None:
        self._store = store
        self._settings = settings
        self._known = known
        self._crm = crm
        self._public_url = public_url

    def place(self, one: Delivery) -> ExternalId | None:
        """The card over there as the mirror knows it."""
        places = self._known.places.get(one.card_id) if one.card_id is not None else None
        return ExternalId(kind=places[0][0], id=places[0][1]) if places else None

    def entry(self, one: Delivery) -> Entry | None:
        if one.withdrawn or one.interaction_id is None or one.card_id is None:
            return None
        entry = self._known.entries.get(one.interaction_id)
        if entry is None:
            return None
        is_told = self._settings.calls if entry.interaction.kind is InteractionKind.CALL else self._settings.mails
        return entry if is_told or one.logged else None

    async def prepare(self, one: Delivery, entry: Entry | None) -> Work:
        nothing = Work(delivery=one, activity=None, recording_id=None, transcript=None, wanted=Wanted())
        if entry is None:
            return nothing
        if (wait := self._enrich_wait(one, entry)) > 0:
            raise NotYet(wait)
        card = await self._place(one, entry)
        settings = self._settings
        activity = compose(
            entry,
            key=one.key,
            card=card,
            employee=self._employee(entry),
            public_url=self._public_url,
            language=settings.language,
            mail_text=settings.mail_text,
        )
        capability = Capability.LOG_CALLS if isinstance(activity, CallToLog) else Capability.LOG_MAILS
        if activity is None or not self._crm.scorecard.can(capability):
            return nothing
        return self._wish(one, entry, activity)

    def _wish(self, one: Delivery, entry: Entry, activity: Activity) -> Work:
        recording = entry.recordings[0] if entry.recordings else None
        mode = self._recording_mode() if recording is not None else ""
        transcript = None
        if recording is not None and self._settings.transcripts and self._crm.scorecard.can(Capability.TRANSCRIPT):
            spoken = next((each for each in entry.transcripts if each.recording_id == recording.id), None)
            transcript = compose_transcript(entry, spoken) if spoken is not None else None
        wanted = Wanted(
            activity=digest(activity, one.key),
            recording=f"{recording.id}:{mode}" if recording is not None and mode else "",
            transcript=digest(transcript, one.key) if transcript is not None else "",
            enrich=self._settings.enrich and self._crm.scorecard.can(Capability.FIND_FOREIGN),
        )
        return Work(
            delivery=one,
            activity=activity,
            recording_id=recording.id if recording is not None else None,
            transcript=transcript,
            wanted=wanted,
        )

    def _recording_mode(self) -> str:
        asked, can = self._settings.recordings, self._crm.scorecard.can
        if asked in ("auto", "upload") and can(Capability.UPLOAD_RECORDING):
            return "upload"
        if asked in ("auto", "link") and can(Capability.LINK_RECORDING) and self._public_url:
            return "link"
        return ""

    def _enrich_wait(self, one: Delivery, entry: Entry) -> float:
        """Seconds until another integration has had its time."""
        if not self._settings.enrich or one.logged:
            return 0.0
        ended = entry.call.ended if entry.call is not None and entry.call.ended else entry.interaction.started
        due = ended + timedelta(seconds=self._settings.enrich_wait_seconds)
        return (due - datetime.now(UTC)).total_seconds()

    def _employee(self, entry: Entry) -> str | None:
        party = credited(entry)
        user = self._known.users.get(party.employee_id) if party is not None and party.employee_id else None
        return user or self._settings.default_user or None

    # --- Which card over there ----------------------------------------------------------------------------------------

    async def _place(self, one: Delivery, entry: Entry) -> ExternalId:
        """The card over there that is ours: known, found, or made."""
        assert one.card_id is not None
        if (known := self.place(one)) is not None:
            return known
        async with self._store.begin() as connection:
            card = await cards.find_card(connection, one.card_id)
        if card is None:
            raise CrmGone("The card is no more here.", remedy="Put the entry on another card.")
        identities = tuple(point.identity for point in card.contact_points)
        found = [each.id for each in (await self._crm.find_cards(identities) if identities else ())]
        if len(found) > 1:
            several = ", ".join(str(each) for each in found[:5])
            remedy = "Merge them over there, or take the shared number from all but one; then try again."
            raise CrmRefused(f"{card.name} may be any of {len(found)} cards: {several}.", remedy=remedy)
        place = found[0] if found else await self._make_card(one, card, identities)
        async with self._store.begin() as connection:
            await mirror.save_card(
                connection,
                one.connector_id,
                kind=place.kind,
                external_id=place.id,
                client_card_id=one.card_id,
                name=card.name,
                identities=(),
                responsible="",
            )
        return place

    async def _make_card(self, one: Delivery, card: cards.ClientCard, identities: Sequence[Identity]) -> ExternalId:
        if not self._settings.create_cards or not self._crm.scorecard.can(Capability.CREATE_CARDS):
            remedy = "Make it there with this number or address, then try again; or set create_cards of this [[crm]]."
            raise CrmRefused(f"The CRM has no card for {card.name}.", remedy=remedy)
        responsible = None
        if card.responsible_id is not None:
            async with self._store.begin() as connection:
                users = await mirror.find_users(connection, one.connector_id, [card.responsible_id])
            responsible = users.get(card.responsible_id)
        return await self._crm.create_card(
            CardToCreate(
                key=one.key, name=card.name, kind=card.kind, identities=tuple(identities), responsible=responsible
            )
        )
