"""The strings of what proves and keeps: audit log, keys, retention; a part of `agent.web.texts`."""

from __future__ import annotations

KEEPING_TEXTS: dict[str, tuple[str, str]] = {
    # Audit
    "audit_title": ("Журнал действий", "Audit log"),
    "audit_lead": ("Строки только добавляются.", "Lines are only ever added."),
    "audit_at": ("Когда", "When"),
    "audit_who": ("Кто", "Who"),
    "audit_what": ("Что сделано", "What was done"),
    "audit_about": ("О чём", "About"),
    "audit_open": ("открыть", "open"),
    "audit_since": ("С", "From"),
    "audit_until": ("По", "To"),
    "audit_anybody": ("кто угодно", "anybody"),
    "audit_program": ("программа или команда", "a program or a command"),
    "audit_anything": ("что угодно", "anything"),
    "audit_show": ("Показать", "Show"),
    "audit_csv": ("Скачать таблицей", "Download as a table"),
    "audit_none": ("Ничего не нашлось.", "Nothing was found."),
    # Keys
    "keys_title": ("Ключи и печати", "Keys and seals"),
    "keys_lead": (
        "Сами ключи здесь не показываются: они лежат на сервере.",
        "The keys themselves are not shown here: they lie on the server.",
    ),
    "keys_master": ("Ключи архива", "Keys of the archive"),
    "keys_code": ("Проверочный код", "Check code"),
    "keys_confirmed": ("Копия подтверждена.", "A copy is confirmed."),
    "keys_unconfirmed": (
        "Копия не подтверждена. Выполните на сервере `cardline keys show`, сохраните строки в другом месте и "
        "подтвердите: `cardline keys confirm`.",
        "No copy is confirmed. Run `cardline keys show` on the server, save the lines elsewhere and confirm: "
        "`cardline keys confirm`.",
    ),
    "keys_seal": ("Ключ печатей", "Key of the seals"),
    "keys_fingerprint": ("Отпечаток", "Fingerprint"),
    "keys_no_seal": (
        "На этой машине его нет: он появится с первой печатью или лежит на другой.",
        "It is not on this machine: it comes with the first seal, or lies on another one.",
    ),
    "seals_title": ("Последняя печать", "The last seal"),
    "seals_none": (
        "Печатей пока нет: первая ставится в течение дня.",
        "There is none yet: the first comes within a day.",
    ),
    "seals_last": ("№{number}: {moment}, звеньев: {links}", "No. {number}: {moment}, links: {links}"),
    "seals_copy_done": ("доставлена: {moment}", "delivered: {moment}"),
    "seals_copy_waits": ("ещё не доставлена", "not delivered yet"),
    "seals_waiting": ("ждут доставки: {count}", "waiting: {count}"),
    "seals_no_targets": (
        "Печати не уходят с этой машины. Укажите в [seal] адрес, бакет или службу времени: иначе владелец машины "
        "мог бы переписать всё.",
        "No seal leaves this machine. Name an address, a bucket or a timestamp authority in [seal]: else whoever owns "
        "the machine could rewrite everything.",
    ),
    # Retention
    "retention_title": ("Сроки хранения", "Retention"),
    "retention_lead": (
        "Старшее срока стирается раз в сутки: ключи уничтожаются, текст удаляется, в цепочке остаётся запись об этом.",
        "What is older is erased once a day: its keys are destroyed, its text goes, and the chain records the act.",
    ),
    "retention_calls": ("Звонки, месяцев", "Calls, months"),
    "retention_mails": ("Письма, месяцев", "Mails, months"),
    "retention_empty": ("пусто: хранить всегда", "empty: for ever"),
    "retention_forever": ("хранятся всегда", "kept for ever"),
    "retention_preview": ("Посчитать", "Count first"),
    "retention_would_calls": ("Звонков старше срока: {count}", "Calls older than that: {count}"),
    "retention_would_mails": ("Писем старше срока: {count}", "Mails older than that: {count}"),
    "retention_warning": (
        "Стёртое не вернуть. Первое стирание начнётся не раньше чем через сутки.",
        "What is erased never comes back. The first erasure begins after a day at the earliest.",
    ),
    "retention_save": ("Сохранить сроки", "Save"),
    "holds_title": ("Карточки, которые нельзя стирать", "Cards on hold"),
    "holds_lead": (
        "Спор, проверка, запрос: записи таких карточек по сроку не стираются.",
        "A dispute, an audit, a request: entries of these cards are not erased by age.",
    ),
    "hold_card": ("Номер карточки", "Number of the card"),
    "hold_reason": ("Причина", "Reason"),
    "hold_add": ("Не стирать", "Hold"),
    "hold_release": ("Снять", "Release"),
    "hold_by": ("{by}, {moment}", "{by}, {moment}"),
    "holds_none": ("Таких карточек нет.", "There are none."),
}
