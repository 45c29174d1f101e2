"""The strings about employees, their numbers, and what people correct of calls; a part of `agent.web.texts`."""

from __future__ import annotations

PEOPLE_TEXTS: dict[str, tuple[str, str]] = {
    # Employees
    "employees_title": ("Сотрудники", "Employees"),
    "employees_lead": (
        "Внутренние номера и адреса действуют с указанного дня: прошлое остаётся за прежним владельцем.",
        "Extensions and addresses count from the given day: the past stays with the earlier holder.",
    ),
    "employees_none": ("Сотрудников пока нет", "No employees yet"),
    "employee_add": ("Добавить сотрудника", "Add an employee"),
    "employee_name": ("Имя и фамилия", "Name"),
    "identity_add": ("Добавить номер или адрес", "Add a number or address"),
    "identity_value": ("Внутренний номер, телефон или адрес", "Extension, phone or address"),
    "valid_from": ("Действует с", "Valid from"),
    "valid_from_hint": ("пусто: всегда", "empty: always"),
    "valid_range": ("с {start}", "from {start}"),
    "valid_until": ("до {end}", "until {end}"),
    "identity_wrong": ("Это не номер и не адрес.", "This is neither a number nor an address."),
    "date_wrong": ("Дата не читается.", "The date cannot be read."),
    "name_missing": ("Введите имя.", "Enter a name."),
    "kind_phone": ("телефон", "phone"),
    "kind_extension": ("внутренний", "extension"),
    "kind_address": ("почта", "mail"),
    "kind_login": ("SIP", "SIP"),
    "kind_domain": ("домен", "domain"),
    "save": ("Сохранить", "Save"),
    "employee_rename": ("Переименовать", "Rename"),
    "identity_change": ("Изменить", "Change"),
    "identity_end": ("Завершить", "End"),
    "identity_remove": ("Удалить как ошибку", "Remove as a mistake"),
    "identity_remove_hint": (
        "Номер никогда не принадлежал этому сотруднику; звонки будут разобраны заново.",
        "It never was this colleague's; the calls are decided anew.",
    ),
    "valid_to": ("Действует до", "Valid until"),
    "day_needed": (
        "Номер сейчас занят. Укажите день, с которого он переходит.",
        "Somebody has this number now. Say from which day on it is another's.",
    ),
    # Extensions proposed
    "proposals_title": ("Номера без владельца", "Extensions without a holder"),
    "proposals_lead": (
        "Их назвали АТС, провайдер или вставленный список. Скажите одним нажатием, чей это номер.",
        "A PBX, a provider or a pasted list names them. Say by one click whose each is.",
    ),
    "proposal_renamed": (
        "Сейчас это номер: {names}. Источник назвал его иначе.",
        "Now it is the extension of {names}. The source has renamed it.",
    ),
    "paste": ("Вставить список номеров", "Paste a list of extensions"),
    "paste_hint": (
        "Строки вида «101, Анна Петрова» из таблицы или АТС",
        "Lines such as “101, Anna Ivanova” from a spreadsheet or the PBX",
    ),
    "list_wrong": ("В списке нет ни одного номера.", "There is no extension in the list."),
    "extension_of": ("Чей это номер", "Whose extension"),
    "extension_is_his": ("Это он", "It is his"),
    "extension_new": ("Имя или название", "Name"),
    "extension_is_new": ("Создать сотрудника", "Make an employee"),
    "extension_is_nobodys": ("Ничей", "Nobody's"),
    "extension_nobodys_hint": (
        "Общий телефон или факс: звонок никому не засчитывается, пока его не отметят вручную.",
        "A shared phone or a fax: a call is credited to nobody until somebody says by hand whose it was.",
    ),
    "shared_title": ("Общие телефоны и факсы", "Shared phones and faxes"),
    "shared_lead": (
        "Звонки с них никому не засчитываются сами.",
        "Calls of these are credited to nobody by themselves.",
    ),
    "nobodys_title": ("Внутренний номер {number} ничей", "Extension {number} is nobody's"),
    "nobodys_lead": (
        "Звонки с {since}, последний: {newest}. Прошлое подтянется само.",
        "Calls since {since}, the last one: {newest}. The past follows by itself.",
    ),
    "done_extension": ("Записано. История подтянется сама.", "Noted. Its history follows by itself."),
    # Corrections of calls
    "correct": ("Исправить", "Correct"),
    "credit": ("Засчитать", "Credit"),
    "credit_whose": ("Кто говорил с номера {number}", "Who was at {number}"),
    "credit_nobody": ("никто", "nobody"),
    "near_call": ("Возможно, тот же звонок: №{number}", "Maybe the same call: No. {number}"),
    "unite": ("Это один звонок", "These are one call"),
    "separate": ("Это другой звонок", "This is another call"),
    "separate_hint": (
        "То, что рассказал этот источник, станет отдельной записью.",
        "What this source told becomes an entry of its own.",
    ),
}
