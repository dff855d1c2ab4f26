"""Keys and passwords do not become memories: each is replaced by a marker that says what it was."""

from __future__ import annotations

import re

_PATTERNS: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (name, re.compile(pattern))
    for name, pattern in (
        (
            "private key",
            r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----"
            r"(?:[^-]|-(?!----)){0,20000}"
            r"(?:-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----|\Z)",
        ),
        ("Anthropic key", r"\bsk-ant-[\w-]{16,}"),
        ("OpenAI key", r"\bsk-(?:proj-|svcacct-|admin-)?[\w-]{20,}"),
        ("GitHub token", r"\b(?:gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,})"),
        ("GitLab token", r"\bgl(?:pat|dt|rt)-[\w-]{20,}"),
        ("AWS key", r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"),
        ("Google key", r"\bAIza[\w-]{35}"),
        ("Slack token", r"\bxox[abeoprs]-[\w-]{10,}"),
        ("Stripe key", r"\b[rs]k_(?:live|test)_[A-Za-z0-9]{16,}"),
        ("Hugging Face token", r"\bhf_[A-Za-z0-9]{30,}"),
        ("package token", r"\b(?:npm_[A-Za-z0-9]{36}|pypi-[\w-]{50,})"),
        ("JSON web token", r"\beyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,}"),
        ("bearer token", r"(?i:(?<=\bbearer ))[\w.~+/-]{20,}=*"),
        # A scheme is bounded, or a line of letters would be scanned once per letter.
        ("password", r"(?<=://)[^\s/@:]{0,100}:[^\s/@]{1,200}(?=@)"),
    )
)
# `password = hunter2`, `"api_key": "…"`. The value needs a digit or a sign that prose has not, so
# that "password: see the safe" stays.
_ASSIGNED = re.compile(
    r"(?i)\b((?:[a-z0-9]{1,20}[_-]){0,3}(?:password|passwd|passphrase|secret|api[_-]?key|"
    r"access[_-]?key|auth[_-]?token|access[_-]?token)[\"']?[ \t]{0,4}[:=][ \t]{0,4}[\"']?)"
    r"(?=[^\s\"']{0,100}[0-9!@#$%^&*+/])([^\s\"',;\[\]<>(){}]{6,200})"
)
_OPENS = re.compile(r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY")
_CLOSES = re.compile(r"-----END [A-Z0-9 ]{0,40}PRIVATE KEY")


def scrub(text: str) -> tuple[str, int]:
    """Return `text` without its keys and passwords, and how many there were."""
    count = 0
    for name, pattern in _PATTERNS:
        text, found = pattern.subn(_marker(name), text)
        count += found
    text, found = _ASSIGNED.subn(rf"\1{_marker('password')}", text)
    return text, count + found


def scrub_all(texts: list[str]) -> tuple[list[str], int]:
    """Scrub consecutive pieces of one text; a private key may go over several of them."""
    clean: list[str] = []
    count, is_inside = 0, False
    for text in texts:
        is_end = bool(_CLOSES.search(text))
        # A key's lines are short; without its end, the first longer text is no key any more.
        if is_inside and (is_end or len(text) <= 100):
            clean.append("")
            is_inside = not is_end
            continue
        is_inside = bool(_OPENS.search(text)) and not is_end
        scrubbed, found = scrub(text)
        clean.append(scrubbed)
        count += found
    return clean, count


def _marker(name: str) -> str:
    return f"[{name} removed]"
