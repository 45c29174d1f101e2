"""A recording on one channel says that its parties are not separated, and claims of nobody that he said something."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from agent.intake import Intake
from agent.model import CapturedCall, CapturedParty, Disposition, IdentityKind, Utterance
from agent.store import evidence, recordings, transcripts
from agent.store.engine import Store
from tests.unit.soundfiles import wav_bytes
from tests.unit.soundlab import chirps
from tests.unit.web_pages import people, server, world
from tests.web_world import Browser

__all__ = ["people", "server", "world"]

_START = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)


async def test_the_page_says_it(store: Store, intake: Intake, people: dict[str, Browser], tmp_path: Path) -> None:
    call = CapturedCall(
        source="recordings:office",
        key="1",
        started=_START,
        answered=_START,
        ended=_START + timedelta(seconds=3),
        disposition=Disposition.ANSWERED,
        parties=(
            CapturedParty(position="caller", kind=IdentityKind.PHONE, value="+74950000099", name="Mixed", channel=0),
            CapturedParty(position="callee", kind=IdentityKind.PHONE, value="101", channel=0),
        ),
    )
    path = tmp_path / "call.wav"
    path.write_bytes(wav_bytes(chirps(3.0)))
    recording_id = await intake.keep_recording(call, path, reference="r")
    said = [Utterance(channel=0, start=0.5, end=2.0, text="Добрый день", confidence=0.9)]
    async with store.begin() as connection:
        found = await recordings.find_recording(connection, recording_id or 0)
        assert found is not None
        await transcripts.save_transcript(
            connection, recording_id=found.id, model="small", language="ru", utterances=said
        )
        proofs = await evidence.list_evidence_of(connection, found.interaction_id)
    _, page = await people["admin"].get(f"/interactions/{found.interaction_id}")
    assert "Голоса не разделены" in page
    assert '<span class="speaker">Разговор</span>' in page
    assert page.index("Разговор</span>") < page.index("Добрый день")
    (original,) = [one.id for one in proofs if one.blob]
    async with people["admin"].http.get(f"/evidence/{original}/original") as answer:
        assert answer.headers["Content-Disposition"].endswith('filename="call.wav"')
        assert await answer.read() == path.read_bytes()
