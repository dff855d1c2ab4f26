"""The OpenAPI document of the HTTP surface, from `operations.py` and the wire types."""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib import metadata
from typing import Any

import msgspec

from stoker.api.operations import JSON, OPERATIONS, Content, Operation, Parameter, Shape
from stoker.api.shapes import Problem
from stoker.api.wire import encode

_REF = "#/components/schemas/{name}"
_IN_PATH = re.compile(r"\{(\w+)\}")
_REFUSALS = {
    "4XX": "Stoker's refusal in OpenAI's shape (Anthropic's on its routes), or an engine's own",
    "5XX": "what is not the caller's fault",
}


def openapi_document() -> bytes:
    """OpenAPI 3.1 as JSON."""
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation)
    document = {
        "openapi": "3.1.0",
        "info": {
            "title": "Stoker",
            "version": metadata.version("stoker"),
            "summary": "An inference fabric for one box: people first, then agents, then jobs",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": _schemas(),
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"key": []}],
    }
    return encode(document)


def _operation(operation: Operation) -> dict[str, Any]:
    in_path = [
        Parameter(name, {"type": "string", "minLength": 1}, "which one", "path")
        for name in _IN_PATH.findall(operation.path)
    ]
    refusal = _ANY_REFUSAL if operation.is_engines else _REFUSAL
    told: dict[str, Any] = {
        "operationId": _id(operation),
        "summary": operation.words,
        "tags": [_tag(operation.path)],
        "responses": {
            **{str(status): _answer(shapes) for status, shapes in operation.answers.items()},
            **{
                range_: {"description": words, "content": refusal}
                for range_, words in _REFUSALS.items()
            },
        },
    }
    parameters = [_parameter(one) for one in (*in_path, *operation.parameters)]
    if parameters:
        told["parameters"] = parameters
    if operation.takes is not None:
        told["requestBody"] = {
            "required": operation.needs_body,
            "content": dict([_content(operation.takes)]),
        }
    return told


_REFUSAL = {JSON: {"schema": {"$ref": _REF.format(name="Problem")}}}
# An engine refuses as it likes, and so do we in Anthropic's shape.
_ANY_REFUSAL = {JSON: {"schema": {"type": "object"}}, "*/*": {"schema": {}}}


def _answer(shapes: Sequence[Shape]) -> dict[str, Any]:
    if not shapes:
        return {"description": "done"}
    return {"description": "the answer", "content": dict(_content(shape) for shape in shapes)}


def _content(shape: Shape) -> tuple[str, dict[str, Any]]:
    if isinstance(shape, Content):
        return shape.media, {"schema": shape.schema}
    return JSON, {"schema": {"$ref": _REF.format(name=shape.__name__)}}


def _parameter(parameter: Parameter) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "in": parameter.place,
        "required": parameter.place == "path",
        "description": parameter.words,
        "schema": parameter.schema,
    }


def _schemas() -> dict[str, Any]:
    documents = {
        shape
        for operation in OPERATIONS
        for shapes in (*operation.answers.values(), [operation.takes])
        for shape in shapes
        if isinstance(shape, type)
    }
    ordered = sorted({*documents, Problem}, key=lambda shape: shape.__name__)
    _, schemas = msgspec.json.schema_components(ordered, ref_template=_REF)
    return schemas


def _id(operation: Operation) -> str:
    words = re.findall(r"\w+", operation.path)
    return "_".join([operation.method.lower(), *words])


def _tag(path: str) -> str:
    words = re.findall(r"[a-z]\w*", path.removeprefix("/v1"))
    return words[0] if words else "stoker"
