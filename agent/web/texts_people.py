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
    "kind_domain": ("домен", "domain"),
}
