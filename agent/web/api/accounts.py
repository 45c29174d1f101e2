"""Who may log in: made, invited, changed, shut out; and the tokens of programs."""

from __future__ import annotations

from typing import Annotated, Literal

from aiohttp import web
from pydantic import Field, model_validator
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.errors import Misconfigured
from agent.model import UserRole
from agent.store import accounts, history, teams, tokens
from agent.store.accounts import Account
from agent.store.tokens import TokenFacts
from agent.web import accounts as acts
from agent.web import apitokens
from agent.web.api import shapes
from agent.web.api.answers import Json, Made, answer, begin, check_unchanged, encode, perform
from agent.web.api.reading import Asked, Id, Line, read_body, read_query
from agent.web.problems import Refused
from agent.web.services import TOKEN, number_in

Role = Literal["administrator", "supervisor", "manager"]
Scope = Literal["read", "write", "listen", "calls:pause", "admin"]
_LAST = "No administrator would be left."


class NewAccount(Asked):
    """Somebody more, who chooses his password by an invitation."""

    login: Annotated[Line, Field(max_length=100)]
    name: Line
    role: Role
    employee_id: Id | None = None


class AccountChange(Asked):
    """What is named is changed. ``team_ids`` are those a supervisor supervises; None: all."""

    name: Line | None = None
    role: Role | None = None
    employee_id: Id | None = None
    team_ids: Annotated[list[Id], Field(max_length=200)] | None = None

    @model_validator(mode="after")
    def _something(self) -> AccountChange:
        if not self.model_fields_set:
            raise ValueError("name what shall change")
        if any(getattr(self, one) is None for one in self.model_fields_set & {"name", "role"}):
            raise ValueError("name and role cannot be taken away")
        return self


class Disabled(Asked):
    """Whether somebody is shut out."""

    disabled: bool


class NewToken(Asked):
    """A token of an account, or of nobody."""

    name: Annotated[Line, Field(max_length=100)]
    scopes: Annotated[list[Scope], Field(min_length=1, max_length=5)]
    account_id: Id | None = None


# --- Accounts ---------------------------------------------------------------------------------------------------------


async def list_accounts(request: web.Request) -> web.StreamResponse:
    """Everybody, by login."""
    read_query(request, Asked)
    async with begin(request) as connection:
        found = await accounts.list_accounts(connection)
        named = await teams.list_teams(connection)
    supervised = {one.id: [team.id for team in named if one.id in dict(team.supervisors)] for one in found}
    items = [_account(one, supervised[one.id]) | {"last_login": shapes.time(one.last_login)} for one in found]
    return await answer(request, {"items": items, "next": None})


def _account(one: Account, team_ids: list[int]) -> Json:
    return {
        "id": one.id,
        "login": one.login,
        "name": one.name,
        "role": one.role.value,
        "employee_id": one.employee_id,
        "team_ids": None if one.all_teams else sorted(team_ids),
        "disabled": one.disabled,
        "has_password": one.has_password,
        "has_second_factor": one.has_totp,
        "is_external": one.is_external,
    }


async def show_account(request: web.Request) -> web.StreamResponse:
    """One of them."""
    read_query(request, Asked)
    async with begin(request) as connection:
        content = await _content(connection, number_in(request))
    return await answer(request, content)


async def _content(connection: AsyncConnection, number: int) -> Json:
    found = await accounts.find_by_id(connection, number)
    if found is None:
        raise Refused(404, "There is no such account.")
    return _account(found, sorted(await teams.list_supervised(connection, number)))


async def add_account(request: web.Request) -> web.StreamResponse:
    """Nobody gets in by it before he has chosen a password by an invitation."""
    asked = await read_body(request, NewAccount)

    async def act(connection: AsyncConnection) -> Made:
        await _check_employee(connection, asked.employee_id)
        try:
            number = await acts.add(
                request, connection, asked.login, asked.name, UserRole(asked.role), asked.employee_id
            )
        except Misconfigured as error:
            raise Refused(409, str(error)) from None
        return Made(content={"id": number}, location=f"{shapes.API}/accounts/{number}")

    return await perform(request, act)


