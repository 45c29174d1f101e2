"""`cardline model`: speech models fetched and listed; `cardline doctor speech`: what this machine is worth for them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from agent.commandline.base import console, fail, read_settings
from agent.errors import CardlineError

if TYPE_CHECKING:
    from agent.settings import Settings
    from agent.transcribe.capacity.machine import Machine, Rating
    from agent.transcribe.models.fetching import Progress

_DAY_HOURS = 24

model = typer.Typer(no_args_is_help=True, help="Speech models: docs/speech.md.")


@model.command()
def fetch(
    names: Annotated[list[str] | None, typer.Argument(help="Which; without a name those of the settings.")] = None,
) -> None:
    """Bring speech models to this machine, and check byte for byte what was fetched before."""
    from agent.transcribe.models.choosing import bring, models_of

    settings = read_settings()
    for name in names or list(models_of(settings)):
        try:
            directory = bring(name, settings, _Printed())
        except CardlineError as error:
            fail(error)
        console.print(f"{escape(name)} is whole, in {escape(str(directory))}", highlight=False)


@model.command("list")
def list_models() -> None:
    """Speech models that are here, and those of the settings that are not."""
    from agent.transcribe.models.choosing import models_of
    from agent.transcribe.models.fetching import find_model, models_on_disk

    settings = read_settings()
    chosen = models_of(settings)
    is_all_here = True
    for name in dict.fromkeys([*chosen, *models_on_disk(settings.data_dir)]):
        try:
            where = str(find_model(name, data_dir=settings.data_dir))
        except CardlineError as error:
            where, is_all_here = str(error), False
        use = f" ({_use(chosen[name])})" if name in chosen else ""
        console.print(f"{name}{use}: {where}", highlight=False, markup=False)
    raise typer.Exit(not is_all_here)


def examine_speech(settings: Settings, *, alone: bool, as_json: bool, seconds: float) -> None:
    """Measure and print; exit 1 where a model of the settings cannot be used."""
    from agent.transcribe.capacity.machine import look, rate

    try:
        machine = look(settings, beside_service=not alone)
        if not as_json:
            _print_machine(machine, settings)
        ratings = _progressing(rate(settings, machine.threads, _samples(), seconds=seconds), quiet=as_json)
    except CardlineError as error:
        fail(error)
    unusable = [one for one in ratings if one.is_chosen and (not one.is_here or one.error)]
    if as_json:
        told = {
            "machine": asdict(machine),
            "models": [{**asdict(one), "hours_a_day": round(one.hours_a_day, 1)} for one in ratings],
        }
        console.print_json(json.dumps(told, ensure_ascii=False))
    else:
        _print_ratings(ratings)
    raise typer.Exit(bool(unusable))


class _Printed:
    """Progress of a fetch, a line for each twentieth."""

    def __init__(self) -> None:
        self._step = -1

    def __call__(self, now: Progress) -> None:
        step = 20 * now.done // max(1, now.total)
        if step != self._step:
            self._step = step
            console.print(
                f"{escape(now.model)}: {now.done / 1e6:.0f} of {now.total / 1e6:.0f} MB",
                highlight=False,
                soft_wrap=True,
            )


def _use(languages: tuple[str, ...]) -> str:
    return ", ".join(languages) or "telling languages apart"


def _samples() -> dict[str, list[Path]]:
    """What the demo's people say, by language: telephone speech of one voice after the other."""
    import agent.demo.sound

    folder = Path(agent.demo.sound.__file__).parent
    samples: dict[str, list[Path]] = {}
    for call in json.loads((folder / "calls.json").read_text(encoding="utf-8")):
        samples.setdefault(call["language"], []).extend(folder / name for name in call["files"].values())
    return samples


def _print_machine(machine: Machine, settings: Settings) -> None:
    gpu = f"{machine.gpus} GPU that can be used" if machine.gpus else "no GPU that can be used"
    console.print(
        f"{machine.cores} cores, of which speech gets {machine.threads}; {machine.memory_mb / 1024:.1f} GB of memory, "
        f"{machine.free_mb / 1024:.1f} free; {gpu}.",
        highlight=False,
    )
    if not settings.transcribe.enabled:
        console.print("Transcription is switched off (transcribe.enabled).")


def _progressing(ratings: Iterable[Rating], *, quiet: bool) -> list[Rating]:
    found = []
    for one in ratings:
        if not quiet and not one.source:
            console.print(f"measured: {escape(one.name)}", style="dim", highlight=False)
        found.append(one)
    return found


def _print_ratings(ratings: list[Rating]) -> None:
    width = max(len(one.name) for one in ratings)
    for one in ratings:
        console.print(f"{one.name:<{width}}  {_figures(one)}", highlight=False, markup=False)
    console.print(
        "An hour of a conversation is an hour of talk. The day has 24 hours, in which this machine does nothing else."
    )
    for source in dict.fromkeys(one.source for one in ratings if one.source):
        console.print(f"Estimated {source}.", highlight=False, markup=False)
    for one in ratings:
        if one.is_chosen and 0 < one.hours_a_day < _DAY_HOURS:
            console.print(
                f"{one.name} is slower than people talk: calls will wait. Take a smaller model.", markup=False
            )


def _figures(one: Rating) -> str:
    use = f"; for {_use(one.languages)}" if one.is_chosen else ""
    if one.error and not one.speed:
        return f"cannot be used{use}: {one.error}"
    speed = f"{one.speed:6.1f} times real time, {one.hours_a_day:5.0f} hours of talk a day"
    if one.source:
        fetched = f", {one.fetch_mb} MB to fetch" if one.fetch_mb else ""
        lacks = f"; {one.error}" if one.error else ""
        return f"{speed} (estimated{fetched}){use}{lacks}"
    return f"{speed}, {one.memory_mb:.0f} MB of memory, loads in {one.load_seconds:.1f} s{use}"
