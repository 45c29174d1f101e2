"""Calls that are transcribed while they go on: how long after its hang-up each transcript is complete, and its words.

The whole service, and SIPREC calls of synthetic speech played into it side by side at their true pace, all of which
hang up at the same moment. Peer is the same service with the same calls where transcription begins after the hang-up
(`transcribe.live = false`). Then each finished recording is transcribed again: the words must be the same. That is done
twice, since what else is in a batch moves the last bits of what a model computes, and the tests' model is often on the
edge: words count as others where they are others than both times, and how much the two differ is told beside it.
CARDLINE_BENCH_CALLS, CARDLINE_BENCH_SECONDS and CARDLINE_BENCH_PEER=0 make it smaller.
"""

from __future__ import annotations

import os

os.environ.setdefault(
    "OPENBLAS_NUM_THREADS", "1"
)  # as the worker has it: sums of more threads differ in their last bits

import asyncio
import json
import re
import shutil
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import structlog
from sqlalchemy import text

from agent.demo.siprec_client import Played, PlayedCall, play_call
from agent.settings import load_settings
from agent.store import transcripts
from agent.store.engine import Store
from agent.transcribe.models.fetching import TINY_DEMO, find_model
from agent.transcribe.transcriber import Transcriber
from agent.transcribe.wer import fold, word_errors
from tests.acceptance.service import ServiceUnderTest
from tests.bench.result import Result
from tests.speech.calls import make_call
from tests.unit.soundlab import encode

CALLS = int(os.environ.get("CARDLINE_BENCH_CALLS", "10"))
SECONDS = float(os.environ.get("CARDLINE_BENCH_SECONDS", "300"))
WITH_PEER = os.environ.get("CARDLINE_BENCH_PEER", "1") != "0"
SOON = 10.0
_PATIENCE = 900.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """Seconds from each hang-up to its transcript; windows that were answered during the calls; words in all, how many
    of them are others when the finished recording is transcribed, and how many differ from one time to the other."""

    seconds: tuple[float, ...]
    live_answers: int
    words: int
    other_words: int
    unsteady_words: int


def run() -> Result:
    """Both services, one after the other."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        calls = list(pool.map(_call, range(CALLS)))
    ours = asyncio.run(_measure(calls, live=True))
    print(f"live     {ours}", flush=True)
    peer = asyncio.run(_measure(calls, live=False)) if WITH_PEER else None
    if peer:
        print(f"not live {peer}", flush=True)
    worst, later = max(ours.seconds), max(peer.seconds) if peer else None
    return Result(
        bench="live-speech",
        work=f"{CALLS} calls of {SECONDS:g} s at a time, transcribed while they go on",
        unit="s from the hang-up to the transcript, the worst",
        ours=round(worst, 2),
        peer=round(later, 2) if later is not None else None,
        ratio=round(later / worst, 2) if later is not None else None,
        goal=f"at most {SOON:g} s, the same words as of the finished recording",
        holds=worst <= SOON and not ours.other_words and ours.words > 0,
        details={"ours": asdict(ours)} | ({"peer": asdict(peer)} if peer else {}),
    )


def _call(number: int) -> PlayedCall:
    spoken = make_call(number, seconds=SECONDS)
    caller, callee = (b"".join(encode(one, "pcm_alaw")) for one in spoken.channels)
    return PlayedCall(caller=f"+7495000{number:04d}", callee="+74951234567", caller_sound=caller, callee_sound=callee)


async def _measure(calls: Sequence[PlayedCall], *, live: bool) -> _Run:
    with tempfile.TemporaryDirectory(prefix="cardline-bench-") as folder:
        service = ServiceUnderTest(Path(folder))
        model = _model(Path(folder))
        service.settings_of_speech = f'model = "{model}", live = {str(live).lower()}'
        await service.start()
        try:
            played = await asyncio.gather(*(play_call(service.addresses["siprec"], call) for call in calls))
            async with service.store() as store:
                await service.until(lambda: _all_there(store, len(calls)), _PATIENCE)
                seconds = [await _seconds(store, call, end) for call, end in zip(calls, played, strict=True)]
                words, others, unsteady = await _compare(store, service, str(model))
            used = re.findall(r"call_heard_live .*heard=(\d+)", service.log())
            return _Run(
                seconds=tuple(seconds),
                live_answers=sum(map(int, used)),
                words=words,
                other_words=others,
                unsteady_words=unsteady,
            )
        finally:
            await service.stop()


def _model(folder: Path) -> Path:
    """The tests' model without the temperatures at which it draws lots: asked twice it says the same."""
    model = folder / "model"
    shutil.copytree(find_model(TINY_DEMO, data_dir=folder), model)
    habits = json.loads((model / "cardline.json").read_text("utf-8"))
    (model / "cardline.json").write_text(json.dumps(habits | {"temperatures": [0.0]}), "utf-8")
    return model


async def _all_there(store: Store, count: int) -> bool:
    async with store.begin() as connection:
        found: int = (await connection.execute(text("SELECT count(*) FROM transcript"))).scalar_one()
    return found >= count


async def _seconds(store: Store, call: PlayedCall, played: Played) -> float:
    query = text(
        "SELECT transcript.created_at FROM transcript JOIN party USING (interaction_id)"
        " WHERE party.value LIKE :caller LIMIT 1"
    )
    async with store.begin() as connection:
        made = (await connection.execute(query, {"caller": f"%{call.caller.lstrip('+')}%"})).scalar_one()
    return round(float((made - played.ended).total_seconds()), 2)


async def _compare(store: Store, service: ServiceUnderTest, model: str) -> tuple[int, int, int]:
    """Each recording once more, by the same model, with nothing known of it."""
    transcriber = Transcriber(store, service.archive(), load_settings(service.settings_file))
    async with store.begin() as connection:
        found = (await connection.execute(text("SELECT id, interaction_id FROM recording ORDER BY id"))).all()
    for again in (1, 2):
        await asyncio.gather(*(transcriber.transcribe(row.id, model, again) for row in found))
    async with store.begin() as connection:
        made = await transcripts.list_transcripts(connection, [row.interaction_id for row in found], every=True)
    words = others = unsteady = 0
    for row in found:
        said = {one.round: " ".join(each.text for each in one.utterances) for one in made if one.recording_id == row.id}
        words += len(fold(said[1]))
        others += min(word_errors(said[again], said[0]).errors for again in (1, 2))
        unsteady += word_errors(said[1], said[2]).errors
    await transcriber.close()
    return words, others, unsteady