async def change_account(request: web.Request) -> web.StreamResponse:
    """He is logged out, so that no old right lives on; under If-Match only what the caller has seen."""
    asked, number = await read_body(request, AccountChange), number_in(request)
    given = asked.model_fields_set
    async with begin(request) as connection:
        await accounts.lock_account(connection, number)
        content = await _content(connection, number)
        check_unchanged(request, content)
        before = await acts.found_account(connection, number)
        await _check_employee(connection, asked.employee_id)
        team_ids = asked.team_ids if "team_ids" in given else content["team_ids"]
        role = UserRole(asked.role) if asked.role is not None else before.role
        await _check_teams(connection, asked.team_ids, role)
        is_done = await acts.change(
            request,
            connection,
            before,
            name=asked.name or before.name,
            role=role,
            employee_id=asked.employee_id if "employee_id" in given else before.employee_id,
            team_ids=team_ids if role is UserRole.SUPERVISOR else None,
        )
        if not is_done:
            raise Refused(409, _LAST)
        content = await _content(connection, number)
    return await answer(request, content)


async def _check_employee(connection: AsyncConnection, employee_id: int | None) -> None:
    if employee_id is not None and not await history.list_employee_names(connection, [employee_id]):
        raise Refused(422, "There is no such employee.", faults=[("/employee_id", "no employee")])


async def _check_teams(connection: AsyncConnection, team_ids: list[int] | None, role: UserRole) -> None:
    if team_ids is None:
        return
    if role is not UserRole.SUPERVISOR:
        raise Refused(422, "Only a supervisor supervises teams.", faults=[("/team_ids", "no supervisor")])
    if strange := set(team_ids) - {one.id for one in await teams.list_teams(connection)}:
        raise Refused(422, f"There is no team {min(strange)}.", faults=[("/team_ids", "no team")])


async def disable_account(request: web.Request) -> web.StreamResponse:
    """Shut out at once, or let in again."""
    asked = await read_body(request, Disabled)
    async with begin(request) as connection:
        account = await acts.found_account(connection, number_in(request))
        if not await acts.disable(request, connection, account, disabled=asked.disabled):
            raise Refused(409, _LAST)
    return web.Response(status=204)


async def invite(request: web.Request) -> web.StreamResponse:
    """A link by which somebody chooses a password, told this once; an earlier one opens nothing any more."""
    async with begin(request) as connection:
        account = await acts.found_account(connection, number_in(request))
        link = await acts.invite_by_link(request, connection, account)
    return _secret({"link": link}, 201)


async def reset_factor(request: web.Request) -> web.StreamResponse:
    """The telephone was lost."""
    async with begin(request) as connection:
        await acts.clear_factor(request, connection, await acts.found_account(connection, number_in(request)))
    return web.Response(status=204)


async def end_logins(request: web.Request) -> web.StreamResponse:
    """Log somebody out everywhere."""
    async with begin(request) as connection:
        account = await acts.found_account(connection, number_in(request))
        await acts.log_out_everywhere(request, connection, account)
    return web.Response(status=204)


# --- Tokens -----------------------------------------------------------------------------------------------------------


async def list_tokens(request: web.Request) -> web.StreamResponse:
    """All there are and were, by name."""
    read_query(request, Asked)
    async with begin(request) as connection:
        found = await tokens.list_tokens(connection)
    return await answer(request, {"items": [_token(one) for one in found], "next": None})


def _token(one: TokenFacts) -> Json:
    return {
        "id": one.id,
        "name": one.name,
        "scopes": list(one.scopes),
        "login": one.login,
        "created": shapes.time(one.created),
        "used": shapes.time(one.used),
        "revoked": shapes.time(one.revoked),
    }


async def add_token(request: web.Request) -> web.StreamResponse:
    """Told this once. What a token makes is no wider than itself, and the same person's."""
    asked = await read_body(request, NewToken)
    own = request.get(TOKEN)
    if own is not None and (strange := sorted(set(asked.scopes) - own.scopes)):
        raise Refused(403, f"Your token lacks the scope {strange[0]} itself.")
    if own is not None and asked.account_id != own.account_id:
        raise Refused(403, "A token makes tokens of its own account only: name that in account_id.")
    async with begin(request) as connection:
        try:
            number, made = await apitokens.make_token(request, connection, asked.name, asked.scopes, asked.account_id)
        except web.HTTPNotFound:
            raise Refused(422, "There is no such account.", faults=[("/account_id", "no account")]) from None
        except Misconfigured as error:
            raise Refused(409, str(error)) from None
    return _secret({"id": number, "token": made}, 201)


async def revoke_token(request: web.Request) -> web.StreamResponse:
    """It opens nothing any more."""
    async with begin(request) as connection:
        await apitokens.revoke(request, connection, number_in(request))
    return web.Response(status=204)


def _secret(content: Json, status: int) -> web.Response:
    """Never kept with an Idempotency-Key, nor by any cache."""
    headers = {"Cache-Control": "no-store"}
    return web.Response(body=encode(content), status=status, content_type="application/json", headers=headers)
