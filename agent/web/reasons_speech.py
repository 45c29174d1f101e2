"""Why something that a speech model wrote is no part of the text, in Russian; a part of `agent.web.reasons`."""

from __future__ import annotations

SPEECH_REASONS = (
    (r"no words", "слов нет"),
    (
        r"no speech: probability ([\d.]+), log-probability (-?[\d.]+)",
        r"речи нет (вероятность этого \1), модель не уверена (\2)",
    ),
    (r"no speech: probability ([\d.]+)", r"речи нет (вероятность этого \1)"),
    (r"improbable: log-probability (-?[\d.]+)", r"модель не уверена (\1)"),
    (r"repeats itself: compression ratio ([\d.]+)", r"повторяет одно и то же (сжатие \1)"),
    (r"repeats itself: (\d+) times the same (\d+) words?", r"повторяет одно и то же: раз \1, слов \2"),
    (r"repeats the sentence before", "повторяет предыдущую фразу"),
    (
        r"faster than anybody speaks: (\d+) characters in ([\d.]+) s",
        r"так быстро не говорят: знаков \1 за \2 с",
    ),
    (
        r"slower than anybody speaks: (\d+) characters in ([\d.]+) s",
        r"так медленно не говорят: знаков \1 за \2 с",
    ),
    (
        r"begins where speech ends: ([\d.]+) s before",
        r"начинается за \1 с до конца речи: столько не длится ни одно слово",
    ),
    (r"a known invention of speech models: (.+)", r"известная выдумка моделей (\1)"),
    (
        r"bleed of the other channel: the same sound ([\d.]+) s later, (-?\d+) dB quieter, share ([\d.]+)",
        r"просочилось с другого канала: тот же звук на \1 с позже и на \2 дБ тише",
    ),
    (
        r"bleed of the other channel: (\d+%) the same words at the same time, (-?\d+) dB quieter",
        r"просочилось с другого канала: \1 тех же слов в то же время, на \2 дБ тише",
    ),
)
