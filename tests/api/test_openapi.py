"""The OpenAPI document tells of every route; `tests/clients` checks that it is true."""

from __future__ import annotations

import json
import re

from starlette.routing import Route

from stoker.api.openapi import openapi_document

DOCUMENT = json.loads(openapi_document())
CONVERTER = re.compile(r":\w+\}")


def described():
    return {
        (method.upper(), path)
        for path, operations in DOCUMENT["paths"].items()
        for method in operations
    }


async def test_every_route_is_described_and_nothing_else(kit):
    async with kit.house() as house:
        found = house.app._routes()
    routes = {
        (method, CONVERTER.sub("}", route.path))
        for route in found
        for method in route.methods - {"HEAD"}
        if isinstance(route, Route)
    }

    assert described() == routes


async def test_it_is_served(kit):
    async with kit.house() as house:
        reply = await house.call("GET", "/openapi.json")

    assert reply.status == 200
    assert reply.headers["content-type"] == "application/json"
    assert reply.json == DOCUMENT


def test_every_reference_leads_somewhere():
    named = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(DOCUMENT)))

    assert named <= set(DOCUMENT["components"]["schemas"])
    assert {"JobDocument", "BatchDocument", "Problem"} <= named


def test_operations_have_names_of_their_own():
    ids = [one["operationId"] for path in DOCUMENT["paths"].values() for one in path.values()]

    assert len(ids) == len(set(ids))


def test_each_variable_of_a_path_is_a_parameter():
    for path, operations in DOCUMENT["paths"].items():
        for operation in operations.values():
            told = {one["name"] for one in operation.get("parameters", ()) if one["in"] == "path"}
            assert told == set(re.findall(r"\{(\w+)\}", path)), path
