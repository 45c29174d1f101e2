"""The strings about CRMs; a part of `agent.web.texts`."""

from __future__ import annotations

CRM_TEXTS: dict[str, tuple[str, str]] = {
    "crm_title": ("CRM", "CRM"),
    "crm_lead": (
        "Что не удалось передать в CRM и что с этим делать; кто из сотрудников кто в CRM.",
        "What a CRM could not be told and what to do about it; which employee is who there.",
    ),
    "crm_none": ("CRM не подключена", "No CRM is attached"),
    "crm_none_lead": (
        "Добавьте таблицу [[crm]] в cardline.toml; страницы docs/crm говорят, как.",
        "Add a [[crm]] table to cardline.toml; the pages docs/crm say how.",
    ),
    "crm_counts": (
        "Передано: {done}, ждут: {waiting}, не передано: {failed}.",
        "Told: {done}, waiting: {waiting}, given up: {failed}.",
    ),
    "crm_dropped_count": ("Решено не передавать: {count}", "Left untold: {count}"),
    "crm_since": ("Передаётся всё с {when}", "Told of everything since {when}"),
    "crm_off": ("Отключена в настройках", "Switched off in the settings"),
    "crm_paused": ("Пауза до {when}.", "Left alone until {when}."),
    "crm_not_read": ("Не читается.", "It cannot be read."),
    "crm_failed_title": ("Не передано: {count}", "Given up: {count}"),
    "crm_entry": ("Запись №{number}", "Entry №{number}"),
    "crm_gone_entry": ("Запись, которой больше нет", "An entry that is no more"),
    "crm_retry": ("Передать снова", "Try again"),
    "crm_retry_all": ("Передать снова всё", "Try all again"),
    "crm_drop": ("Не передавать", "Leave it untold"),
    "crm_dropped": ("Передаваться не будет.", "It stays untold."),
    "crm_retried": ("Передаётся снова.", "It is being tried again."),
    "crm_mapped": ("Запомнено; звонки и письма сотрудника передаются снова.", "Noted; his calls and mails follow."),
    "crm_unmapped_title": ("Сотрудники без пользователя в CRM", "Employees who are nobody there"),
    "crm_strangers_title": ("Пользователи CRM, которых нет среди сотрудников", "Users of the CRM who are no employees"),
    "crm_strangers_lead": (
        "Станут сотрудниками с именем, адресом и внутренним номером из CRM; своё прошлое они получат сами.",
        "They become employees with the name, address and extension that the CRM has; their past follows by itself.",
    ),
    "crm_employ_all": ("Добавить всех", "Add all of them"),
    "crm_employ_all_hint": (
        "Всех, чьего имени среди сотрудников ещё нет",
        "All whose name no employee has yet",
    ),
    "crm_is_employee": ("Это сотрудник {name}", "He is the employee {name}"),
    "crm_go_on": ("Продолжить сейчас", "Go on now"),
    "crm_user": ("Пользователь CRM", "User of the CRM"),
}
