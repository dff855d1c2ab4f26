"""The line reader against what a file really holds, and the checker against any line at all."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from hypothesis import example, given
from hypothesis import strategies as st

from stoker.batches.lines import LineChecker, LineReader

CHAT = "/v1/chat/completions"
LIMIT = 2000


def read(content, *, offset=0, line=0, size=3):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "in"
        path.write_bytes(content)
        reader = LineReader(path, line_max_bytes=LIMIT, offset=offset, line=line)
        found = []
        while lines := reader.slice(lines=size):
            found += lines
        reader.close()
        return found


def check(content, *, lines_max=1000):
    checker = LineChecker(CHAT, lines_max=lines_max, line_max_bytes=LIMIT)
    checker.check(read(content))
    return checker


pieces = st.lists(st.binary(max_size=30).map(lambda raw: raw.replace(b"\n", b"")), max_size=12)


@given(pieces, st.sampled_from([b"\n", b"\r\n"]), st.booleans())
@example([b"\xef\xbb\xbf{}", b"", b"b"], b"\n", False)
def test_every_line_that_is_not_blank_comes_once_with_its_number(raws, newline, is_ended):
    content = newline.join(raws) + (newline if is_ended else b"")

    lines = read(content)

    expected = []
    for number, raw in enumerate(content.split(b"\n"), 1):
        text = (raw.removeprefix(b"\xef\xbb\xbf") if number == 1 else raw).strip()
        if text:
            expected.append((number, text))
    assert [(line.number, line.raw) for line in lines] == expected


@given(pieces, st.integers(0, 12))
def test_reading_goes_on_after_any_line_as_if_it_had_not_stopped(raws, stop):
    content = b"\n".join(raws)
    lines = read(content)
    if not lines:
        return
    last = lines[min(stop, len(lines) - 1)]

    rest = read(content, offset=last.end, line=last.number)

    assert rest == lines[lines.index(last) + 1 :]


def test_a_line_that_is_too_long_is_told_and_the_next_one_is_read():
    good = json.dumps(valid("a")).encode()
    content = good + b"\n" + b"x" * (LIMIT * 200) + b"\n" + json.dumps(valid("b")).encode()

    checker = check(content)

    assert checker.total == 3
    assert [(fault.code, fault.line) for fault in checker.faults] == [("line_too_long", 2)]
    after = read(content)[1]
    assert read(content, offset=after.end, line=after.number)[0].number == 3


def valid(id="a", **changes):
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    return {"custom_id": id, "method": "POST", "url": CHAT, "body": body, **changes}


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)
fields = st.dictionaries(st.sampled_from(["custom_id", "method", "url", "body", "extra"]), values)


@given(st.lists(fields | values | st.binary(max_size=20), max_size=6))
@example([b"[" * 1900])
@example([b'{"custom_id": "\xff", "method": "POST"}'])
@example([{**valid(), "body": {"messages": [1]}}])
def test_no_line_breaks_the_checker_and_each_fault_names_its_line(found):
    raws = [
        raw.replace(b"\n", b"") if isinstance(raw, bytes) else json.dumps(raw).encode()
        for raw in found
    ]
    content = b"\n".join([json.dumps(valid("first")).encode(), *raws])

    checker = check(content)

    lines = [fault.line for fault in checker.faults]
    assert lines == sorted(set(lines))
    assert checker.total == len(read(content))
    assert 1 not in lines
    assert all(fault.code and fault.message for fault in checker.faults)


@given(st.lists(st.text(min_size=1, max_size=4), max_size=8))
def test_exactly_the_second_use_of_an_id_is_a_fault(ids):
    content = b"\n".join(json.dumps(valid(id)).encode() for id in ids)

    checker = check(content)

    repeated = [n for n, id in enumerate(ids, 1) if id in ids[: n - 1]]
    assert [fault.line for fault in checker.faults] == repeated
    assert {fault.code for fault in checker.faults} <= {"duplicate_custom_id"}


@given(st.sampled_from(["custom_id", "method", "url", "body"]), st.sampled_from([None, "absent"]))
def test_a_missing_field_is_named(name, how):
    line = valid()
    line[name] = None
    if how == "absent":
        del line[name]

    (fault,) = check(json.dumps(line).encode()).faults

    if name == "body" and how is None:
        assert (fault.code, fault.param) == ("invalid_request", "body")
    else:
        assert (fault.code, fault.param) == ("missing_required_parameter", name)


def test_the_list_of_faults_is_bounded():
    checker = LineChecker(CHAT, lines_max=50_000, line_max_bytes=LIMIT)

    checker.check(read(b"x\n" * 5000))

    assert checker.is_over
    assert len(checker.faults) == 1000
