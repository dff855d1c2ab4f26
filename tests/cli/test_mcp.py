"""The memory server as an agent's tools: the official SDK's client against ours."""

import json
from contextlib import asynccontextmanager

import pytest

from stoker.api.serve import listening
from stoker.cli.mcp_server import build
from stoker.client import Client
from tests.memories.scripted import remember, served

mcp = pytest.importorskip("mcp")


@asynccontextmanager
async def an_agent(tmp_path):
    """An agent's client, and the fabric behind."""
    async with (
        served(tmp_path) as fabric,
        listening(fabric, port=0) as url,
        Client(url) as client,
        mcp.Client(build(client)) as agent,
    ):
        yield agent, fabric


async def told(agent, tool: str, **arguments):
    result = await agent.call_tool(tool, arguments)
    assert not result.is_error, result
    return json.loads(result.content[0].text)


async def test_an_agent_finds_the_tools(tmp_path):
    async with an_agent(tmp_path) as (client, _):
        tools = (await client.list_tools()).tools

        assert [tool.name for tool in tools] == [
            "memory_search", "memory_get", "memory_add", "memory_forget", "memory_history",
        ]  # fmt: skip
        assert all(tool.description for tool in tools)


async def test_what_was_imported_is_found_by_an_agent(tmp_path):
    async with an_agent(tmp_path) as (client, fabric):
        await remember(fabric, "The harbour of Port Ellen has 14 berths.")

        found = await told(client, "memory_search", query="how many berths", kinds=["fact"])

        assert found["data"][0]["statement"].startswith("The harbour of Port Ellen has 14 berths")


async def test_what_an_agent_adds_has_a_history_and_can_be_forgotten(tmp_path):
    async with an_agent(tmp_path) as (client, _):
        added = await told(
            client, "memory_add", statement="Mira is allergic to walnuts.", subject="Mira"
        )

        history = await told(client, "memory_history", id=added["id"])
        await told(client, "memory_forget", id=added["id"])
        gone = await told(client, "memory_get", id=added["id"])

        assert [state["status"] for state in history["history"]] == ["active"]
        assert gone["error"]["code"] == "not_found"
