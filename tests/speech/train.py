"""Train the tests' model: ``python -m tests.speech.train MATERIAL OUT.npz --minutes 60 --from MODEL_DIRECTORY``.

Needs the packages of tests/speech/requirements.txt. What makes it quick enough for two cores: windows grow from 6 s to
26 s; the encoder is told which phoneme is heard when and the decoder where to look for each word (espeak-ng knows
both); timestamps share one smooth map of Whisper's sinusoids instead of 1501 rows of their own.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - as everybody names it

from tests.speech.joining import Example, Joiner
from tests.speech.network import Shape, Tensor, decode, encode, new_weights, sinusoids
from tests.speech.vocabulary import TIMESTAMPS, tokens
from tests.speech.weights import Arrays, read_model, read_npz

_POSITIONS_A_SECOND = 50
_GUIDED = ((1, 0), (1, 1), (2, 0), (2, 1))  # (layer, head) of the decoder that learn to look at the word they write
_AVERAGED = 0.99  # what is kept of the average of weights at each step
_LONGEST_STEP = 10.0  # seconds; what is longer was stopped
_TABLE = "decoder/embeddings/weight"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Until which share of the time it lasts; seconds of speech in a window and of the window itself; windows at once.
    ``block``: as `encode` has it; ``moved``: windows begin anywhere in the 30 s, so that all positions are learnt."""

    until: float
    seconds: float
    padded: float
    batch: int
    block: int = 1500
    moved: bool = False


STAGES = (
    Stage(until=0.40, seconds=5.8, padded=6.0, batch=16, block=150, moved=True),
    Stage(until=0.60, seconds=12.5, padded=13.0, batch=8, block=325, moved=True),
    Stage(until=0.70, seconds=25.2, padded=26.0, batch=4, block=650),
)
# At last windows of all lengths, as they are at work: the sound, half a second, filled up to a multiple of 2.5 s.
_LAST = (4.5, 4.5, 4.5, 7.0, 7.0, 7.0, 7.0, 9.5, 9.5, 9.5, 12.0, 12.0, 24.5)
_LAST_SECONDS = 90.0  # of sound in a batch of them


