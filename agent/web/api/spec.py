"""The specification, read once a process when somebody first asks for it, and what the page /api shows of it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

_FILE = Path(__file__).parent / "openapi.yaml"
METHODS = ("get", "head", "post", "put", "patch", "delete")
_DEEPEST = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """A parameter, or a member of a body; ``depth`` is how far it is nested."""

    name: str
    kind: str
    required: bool
    words: str
    where: str = ""
    depth: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One call, as the page shows it. ``curl`` is an example; ``answers`` are status, words and an example of each."""

    id: str
    method: str
    path: str
    tag: str
    summary: str
    words: str
    scope: str
    roles: tuple[str, ...]
    whole: bool
    parameters: tuple[Field, ...]
    body: tuple[Field, ...]
    curl: str
    answers: tuple[tuple[str, str, str], ...]
    members: tuple[Field, ...]


def raw() -> bytes:
    """The file as it was written."""
    return _FILE.read_bytes()


@cache
def load() -> Mapping[str, Any]:
    """The same, parsed."""
    found: Mapping[str, Any] = yaml.load(raw(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 - safe
    return found


@cache
def as_json() -> bytes:
    """The same as JSON."""
    return json.dumps(load(), ensure_ascii=False, separators=(",", ":"), default=str).encode()


def resolve(node: Any) -> Any:
    """What a reference within the file means; members beside it (OpenAPI 3.1) win."""
    if isinstance(node, Mapping) and "$ref" in node:
        found: Any = load()
        for part in str(node["$ref"]).removeprefix("#/").split("/"):
            found = found[part]
        rest = {name: value for name, value in node.items() if name != "$ref"}
        return {**resolve(found), **rest}
    return node


# --- For the page -----------------------------------------------------------------------------------------------------


@cache
def operations() -> tuple[Operation, ...]:
    """Every call, in the order of the file."""
    found = []
    for path, item in load()["paths"].items():
        for method in METHODS:
            if method in item:
                found.append(_operation(path, method, item[method], item.get("parameters", ())))
    return tuple(found)


def scope_of(operation: Mapping[str, Any]) -> str:
    """What a token needs."""
    return next((one["token"][0] for one in operation.get("security", ()) if one.get("token")), "")


def _operation(path: str, method: str, told: Mapping[str, Any], common: Sequence[Any]) -> Operation:
    parameters = [resolve(one) for one in (*common, *told.get("parameters", ()))]
    body = resolve(told.get("requestBody", {})).get("content", {})
    json_body = body.get("application/json", {})
    answers = {status: resolve(one) for status, one in told["responses"].items()}
    schema = next((_schema(one) for status, one in answers.items() if status.startswith("2") and _schema(one)), {})
    return Operation(
        id=told["operationId"],
        method=method.upper(),
        path=path,
        tag=told["tags"][0],
        summary=told["summary"],
        words=told.get("description", "").strip(),
        scope=scope_of(told),
        roles=tuple(told["x-roles"]),
        whole=bool(told.get("x-whole")),
        parameters=tuple(
            Field(
                name=one["name"],
                kind=_kind(one.get("schema", {})),
                required=bool(one.get("required")),
                words=one.get("description", ""),
                where=one["in"],
            )
            for one in parameters
        ),
        body=tuple(_members(json_body.get("schema", {}))),
        curl=_curl(path, method, parameters, json_body),
        answers=tuple(
            (status, one.get("description", ""), _example(one))
            for status, one in answers.items()
            if status != "default"
        ),
        members=tuple(_members(schema)),
    )


def _schema(response: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = response.get("content", {}).get("application/json", {}).get("schema", {})
    return found


def _kind(schema: Any) -> str:
    """The type in a word or two."""
    schema = resolve(schema)
    if "enum" in schema:
        return " | ".join(json.dumps(one, ensure_ascii=False) for one in schema["enum"])
    if "anyOf" in schema:
        return " | ".join(_kind(one) for one in schema["anyOf"])
    kind = schema.get("type", "object" if "properties" in schema or "allOf" in schema else "")
    if isinstance(kind, list):
        return " | ".join(kind)
    if kind == "array":
        return f"[{_kind(schema.get('items', {}))}]"
    return "time" if schema.get("format") == "date-time" else str(kind)


def _flat(schema: Any) -> dict[str, Any]:
    """Members and required names of a schema with all it is made of."""
    schema = resolve(schema)
    properties: dict[str, Any] = {}
    required: set[str] = set()
    for one in schema.get("allOf", ()):
        inner = _flat(one)
        properties |= inner["properties"]
        required |= inner["required"]
    return {
        "properties": properties | schema.get("properties", {}),
        "required": required | set(schema.get("required", ())),
    }


def _members(schema: Any, depth: int = 0) -> Iterator[Field]:
    flat = _flat(schema)
    for name, told in flat["properties"].items():
        one = resolve(told)
        yield Field(
            name=name,
            kind=_kind(one),
            required=name in flat["required"],
            words=one.get("description", ""),
            depth=depth,
        )
        inner = next((each for each in one.get("anyOf", ()) if "properties" in resolve(each)), one)
        nested = resolve(inner).get("items", inner)
        if depth < _DEEPEST:
            yield from _members(nested, depth + 1)


def _example(response: Mapping[str, Any]) -> str:
    for told in response.get("content", {}).values():
        example = told.get("example", resolve(told.get("schema", {})).get("example"))
        if isinstance(example, str):
            return example
        if example is not None:
            return json.dumps(example, ensure_ascii=False, indent=2)
    return ""


def _curl(path: str, method: str, parameters: Sequence[Mapping[str, Any]], body: Mapping[str, Any]) -> str:
    """One that can be pasted, with the address and the token in variables."""
    for one in parameters:
        if one["in"] == "path":
            path = path.replace("{" + one["name"] + "}", str(_value(one)))
    query = [f"{one['name']}={_value(one)}" for one in parameters if one["in"] == "query" and "example" in one]
    address = f"$CARDLINE{path}" + (f"?{'&'.join(query)}" if query else "")
    words = ["curl"]
    if method == "head":
        words.append("--head")
    elif method != "get":
        words.append(f"-X {method.upper()}")
    words.append(f'"{address}" \\\n  -H "Authorization: Bearer $TOKEN"')
    example = body.get("example", resolve(body.get("schema", {})).get("example"))
    if example is not None:
        text = json.dumps(example, ensure_ascii=False)
        words.append(f"\\\n  -H \"Content-Type: application/json\" \\\n  -d '{text}'")
    return " ".join(words)


def _value(parameter: Mapping[str, Any]) -> object:
    return parameter.get("example", next(iter(resolve(parameter["schema"]).get("examples", ("…",)))))
