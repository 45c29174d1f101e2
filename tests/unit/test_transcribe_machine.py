"""What a machine is worth for speech: estimates, real measuring in children, and the commands."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from pytest import approx

from agent.commandline.speech import _samples, examine_speech
from agent.settings import Settings, TranscribeSettings
from agent.transcribe.capacity import machine
from agent.transcribe.capacity.estimates import OFFERED, SHAPES, estimate, size_of
from agent.transcribe.capacity.machine import BLIND_SIZE, Rating, in_child, look, rate
from agent.transcribe.capacity.measuring import Measured, Order
from agent.transcribe.models.catalogue import KNOWN
from agent.transcribe.models.fetching import TINY_DEMO, find_model
from tests.speech.onnx.build import write_ctc
from tests.unit.commands import Installation
from tests.unit.hub_lab import Hub, running
from tests.unit.test_transcribe_models import SMALL, WHISPER

SAMPLES = _samples()


def settings(folder: Path, **told: object) -> Settings:
    return Settings(data_dir=folder, transcribe=TranscribeSettings.model_validate({"model": TINY_DEMO, **told}))


# --- estimates -------------------------------------------------------------------------------------------------------


def test_larger_models_are_slower_and_turbo_lies_between() -> None:
    measured = {"base": 10.0}
    speeds = {size: found.speed for size in SHAPES if (found := estimate(size, measured)) is not None}
    assert speeds["base"] == approx(10.0)
    in_order = ["tiny", "base", "small", "medium", "large-v3-turbo", "large-v3"]
    assert sorted(speeds.values(), reverse=True)[:4] == [speeds[size] for size in in_order[:4]]
    assert speeds["large-v3"] < speeds["large-v3-turbo"] < speeds["small"]
    assert 3 < speeds["base"] / speeds["small"] < 4.5


def test_the_nearest_size_that_was_measured_counts_and_is_named() -> None:
    found = estimate("medium", {"tiny": 100.0, "small": 4.0, "gigaam-v3-ctc": 7.0})
    assert found is not None
    assert found.source.endswith("from small")
    assert 0.5 < found.speed < 4.0


def test_other_models_are_estimated_beside_base_and_unknown_ones_not_at_all() -> None:
    found = estimate("gigaam-v3-ctc", {"base": 2.0})
    assert found is not None
    assert found.speed == approx(2.0 * 58.5 / 23.5)
    assert "onnx-asr" in found.source
    assert estimate("somebody/something", {"base": 2.0}) is None
    assert estimate("small", {"gigaam-v3-ctc": 9.0}) is None
    assert estimate("small", {"base": 0.0}) is None


def test_every_model_that_is_offered_has_a_name_and_an_estimate() -> None:
    assert set(OFFERED) <= set(KNOWN)
    assert all(estimate(name, {"base": 1.0}) for name in OFFERED)
    assert size_of("small.en") == "small"
    assert size_of("turbo") == "large-v3-turbo"
    assert size_of("t-one") is None
    assert size_of(TINY_DEMO) is None


# --- rating ----------------------------------------------------------------------------------------------------------


class Child:
    """Answers instead of a process."""

    def __init__(self, **speeds: float) -> None:
        self.speeds = speeds
        self.orders: list[Order] = []

    def __call__(self, order: Order) -> Measured:
        self.orders.append(order)
        speed = self.speeds.get(order.name, 1.0)
        return Measured(speed=speed, load_seconds=0.5, memory_mb=100.0, error="" if speed else "no memory")


def by_name(ratings: Iterator[Rating]) -> dict[str, Rating]:
    found = list(ratings)
    assert len({one.name for one in found}) == len(found)
    return {one.name: one for one in found}


def test_what_is_here_is_measured_and_the_rest_estimated_from_a_blind_one(tmp_path: Path) -> None:
    child = Child(base=10.0)
    chosen = settings(tmp_path, model="medium", models={"ru": "gigaam-v3-ctc"})
    found = by_name(rate(chosen, 3, SAMPLES, run=child))
    assert [(order.name, order.size) for order in child.orders] == [(TINY_DEMO, ""), (BLIND_SIZE, BLIND_SIZE)]
    assert all(order.threads == 3 for order in child.orders)
    assert not found[TINY_DEMO].is_chosen
    assert (found["medium"].languages, found["gigaam-v3-ctc"].languages) == (("en",), ("ru",))
    for name in ("medium", "gigaam-v3-ctc"):
        assert found[name].is_chosen
        assert not found[name].is_here
        assert found[name].speed > 0
        assert "was not fetched" in found[name].error
        assert found[name].fetch_mb == KNOWN[name].megabytes
    assert BLIND_SIZE not in found, "it knows nothing, so nobody is told of it as a model"
    assert found["large-v3"].hours_a_day == approx(24 * found["large-v3"].speed)


def test_a_real_size_that_is_here_is_the_measure_of_the_others(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "small").symlink_to(find_model(TINY_DEMO, data_dir=tmp_path))
    child = Child(small=4.0)
    found = by_name(rate(settings(tmp_path, model="small"), 1, SAMPLES, run=child))
    assert [order.size for order in child.orders] == ["", ""]
    assert found["small"].speed == 4.0
    assert found["medium"].source.endswith("from small")


def test_each_model_hears_a_language_it_understands(tmp_path: Path) -> None:
    for name in ("gigaam-v3-ctc", "t-one"):
        write_ctc(tmp_path / "models" / name)
    (tmp_path / "models" / "small.en").symlink_to(find_model(TINY_DEMO, data_dir=tmp_path))
    child = Child()
    by_name(rate(settings(tmp_path, languages=["en", "ru"]), 1, SAMPLES, run=child))
    heard = {order.name: order.language for order in child.orders}
    assert heard == {TINY_DEMO: "en", "gigaam-v3-ctc": "ru", "t-one": "ru", "small.en": "en"}


def test_a_child_measures_the_demo_model_and_an_onnx_one(tmp_path: Path) -> None:
    sound = tuple(str(path) for path in SAMPLES["ru"])
    built_in = str(find_model(TINY_DEMO, data_dir=tmp_path))
    for name, directory in ((TINY_DEMO, built_in), ("gigaam-v3-ctc", str(write_ctc(tmp_path / "x")))):
        found = in_child(Order(name=name, directory=directory, sound=sound, seconds=0.1))
        assert found.error == ""
        assert found.speed > 0.1
        assert 50 < found.memory_mb < 2000


def test_a_child_measures_a_size_that_knows_nothing() -> None:
    found = in_child(Order(name="tiny", size="tiny", seconds=0.1))
    assert found.error == ""
    assert found.speed > 0.1


def test_a_child_that_fails_or_is_killed_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sound = tuple(str(path) for path in SAMPLES["ru"])
    (tmp_path / "model.bin").write_bytes(b"x")
    found = in_child(Order(name="x", directory=str(tmp_path), sound=sound))
    assert (found.speed, "cannot be loaded" in found.error) == (0.0, True)
    for code, words in (
        ("import os; os.kill(os.getpid(), 9)", "memory"),
        ("print('{')", "no figures"),
        ("1/0", "Zero"),
    ):
        script = tmp_path / "child.py"
        script.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{code}"\n')
        script.chmod(0o755)
        monkeypatch.setattr(machine.sys, "executable", str(script))  # type: ignore[attr-defined]
        found = in_child(Order(name="x"))
        monkeypatch.undo()
        assert found.speed == 0
        assert words in found.error


def test_in_a_container_its_memory_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_CGROUP", tmp_path)
    whole = look(settings(tmp_path), beside_service=False)
    (tmp_path / "memory.max").write_text("536870912\n")
    (tmp_path / "memory.current").write_text("134217728\n")
    limited = look(settings(tmp_path), beside_service=False)
    assert (limited.memory_mb, limited.free_mb) == (512, 384)
    (tmp_path / "memory.max").write_text("max\n")
    assert look(settings(tmp_path), beside_service=False).memory_mb == whole.memory_mb


def test_this_machine(tmp_path: Path) -> None:
    found = look(settings(tmp_path, threads=1, device="cpu"), beside_service=True)
    assert found.threads == 1
    assert found.cores >= 1
    assert 0 < found.free_mb <= found.memory_mb
    assert found.gpus == 0


# --- commands --------------------------------------------------------------------------------------------------------


async def test_models_are_fetched_and_listed_by_command(tmp_path: Path) -> None:
    installation = Installation(tmp_path)
    with running(Hub(files={SMALL: WHISPER})) as hub:
        listed = await installation.run("model", "list")
        assert (listed.code, "It was not fetched yet" in listed.out) == (1, True)
        fetched = await installation.run("model", "fetch", HF_ENDPOINT=hub.address)
        assert fetched.code == 0, fetched
        assert "small: 3 of 3 MB" in fetched.out
        assert f"small is whole, in {installation.data / 'models' / 'small'}" in fetched.out
        again = await installation.run("model", "fetch", "small", HF_ENDPOINT=hub.address)
        assert again.out.count("\n") == 1
        assert len(hub.sent("model.bin")) == 1
    listed = await installation.run("model", "list")
    assert listed.code == 0
    assert f"small (ru, en): {installation.data / 'models' / 'small'}" in listed.out
    assert f"{TINY_DEMO}: " in listed.out
    offline = await installation.run("model", "fetch", "medium", HF_HUB_OFFLINE="1")
    assert (offline.code, "HF_HUB_OFFLINE forbids" in offline.err) == (1, True)


@pytest.mark.parametrize(("model", "code"), [(TINY_DEMO, 0), ("large-v3", 1)])
def test_the_doctor_says_what_this_machine_is_worth(
    model: str, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(machine, "in_child", Child(**{TINY_DEMO: 0.5, BLIND_SIZE: 10.0}))
    chosen = settings(tmp_path, model=model, threads=1)
    for as_json in (False, True):
        with pytest.raises(typer.Exit) as ended:
            examine_speech(chosen, alone=False, as_json=as_json, seconds=1)
        assert ended.value.exit_code == code
    told, _, figures = capsys.readouterr().out.partition("{")
    assert "of which speech gets 1" in told
    assert "12 hours of talk a day, 100 MB of memory, loads in 0.5 s" in told
    assert "Estimated by the arithmetic of its layers" in told
    assert ("tiny-demo is slower than people talk" in told) == (model == TINY_DEMO)
    assert ("3090 MB to fetch); for ru, en; The speech model large-v3 is not on this" in told) == (model != TINY_DEMO)
    found = {one["name"]: one for one in json.loads("{" + figures)["models"]}
    assert found["large-v3"]["hours_a_day"] > 0
    assert found["large-v3"]["is_chosen"] == (model == "large-v3")
    assert (found[TINY_DEMO]["source"], found[TINY_DEMO]["hours_a_day"]) == ("", 12.0)
