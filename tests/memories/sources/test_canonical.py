"""One form for all text, no secrets in it, and times as files write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.memories.sources.canonical import canonical_block, canonical_text
from stoker.memories.sources.dates import wall_time
from stoker.memories.sources.scrub import scrub, scrub_all
from stoker.memories.tiles import SpanKind


@given(st.text(st.characters(exclude_categories=[])))
def test_the_form_of_a_form_is_itself(text: str) -> None:
    once = canonical_text(text)

    assert canonical_text(once) == once
    assert once.encode().decode() == once


@given(st.text(), st.sampled_from(SpanKind))
def test_a_block_has_no_controls_and_no_space_around_it(text: str, kind: SpanKind) -> None:
    block = canonical_block(text, kind)

    assert canonical_block(block, kind) == block
    assert not any(ord(sign) < 32 and sign not in "\n\t" for sign in block)
    assert kind in {SpanKind.CODE, SpanKind.TABLE, SpanKind.TURN} or "\n" not in block


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("e\u0301te\u0301", "été"),
        ("a\r\nb\rc\u2028d", "a\nb\nc\nd"),
        ("no\u00a0break", "no break"),
        ("zero\u200bwidth\u00ad", "zerowidth"),
        ("half \ud83d emoji", "half � emoji"),
        ("family \U0001f468\u200d\U0001f469", "family \U0001f468\u200d\U0001f469"),
        ("a  \n\n\n\n\tb", "a\n\n\tb"),
    ],
)
def test_the_form_is_what_a_reader_sees(text: str, form: str) -> None:
    assert canonical_text(text) == form


SECRETS = [
    ("sk" "-proj-abcdefghijklmnop1234567890", "OpenAI key"),
    ("sk" "-ant-api03-abcdefghijklmnop", "Anthropic key"),
    ("ghp" "_abcdefghijklmnopqrstuvwxyz0123456789", "GitHub token"),
    ("AKIA" "ABCDEFGHIJKLMNOP", "AWS key"),
    ("xox" "b-123456789012-abcdef", "Slack token"),
    ("hf" "_abcdefghijklmnopqrstuvwxyzABCDEFGH", "Hugging Face token"),
    ("eyJ" "hbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abcdefghijklmnop", "JSON web token"),
]  # fmt: skip


@pytest.mark.parametrize(("secret", "name"), SECRETS)
def test_a_secret_becomes_a_marker_that_says_what_it_was(secret: str, name: str) -> None:
    text, count = scrub(f"The key is {secret}, keep it.")

    assert (text, count) == (f"The key is [{name} removed], keep it.", 1)


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("postgres://bob:hunter22@db/x", "postgres://[password removed]@db/x"),
        ('"api_key": "abc123def"', '"api_key": "[password removed]"'),
        ("DB_PASSWORD=hunter22", "DB_PASSWORD=[password removed]"),
        (
            "Authorization: Bearer abcdefghij0123456789xyz",
            "Authorization: Bearer [bearer token removed]",
        ),
    ],
)
def test_a_password_is_taken_out_where_one_is_written(text: str, clean: str) -> None:
    assert scrub(text) == (clean, 1)


@pytest.mark.parametrize(
    "text",
    [
        "The password: see the safe.",
        "Secret: nobody knows.",
        "Write to ada@example.org about sk-learn.",
        "https://example.org:8080/a@b",
        "token = next(tokens)",
    ],
)
def test_prose_and_code_about_secrets_stay(text: str) -> None:
    assert scrub(text) == (text, 0)


def test_a_private_key_is_taken_out_over_all_its_paragraphs() -> None:
    begin, end = "-----BEGIN RSA PRIVATE KEY-----", "-----END RSA PRIVATE KEY-----"

    clean, count = scrub_all(["Before", begin, "MIIEow", "abcd==", end, "After"])

    assert clean == ["Before", "[private key removed]", "", "", "", "After"]
    assert count == 1


@given(st.text(alphabet="abc-:/@ \n=k", max_size=300))
def test_scrubbing_twice_finds_nothing_more(text: str) -> None:
    once, _ = scrub(text)

    assert scrub(once) == (once, 0)


@pytest.mark.parametrize(
    ("written", "at"),
    [
        (1.7e9, 1.7e9),
        (1_700_000_000_000, 1.7e9),
        ("1700000000.5", 1_700_000_000.5),
        ("2023-11-14T22:13:20Z", 1.7e9),
        ("2023-11-14T23:13:20+01:00", 1.7e9),
        ("2023-11-14", 1_699_920_000.0),
        ("Tue, 14 Nov 2023 22:13:20 +0000", 1.7e9),
        ("tomorrow", None),
        ("2023", None),
        ("", None),
        (float("nan"), None),
        (float("inf"), None),
        (-5, None),
        (True, None),
        (None, None),
        ("9999-99-99", None),
    ],
)
def test_times_are_read_as_files_write_them(written: object, at: float | None) -> None:
    assert wall_time(written) == at


@given(st.text(max_size=80) | st.floats() | st.integers())
def test_no_time_is_ever_an_exception(written: object) -> None:
    at = wall_time(written)

    assert at is None or isinstance(at, float)
