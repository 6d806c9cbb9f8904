"""Holds a value against a JSON schema: the part of it that our OpenAPI document uses."""

from __future__ import annotations

from typing import Any

_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,), "array": (list,), "string": (str,), "integer": (int,),
    "number": (int, float), "boolean": (bool,), "null": (type(None),),
}  # fmt: skip
KNOWN = frozenset({
    "$ref", "type", "enum", "const", "anyOf", "oneOf", "properties", "required", "items",
    "additionalProperties", "prefixItems", "minItems", "maxItems", "title", "description",
    "examples", "default", "format",
})  # fmt: skip


def check(value: Any, schema: dict[str, Any], doc: dict[str, Any], at: str = "$") -> None:
    """Fails, naming the place, when the value does not fit."""
    unknown = set(schema) - KNOWN
    assert not unknown, f"{at}: this checker does not know {unknown}"
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[-1]
        check(value, doc["components"]["schemas"][name], doc, at)
    if "anyOf" in schema:
        fits = [s for s in schema["anyOf"] if _fits(value, s, doc, at)]
        assert fits, f"{at}: {value!r} fits none of {schema['anyOf']}"
    if "enum" in schema:
        assert value in schema["enum"], f"{at}: {value!r} is not one of {schema['enum']}"
    if "type" in schema:
        kinds = _TYPES[schema["type"]]
        right = isinstance(value, kinds) and not (
            isinstance(value, bool) and schema["type"] != "boolean"
        )
        assert right, f"{at}: {value!r} is no {schema['type']}"
    if isinstance(value, dict):
        _check_object(value, schema, doc, at)
    if isinstance(value, list):
        _check_array(value, schema, doc, at)


def _check_object(value: dict[str, Any], schema: dict[str, Any], doc: Any, at: str) -> None:
    fields = schema.get("properties", {})
    missing = set(schema.get("required", ())) - set(value)
    assert not missing, f"{at}: {missing} missing"
    for key, inner in value.items():
        more = schema.get("additionalProperties", True)
        if key in fields:
            check(inner, fields[key], doc, f"{at}.{key}")
        elif isinstance(more, dict):
            check(inner, more, doc, f"{at}.{key}")
        else:
            assert more, f"{at}: `{key}` is not in the schema"


def _check_array(value: list[Any], schema: dict[str, Any], doc: Any, at: str) -> None:
    first = schema.get("prefixItems", [])
    assert len(value) >= schema.get("minItems", 0), f"{at}: too few"
    assert len(value) <= schema.get("maxItems", len(value)), f"{at}: too many"
    for index, inner in enumerate(value):
        of = first[index] if index < len(first) else schema.get("items", {})
        if isinstance(of, dict):
            check(inner, of, doc, f"{at}[{index}]")


def _fits(value: Any, schema: dict[str, Any], doc: dict[str, Any], at: str) -> bool:
    try:
        check(value, schema, doc, at)
    except AssertionError:
        return False
    return True
