"""Request bodies for the model: static prompt first, guided JSON, fixed sampling; text as data.

Prompts begin with the same bytes in every call, so that the engine's prefix cache has them. Each
body runs on vLLM, SGLang, llama.cpp and whatever speaks OpenAI's `response_format`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Final

SAMPLING: Final = {"temperature": 0, "top_p": 1, "seed": 0}
_QUIET: Final = {"chat_template_kwargs": {"enable_thinking": False}}
"""Reasoning costs more than the answer, and is not guided. Engines without it take no notice."""

_MARKS: Final = re.compile(
    r"</?(?:text|before|names|known|s|bos|eos|pad|unk|think|(?:start|end)_\w+|tool_\w+)\b[^>]*>"
    r"|<[|｜]|[|｜]>|\[/?INST\]|<</?SYS>>",
    re.IGNORECASE,
)


def body(
    instructions: str,
    text: str,
    schema: Mapping[str, object],
    *,
    model: str | None,
    tokens_max: int,
    is_strict_openai: bool = False,
) -> dict[str, object]:
    """A chat completion that is held to `schema`. Plain OpenAI refuses fields it does not know."""
    return {
        **({"model": model} if model else {}),
        "messages": [
            {"role": "system", "content": instructions},
            {"role": "user", "content": text},
        ],
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "answer", "strict": True, "schema": schema},
        },
        "max_tokens": tokens_max,
        **SAMPLING,
        **({} if is_strict_openai else _QUIET),
    }


@cache
def prompt(name: str) -> str:
    """The static part called `name`."""
    return files("stoker.memories.prompts").joinpath(f"{name}.txt").read_text(encoding="utf-8")


def digest(*parts: object) -> str:
    """A hash of prompts, schemas and sampling, for stage keys."""
    joined = json.dumps(parts, sort_keys=True, ensure_ascii=False)
    return hashlib.blake2b(joined.encode(), digest_size=16).hexdigest()


def as_data(text: str) -> str:
    """The text on one line, without anything that a chat template or our prompt takes for a mark.

    llama.cpp parses control tokens in messages too, so `<|im_end|>` in a mail would end our turn.
    """
    return " ".join(_MARKS.sub(_defused, text).split())


def _defused(match: re.Match[str]) -> str:
    # Looks the same to a reader, and is no mark any more.
    return match[0].replace("<", "‹").replace(">", "›").replace("[", "(").replace("]", ")")