class Learner:
    """The weights while they are learnt; ``extra`` are those that only training needs."""

    def __init__(self, shape: Shape, vocabulary: int, phonemes: int) -> None:
        self.shape = shape
        self.weights = new_weights(shape, vocabulary)
        self.waves = sinusoids(1500, shape.width)
        self.waves = torch.cat([self.waves, self.waves[-1:]])
        width = shape.width
        self.extra: dict[str, Tensor] = {
            "time_map": torch.eye(width) * 0.3,
            "time_bias": torch.zeros(width),
            "phonemes": torch.randn(phonemes + 1, width) * 0.05,
            "words": torch.randn(vocabulary - TIMESTAMPS, width) * 0.05,
        }

    def start_from(self, known: Arrays, vocabulary: Sequence[str], mine: Sequence[str]) -> None:
        """Take over what another model of the same width has, and of its embeddings the rows of the same tokens."""
        for name, value in known.items():
            if name in self.weights and name != _TABLE and self.weights[name].shape == value.shape:
                self.weights[name] = torch.from_numpy(value.copy())
        table = torch.from_numpy(known[_TABLE].copy())
        rows = {token: row for row, token in enumerate(vocabulary)}
        for index, token in enumerate(mine[:-TIMESTAMPS]):
            if token in rows:
                self.weights[_TABLE][index] = table[rows[token]]
        design = torch.cat([self.waves, torch.ones(TIMESTAMPS, 1)], dim=1)
        fitted = torch.linalg.lstsq(design, table[-TIMESTAMPS:], driver="gelsd").solution
        self.extra["time_map"], self.extra["time_bias"] = fitted[:-1].contiguous(), fitted[-1].contiguous()

    def go_on_from(self, extra: Arrays) -> None:
        """Take over what only training needs, too."""
        self.extra |= {name: torch.from_numpy(value.copy()) for name, value in extra.items() if name in self.extra}

    def parameters(self) -> list[Tensor]:
        """All that is learnt, ready to be optimised."""
        self.weights[_TABLE] = self.weights[_TABLE][:-TIMESTAMPS].contiguous()
        found = [*self.weights.values(), *self.extra.values()]
        for one in found:
            one.requires_grad_(True)
        return found

    def table(self) -> Tensor:
        """The embeddings of all tokens."""
        times = self.waves @ self.extra["time_map"] + self.extra["time_bias"]
        return torch.cat([self.weights[_TABLE], times])

    def losses(self, batch: Sequence[Example], stage: Stage, first: int = 0) -> dict[str, Tensor]:
        """How wrong the answers are, and what guides the way to them."""
        mels = torch.from_numpy(np.stack([one.mel for one in batch]))
        length = max(len(one.tokens) for one in batch)
        given = torch.tensor([one.tokens + [0] * (length - len(one.tokens)) for one in batch])
        wanted = torch.tensor([one.targets + [-100] * (length - len(one.targets)) for one in batch])
        weights = {name: value.bfloat16() for name, value in self.weights.items()}
        table = self.table().bfloat16()
        sound, half_way = encode(weights, self.shape, mels.bfloat16(), first=first, block=stage.block)
        found, looked = decode(weights, self.shape, table, given, sound)
        scores = (found @ table.T).float()
        right = (scores.argmax(-1) == wanted)[wanted != -100].float().mean()
        return {
            "answer": self._answer(scores, wanted),
            "look": _looking(looked, batch, length),
            "phoneme": self._phoneme(half_way.float(), batch),
            "word": self._word(sound.float(), batch),
            "right": right.detach(),
        }

    def _answer(self, scores: Tensor, wanted: Tensor) -> Tensor:
        """Cross-entropy; a timestamp that is 20 or 40 ms beside is not all wrong."""
        logs = scores.flatten(0, 1).log_softmax(-1)
        flat = wanted.flatten()
        logs, flat = logs[flat != -100], flat[flat != -100]
        first = scores.shape[-1] - TIMESTAMPS
        is_time = flat >= first
        sure = -logs.gather(1, flat[:, None])[:, 0]
        near = (flat[:, None] + torch.arange(-3, 4)).clamp(min=0, max=scores.shape[-1] - 1)
        share = torch.tensor([0.05, 0.1, 0.2, 0.3, 0.2, 0.1, 0.05])
        soft = -(logs.gather(1, near) * share).sum(1) - 1.7  # less the entropy of the shares
        return torch.where(is_time, soft, sure).mean()

    def _phoneme(self, half_way: Tensor, batch: Sequence[Example]) -> Tensor:
        named = torch.zeros(half_way.shape[:2], dtype=torch.long)
        for row, one in enumerate(batch):
            for name, begin, end in one.phonemes:
                named[row, round(begin * _POSITIONS_A_SECOND) : round(end * _POSITIONS_A_SECOND)] = name + 1
        scores = F.layer_norm(half_way, half_way.shape[-1:]) @ self.extra["phonemes"].T
        return F.cross_entropy(scores.flatten(0, 1), named.flatten())

    def _word(self, sound: Tensor, batch: Sequence[Example]) -> Tensor:
        places = [
            (row, min(sound.shape[1] - 1, round(at * _POSITIONS_A_SECOND)), token)
            for row, one in enumerate(batch)
            for token, at in one.words
        ]
        rows, positions, named = torch.tensor(places or [(0, 0, 0)]).T
        return F.cross_entropy(sound[rows, positions] @ self.extra["words"].T, named)


def _looking(looked: Sequence[Tensor], batch: Sequence[Example], length: int) -> Tensor:
    """How little the guided heads look at where the word they are about to write is heard."""
    spans = [(row, index, *look) for row, one in enumerate(batch) for index, look in enumerate(one.looks) if look]
    if not spans:
        return torch.zeros(())
    rows, indices, begins, ends = (torch.tensor(column) for column in zip(*spans, strict=True))
    places = torch.arange(looked[0].shape[-1]) / _POSITIONS_A_SECOND
    inside = (places > begins[:, None] - 0.03) & (places < ends[:, None] + 0.03)
    total = torch.zeros(())
    for layer, head in _GUIDED:
        share = (looked[layer][rows, head, indices] * inside).sum(-1)
        total = total - (share + 1e-4).log().mean()
    return total / len(_GUIDED)


