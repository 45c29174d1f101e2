"""A large company, made anew each time the same: calls with what was said, mails, cards, people.

Rows are copied straight into the tables as the service would have left them: seven of ten interactions are calls, one
call in seven is missed, those answered have four to thirteen utterances (five a mean interaction); a third as many
mails. Words are drawn by Zipf's law from a vocabulary of Russian endings on invented stems under a few hundred real
ones. Card number 1 has ten thousand entries, the others some fifty each.
"""

from __future__ import annotations

import asyncio
import io
import itertools
import random
import time
from bisect import bisect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
from sqlalchemy import text

from agent.store.engine import Store
from agent.store.searchindex import index_interactions

LAST = datetime(2026, 10, 30, 18, tzinfo=UTC)
YEARS = 3
EMPLOYEES = 40
LARGE = 10_000  # entries of the largest card
CHUNK = 20_000
_INDEX_BATCH = 2_000
_SENTENCES = 150_000
_REAL = """
здравствуйте добрый день слушаю компания меня зовут подскажите пожалуйста хорошо понятно конечно заказ доставка
договор счёт оплата цена скидка срок завтра сегодня неделя месяц понедельник пятница позвоните отправлю почта
письмо адрес телефон номер клиент менеджер директор склад товар мебель стол стул шкаф кухня диван кресло сборка
монтаж установка замер проект смета предложение условия гарантия возврат качество образец каталог сайт заявка
вопрос ответ решение встреча офис магазин город москва регион транспорт машина водитель груз упаковка накладная
документ подпись печать бухгалтерия реквизиты банк перевод карта наличные рассрочка кредит налог процент сумма
рубль тысяча миллион размер длина ширина высота цвет белый чёрный дерево металл стекло пластик ткань кожа модель
артикул наличие поставка производство фабрика партия количество штука комплект проверю уточню перезвоню подумаю
согласую закажу оплачу получу привезём готово нужно можно нельзя удобно быстро дорого дешево новый старый первый
последний большой маленький хороший плохой срочный точный правда жалоба проблема ошибка задержка причина спасибо
извините ждите минуту секунду алло слышно связь линия перевести соединить коллега отдел продажа закупка сервис
ремонт
""".split()  # noqa: SIM905
_FILLERS = ("и", "в", "на", "не", "что", "я", "мы", "вы", "с", "по", "это", "у", "а", "но", "за", "до", "так", "вот")
_SYLLABLES = ("ба ве го ду жи за ки ло ме но пи ра су та фо хи ца че ше щу бро гла дре кру пла сто тре вно").split()  # noqa: SIM905
_ENDINGS = ("а", "ы", "у", "ой", "ов", "ами", "ах", "ить", "ил", "ная", "ного", "ение", "ения", "ка", "ки", "ик")
_ENGLISH = ("invoice", "email", "excel", "delivery", "price", "crm", "pdf", "whatsapp", "order", "contract")
RARE = ("квазар", "синхрофазотрон", "логарифм", "ипотека", "гидроизоляция", "перфоратор", "вентилятор", "аквариум")
NAMES = (
    "Мария",
    "Ольга",
    "Анна",
    "Иван",
    "Пётр",
    "Сергей",
    "Елена",
    "Дмитрий",
    "Наталья",
    "Алексей",
    "Татьяна",
    "Игорь",
)
SURNAMES = ("Смирнов", "Иванов", "Кузнецов", "Соколов", "Попов", "Лебедев", "Козлов", "Новиков", "Морозов", "Волков")


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How much of everything."""

    interactions: int
    cards: int


class PagesWorld:
    """Writes it through one connection; triggers and checks of references are off meanwhile."""

    def __init__(self, size: Size) -> None:
        self.size = size
        self._random = random.Random(20261030)
        self._sentences = self._make_sentences()
        self._utterance = itertools.count(1)
        self._recording = itertools.count(1)
        self._party = itertools.count(1)

    def make(self, url: str) -> dict[str, float]:
        """Everything but the index of words; returns seconds by step."""
        times: dict[str, float] = {}
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("SET session_replication_role = replica")
            connection.execute("SET synchronous_commit = off")
            connection.execute("SET maintenance_work_mem = '512MB'")
            kept = _drop_indexes(connection)
            began = time.monotonic()
            self._people(connection)
            self._cards(connection)
            for first in range(1, self.size.interactions + 1, CHUNK):
                self._chunk(connection, first, min(first + CHUNK - 1, self.size.interactions))
            times["rows"] = time.monotonic() - began
            began = time.monotonic()
            for statement in kept:
                connection.execute(statement.encode())
            _set_sequences(connection)
            connection.execute("VACUUM ANALYZE")
            times["indexes"] = time.monotonic() - began
        return times

    async def index(self, store: Store) -> float:
        """The index of words, as the job makes it, but in large batches and with its GIN index made behind; returns
        seconds."""
        began, at, turn = time.monotonic(), 1, asyncio.Lock()

        async def work() -> None:
            nonlocal at
            while True:
                async with turn:
                    first, at = at, at + _INDEX_BATCH
                if first > self.size.interactions:
                    return
                async with store.begin(redoable=True) as connection:
                    last = min(first + _INDEX_BATCH, self.size.interactions + 1)
                    await index_interactions(connection, range(first, last))

        await asyncio.gather(work(), work())
        for statement in (
            "CREATE INDEX ix_search_entry_words ON search_entry USING gin (words) WITH (gin_pending_list_limit='1024')",
            "ANALYZE search_entry",
        ):
            async with store.begin() as connection:
                await connection.execute(text("SET LOCAL maintenance_work_mem = '1GB'"))
                await connection.execute(text(statement))
        return time.monotonic() - began

    def common_words(self) -> list[str]:
        """In a tenth to most of all interactions."""
        return ["здравствуйте", "заказ", "доставка", "договор", "счёт", "оплата", "завтра", "менеджер"]

    def card_of(self, number: int) -> int:
        """Which card an interaction stands on."""
        share = max(self.size.interactions // LARGE, 1)
        if number % share == 0 and number // share <= LARGE:
            return 1
        return 2 + (number * 7919) % (self.size.cards - 1)

    # --- Words --------------------------------------------------------------------------------------------------------

    def _make_sentences(self) -> list[str]:
        made = [
            "".join(self._random.choices(_SYLLABLES, k=2 + n % 3)) + self._random.choice(_ENDINGS)
            for n in range(30_000)
        ]
        words = [*_REAL, *_ENGLISH, *dict.fromkeys(made)]
        totals = list(itertools.accumulate(1 / (rank + 8) for rank in range(len(words))))
        sentences = []
        for _ in range(_SENTENCES):
            chosen = []
            for _ in range(self._random.randint(3, 14)):
                if self._random.random() < 0.3:
                    chosen.append(self._random.choice(_FILLERS))
                chosen.append(words[bisect(totals, self._random.random() * totals[-1])])
            sentences.append(" ".join(chosen))
        return sentences

    def _said(self, number: int) -> str:
        if number % 2_000 == 0:
            return f"{self._random.choice(self._sentences)} {RARE[number // 2_000 % len(RARE)]}"
        return self._random.choice(self._sentences)

    # --- Rows ---------------------------------------------------------------------------------------------------------

    def _people(self, connection: psycopg.Connection[Any]) -> None:
        rows = [(n, f"{NAMES[n % len(NAMES)]} {SURNAMES[n % len(SURNAMES)]}") for n in range(1, EMPLOYEES + 1)]
        _copy(connection, "employee (id, name)", rows)
        identities = [(n, n, "extension", 100 + n) for n, _ in rows]
        _copy(connection, "employee_identity (id, employee_id, kind, value)", identities)

    def _cards(self, connection: psycopg.Connection[Any]) -> None:
        def name(n: int) -> str:
            if n % 5 == 0:
                return f"ООО «{self._sentences[n].split()[-1].title()}»"
            return f"{SURNAMES[n * 7 % len(SURNAMES)]} {NAMES[n % len(NAMES)]} {n}"

        made = LAST - timedelta(days=366 * YEARS)
        kinds = ("person", "person", "person", "person", "company")
        cards = [(n, kinds[(n + 4) % 5], name(n), n % EMPLOYEES + 1, made) for n in range(1, self.size.cards + 1)]
        _copy(connection, "client_card (id, kind, name, responsible_id, created_at)", cards)
        points = [(2 * n - 1, n, "phone", f"+7{9_000_000_000 + n * 449:010}") for n, *_ in cards]
        points += [(2 * n, n, "address", f"client{n}@c{n % 3000}.example.org") for n, *_ in cards]
        _copy(connection, "contact_point (id, client_card_id, kind, value)", points)

    def _chunk(self, connection: psycopg.Connection[Any], first: int, last: int) -> None:
        rows: dict[str, list[Sequence[Any]]] = {table: [] for table in _TABLES}
        step = timedelta(days=365 * YEARS) / self.size.interactions
        for number in range(first, last + 1):
            started = LAST - step * (self.size.interactions - number)
            card = self.card_of(number)
            own = self._random.random() < 0.8
            employee = (card if own else self._random.randrange(EMPLOYEES)) % EMPLOYEES + 1
            kind, way = ("message" if number % 10 in (2, 5, 8) else "call"), ("inbound", "outbound")[number % 2]
            rows["interaction"].append((number, kind, started, way, started))
            rows["link"].append((number, number, card, started, "linked", "phone is the card's"))
            rows["evidence"].append((number, "bench", number, number, started, "read", number))
            rows["blob"].append(
                (number, f"{number:064x}", "audio/flac", 100_000, 90_000, "\\x", 1, "\\x00", "bench", "t")
            )
            if kind == "call":
                self._call(rows, number, started, card, employee, way)
            else:
                self._mail(rows, number, card, employee, way)
        for table, columns in _TABLES.items():
            _copy(connection, f"{table} ({columns})", rows[table])

    def _call(
        self, rows: dict[str, list[Sequence[Any]]], number: int, started: datetime, card: int, employee: int, way: str
    ) -> None:
        client = (f"+7{9_000_000_000 + card * 449:010}", "phone", "client", None)
        ours = (str(100 + employee), "extension", "employee", employee)
        for ordinal, (value, kind, role, who) in enumerate((client, ours) if way == "inbound" else (ours, client)):
            position = ("caller", "callee")[ordinal]
            rows["party"].append(
                (next(self._party), number, ordinal, position, kind, value, "", ordinal, kind, value, role, who)
            )
        if number % 7 == 0:
            rows["call"].append((number, None, started + timedelta(seconds=25), "no_answer"))
            return
        lines = self._random.randint(4, 13)
        ended = started + timedelta(seconds=8 + lines * 7)
        rows["call"].append((number, started + timedelta(seconds=8), ended, "answered"))
        recording = next(self._recording)
        rows["recording"].append((recording, number, "r", number, started, (8 + lines * 7) * 1000, 2, 8000, number))
        rows["transcript"].append((recording, recording, number, "bench", "ru", started))
        for line in range(lines):
            at, mine = (8 + line * 7) * 1000, next(self._utterance)
            rows["utterance"].append((mine, recording, line % 2, at, at + 6000, self._said(mine), 90))

    def _mail(self, rows: dict[str, list[Sequence[Any]]], number: int, card: int, employee: int, way: str) -> None:
        client = (f"client{card}@c{card % 3000}.example.org", "client", None)
        ours = (f"sales{employee}@example.com", "employee", employee)
        for ordinal, (value, role, who) in enumerate((client, ours) if way == "inbound" else (ours, client)):
            position = ("from", "to")[ordinal]
            rows["party"].append(
                (next(self._party), number, ordinal, position, "address", value, "", None, "address", value, role, who)
            )
        body = "\\n".join(self._random.choice(self._sentences) for _ in range(self._random.randint(3, 10)))
        subject = self._random.choice(self._sentences)[:60]
        rows["thread"].append((number, subject))
        rows["message"].append((number, f"k{number}", number, subject, "conversation", body))


_TABLES = {
    "interaction": "id, kind, started_at, direction, created_at",
    "link": "id, interaction_id, client_card_id, started_at, state, reason",
    "blob": "id, name, media_type, plain_size, stored_size, salted_digest, master_key, wrapped_key, source, chained",
    "evidence": "id, source, key, blob_id, received_at, state, interaction_id",
    "party": "id, interaction_id, ordinal, position, kind, value, name, channel, identity_kind, identity_value, role,"
    " employee_id",
    "call": "interaction_id, answered_at, ended_at, disposition",
    "recording": "id, interaction_id, reference, blob_id, started_at, duration_ms, channels, sample_rate, evidence_id",
    "transcript": "id, recording_id, interaction_id, model, language, created_at",
    "utterance": "id, transcript_id, channel, start_ms, end_ms, text, confidence",
    "thread": "id, subject",
    "message": "interaction_id, logical_key, thread_id, subject, category, text",
}


def _copy(connection: psycopg.Connection[Any], target: str, rows: Sequence[Sequence[Any]]) -> None:
    if not rows:
        return
    made = io.StringIO()
    for row in rows:
        made.write("\t".join(map(_field, row)) + "\n")
    with connection.cursor().copy(f"COPY {target} FROM STDIN".encode()) as copy:
        copy.write(made.getvalue())


def _field(value: Any) -> str:
    if value is None:
        return "\\N"
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value).replace("\\x", "\\\\x") if isinstance(value, str) and value.startswith("\\x") else str(value)


def _drop_indexes(connection: psycopg.Connection[Any]) -> Iterator[str]:
    """Of the large tables, those that hold up no constraint; returns how to make them again."""
    query = """
        SELECT i.indexrelid::regclass::text, pg_get_indexdef(i.indexrelid) FROM pg_index i
        JOIN pg_class c ON c.oid = i.indrelid
        WHERE c.relname = ANY(%s) AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = i.indexrelid)
    """
    found = connection.execute(query, ([*_TABLES, "search_entry"],)).fetchall()
    for name, _ in found:
        connection.execute(f"DROP INDEX {name}".encode())
    return iter([made for _, made in found if "ix_search_entry_words" not in made])


def _set_sequences(connection: psycopg.Connection[Any]) -> None:
    query = """
        SELECT format('SELECT setval(pg_get_serial_sequence(%L, %L), (SELECT coalesce(max(id), 1) FROM %I))',
                      table_name, column_name, table_name)
        FROM information_schema.columns WHERE table_schema = 'public' AND is_identity = 'YES' AND column_name = 'id'
    """
    for (statement,) in connection.execute(query).fetchall():
        connection.execute(statement.encode())
