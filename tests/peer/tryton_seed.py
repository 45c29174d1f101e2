"""Run by Tryton's own Python: ``tryton_seed.py <configuration> <database>`` makes users, parties and a sale.

Prints one JSON object with the ids. It shares no library with Cardline.
"""

from __future__ import annotations

import datetime
import importlib
import json
import sys
from decimal import Decimal
from typing import Any

PARTIES = (
    ("Petrova", (("phone", "+7 (495) 000-00-01"), ("email", "Petrova@client.example.org"))),
    ("Works", (("mobile", "8 495 000 00 02"), ("email", "office@works.example.com"))),
)


def main(configuration: str, database: str) -> None:
    importlib.import_module("trytond.config").update_etc(configuration)
    pools = importlib.import_module("trytond.pool").Pool
    transaction = importlib.import_module("trytond.transaction").Transaction
    pools.start()
    pools(database).init()
    with transaction().start(database, 1):
        print(json.dumps(seed(pools())))


def seed(pool: Any) -> dict[str, int]:
    """The company and its currency are what an opportunity needs."""
    data, user_model = pool.get("ir.model.data"), pool.get("res.user")
    group = pool.get("res.group")
    ids: dict[str, int] = {}
    named = (("party", "group_party_admin"), ("sale_opportunity", "group_opportunity"))
    rights = [data.get_id(*one) for one in named]
    everything = [one.id for one in group.search([])]
    (admin,) = user_model.search([("login", "=", "admin")])
    user_model.write([admin], {"groups": [("add", everything)]})
    people: tuple[tuple[str, str, list[int]], ...] = (
        ("cardline", "", rights),
        ("anna", "anna@cardline.example.com", rights),
        ("guest", "", []),
    )
    for login, address, groups in people:
        values = {"name": login.title(), "login": login, "email": address, "password": f"{login}-Pa55word-example"}
        (made,) = user_model.create([{**values, "groups": [("add", groups)]}])
        ids[login] = made.id
    (rouble,) = pool.get("currency.currency").create(
        [
            {
                "name": "Rouble",
                "symbol": "R",
                "code": "RUB",
                "numeric_code": "643",
                "rounding": Decimal("0.01"),
                "digits": 2,
            }
        ]
    )
    for name, mechanisms in PARTIES:
        rows = [{"type": kind, "value": value} for kind, value in mechanisms]
        (party,) = pool.get("party.party").create([{"name": name, "contact_mechanisms": [("create", rows)]}])
        ids[name] = party.id
    (own,) = pool.get("party.party").create([{"name": "Cardline Example"}])
    (company,) = pool.get("company.company").create([{"party": own.id, "currency": rouble.id}])
    (worker,) = pool.get("company.employee").create([{"party": own.id, "company": company.id}])
    user_model.write(user_model.search([]), {"companies": [("add", [company.id])], "company": company.id})
    with importlib.import_module("trytond.transaction").Transaction().set_context(company=company.id):
        (sale,) = pool.get("sale.opportunity").create(
            [
                {
                    "party": ids["Petrova"],
                    "company": company.id,
                    "currency": rouble.id,
                    "employee": worker.id,
                    "description": "Grey paint",
                    "amount": Decimal("1200.50"),
                    "start_date": datetime.date(2026, 3, 2),
                }
            ]
        )
    return {**ids, "sale": sale.id}


if __name__ == "__main__":
    main(*sys.argv[1:])