class Average:
    """The average of the weights over the last steps, which is better than any one of them."""

    def __init__(self, learner: Learner) -> None:
        self._learner = learner
        self._kept: dict[str, Tensor] = {}

    def update(self) -> None:
        """Take in the weights as they are now."""
        with torch.no_grad():
            for name, value in self._now().items():
                kept = self._kept.setdefault(name, value.clone())
                kept.lerp_(value, 1 - _AVERAGED)

    def save(self, path: Path) -> None:
        """Write it where `tests.speech.export` reads it, in one move."""
        partial = path.with_suffix(".part.npz")
        np.savez(partial, **{name: value.numpy() for name, value in self._kept.items()})
        partial.replace(path)
        extra = {name: value.detach().numpy() for name, value in self._learner.extra.items()}
        np.savez(path.with_suffix(".extra.npz"), **extra)

    def _now(self) -> dict[str, Tensor]:
        return {
            **{name: value.detach() for name, value in self._learner.weights.items()},
            _TABLE: self._learner.table(),
        }


def train(material: Path, out: Path, *, minutes: float, start: Path | None, peak: float, begin: float) -> None:
    """Learn for ``minutes``, from share ``begin`` of the stages on; what was reached is saved every 100 steps."""
    torch.manual_seed(0)
    joiner = Joiner(material, seed=int(time.time()))
    learner = Learner(Shape(), joiner.vocabulary, len(joiner.phonemes))
    if start is not None:
        learner.start_from(*_known(start), tokens())
        extra = start.with_suffix(".extra.npz")
        if start.suffix == ".npz" and extra.exists():
            learner.go_on_from(read_npz(extra))
    parameters = learner.parameters()
    optimiser = torch.optim.AdamW(parameters, lr=peak, betas=(0.9, 0.98), weight_decay=0.01)
    average = Average(learner)
    torch.set_flush_denormal(True)  # attention is full of numbers next to nothing, which are slow
    for step, (share, stage) in enumerate(_stages(minutes, begin), start=1):
        for group in optimiser.param_groups:
            group["lr"] = peak * min(1.0, step / 60) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * share)))
        losses = learner.losses(*_batch(joiner, stage))
        guide = 0.3 if share < 0.8 else 0.15
        whole = losses["answer"] + guide * (losses["look"] + losses["phoneme"] + losses["word"])
        optimiser.zero_grad()
        whole.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        average.update()
        if step % 20 == 0:
            shown = " ".join(f"{name} {value.item():.3f}" for name, value in losses.items())
            print(f"{time.strftime('%H:%M:%S')} step {step} share {share:.3f} {shown}", flush=True)
        if step % 100 == 0:
            average.save(out)
    average.save(out)


def _stages(minutes: float, begin: float) -> Iterator[tuple[float, Stage]]:
    """Time in which the process stood still does not count."""
    now, passed = time.monotonic(), 0.0
    while (share := begin + (1 - begin) * passed / (minutes * 60)) < 1.0:
        yield share, next((stage for stage in STAGES if share < stage.until), None) or _last()
        before, now = now, time.monotonic()
        passed += min(now - before, _LONGEST_STEP)


def _last() -> Stage:
    seconds = random.choice(_LAST)
    return Stage(until=1.0, seconds=seconds, padded=seconds + 0.5, batch=max(3, int(_LAST_SECONDS / (seconds + 0.5))))


def _batch(joiner: Joiner, stage: Stage) -> tuple[list[Example], Stage, int]:
    room = round((30.0 - stage.padded) * _POSITIONS_A_SECOND)
    first = random.randint(0, room) if stage.moved and random.random() < 0.6 else 0
    begin = first / _POSITIONS_A_SECOND
    windows = [joiner.window(stage.seconds, padded=stage.padded, first=begin) for _ in range(stage.batch)]
    return windows, stage, first


def _known(start: Path) -> tuple[Arrays, Sequence[str]]:
    if start.suffix == ".npz":
        return read_npz(start), tokens()
    names: Any = json.loads((start / "vocabulary.json").read_text(encoding="utf-8"))
    return read_model(start / "model.bin"), names


def main() -> None:
    """Train the tests' speech model."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("material", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--from", dest="start", type=Path, help="a model directory or the .npz of an earlier training")
    parser.add_argument("--peak", type=float, default=1e-3, help="the highest learning rate")
    parser.add_argument("--begin", type=float, default=0.0, help="from which share of the stages on")
    asked = parser.parse_args()
    train(asked.material, asked.out, minutes=asked.minutes, start=asked.start, peak=asked.peak, begin=asked.begin)


if __name__ == "__main__":
    main()
