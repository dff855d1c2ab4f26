"""Clients that other people wrote, unchanged, against Stoker on the embedded engine.

`just clients-test` installs and runs them: they have no place among our own dependencies.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.clients

ROOT = Path(__file__).parents[2]
BIN = ROOT / ".clients/venv/bin"
JS = ROOT / ".clients/js"
LIMIT_S = 180


def require(path: Path) -> None:
    if path.exists():
        return
    message = f"{path.relative_to(ROOT)} is missing: run `just clients-setup`"
    if os.environ.get("CI") == "true":
        pytest.fail(message, pytrace=False)
    pytest.skip(message)


def run(*command: str | Path, folder: Path, **environment: str) -> str:
    """What a command writes, if it ends well."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    done = subprocess.run(
        command,
        cwd=folder,
        env=kept | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def test_the_official_javascript_client_runs_its_contract(url):
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("node or npm is not installed")
    require(JS / "node_modules/openai")
    contract = shutil.copy(ROOT / "tests/js/contract.test.js", JS)

    told = run("node", "--test", contract, folder=JS, STOKER_URL=url)

    assert "# fail 0" in told
    assert "# skipped 0" in told


LANGCHAIN = """
import json, os
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI

@tool
def weather(city: str) -> str:
    "Look up the weather."
    return "sunny"

chat = ChatOpenAI(
    model=os.environ["MODEL"],
    base_url=os.environ["STOKER_URL"] + "/v1",
    api_key="unused",
    max_completion_tokens=60,
    temperature=0,
    service_tier="priority",
)
schema = {"title": "weather", "type": "object", "required": ["city"],
          "properties": {"city": {"type": "string", "enum": ["Rome", "Oslo"]}}}
whole = chat.invoke("Say hi.")
structured = chat.with_structured_output(schema, method="json_schema").invoke("Rome or Oslo?")
called = chat.bind_tools([weather]).invoke("How is Rome?")
with_responses = ChatOpenAI(
    model=os.environ["MODEL"],
    base_url=os.environ["STOKER_URL"] + "/v1",
    api_key="unused",
    use_responses_api=True,
).invoke("Say hi.", max_output_tokens=16)
print(json.dumps({
    "text": whole.content,
    "usage": whole.usage_metadata["output_tokens"],
    "tier": whole.response_metadata.get("service_tier"),
    "streamed": "".join(piece.content for piece in chat.stream("Say hi.")),
    "batched": len(chat.batch(["Say hi.", "Say bye."])),
    "structured": structured,
    "is_tool_answer": bool(called.content or called.tool_calls),
    "response": with_responses.text,
}))
"""


def test_langchain_chats_streams_batches_and_structures(url, model, tmp_path):
    require(BIN / "python")

    told = run(
        BIN / "python",
        "-c",
        LANGCHAIN,
        folder=tmp_path,
        STOKER_URL=url,
        MODEL=model,
        LANGSMITH_TRACING="false",
    )

    found = json.loads(told.splitlines()[-1])
    assert found["text"]
    assert found["streamed"]
    assert found["response"]
    assert 1 <= found["usage"] <= 60
    assert found["tier"] == "priority"
    assert found["batched"] == 2
    assert found["structured"]["city"] in {"Rome", "Oslo"}
    assert found["is_tool_answer"]


@pytest.mark.parametrize("options", [[], ["--no-stream"]])
def test_the_llm_command_prompts(url, model, tmp_path, options):
    require(BIN / "llm")
    (tmp_path / "extra-openai-models.yaml").write_text(
        f"- model_id: stoker\n  model_name: {model}\n  api_base: {url}/v1\n"
    )

    told = run(
        BIN / "llm",
        *("-m", "stoker", "-o", "max_tokens", "8", *options, "Say hi."),
        folder=tmp_path,
        LLM_USER_PATH=str(tmp_path),
    )

    assert told.strip()
