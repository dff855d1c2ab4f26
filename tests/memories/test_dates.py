"""Every expression of the table against several days, and what becomes of a statement."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.memories import date_rules
from stoker.memories.dates import Precision, dated, mentions, resolve

DAYS = (date(2023, 5, 10), date(2024, 2, 29), date(2021, 1, 1))  # Wednesday, Thursday, Friday

# What each means, said on 10 May 2023, 29 February 2024 and 1 January 2021; both ends are days.
TABLE = """
today | 2023-05-10 | 2024-02-29 | 2021-01-01
this morning | 2023-05-10 | 2024-02-29 | 2021-01-01
yesterday | 2023-05-09 | 2024-02-28 | 2020-12-31
yesterday evening | 2023-05-09 | 2024-02-28 | 2020-12-31
last night | 2023-05-09 | 2024-02-28 | 2020-12-31
the day before yesterday | 2023-05-08 | 2024-02-27 | 2020-12-30
tomorrow | 2023-05-11 | 2024-03-01 | 2021-01-02
the day after tomorrow | 2023-05-12 | 2024-03-02 | 2021-01-03
three days ago | 2023-05-07 | 2024-02-26 | 2020-12-29
10 days ago | 2023-04-30 | 2024-02-19 | 2020-12-22
a week ago | 2023-05-01..2023-05-07 | 2024-02-19..2024-02-25 | 2020-12-21..2020-12-27
two weeks ago | 2023-04-24..2023-04-30 | 2024-02-12..2024-02-18 | 2020-12-14..2020-12-20
a couple of months ago | 2023-03-01..2023-03-31 | 2023-12-01..2023-12-31 | 2020-11-01..2020-11-30
half a year ago | 2022-11-01..2022-11-30 | 2023-08-01..2023-08-31 | 2020-07-01..2020-07-31
five years ago | 2018-01-01..2018-12-31 | 2019-01-01..2019-12-31 | 2016-01-01..2016-12-31
in two weeks | 2023-05-22..2023-05-28 | 2024-03-11..2024-03-17 | 2021-01-11..2021-01-17
in a month | 2023-06-01..2023-06-30 | 2024-03-01..2024-03-31 | 2021-02-01..2021-02-28
three days from now | 2023-05-13 | 2024-03-03 | 2021-01-04
last week | 2023-05-01..2023-05-07 | 2024-02-19..2024-02-25 | 2020-12-21..2020-12-27
the week before last | 2023-04-24..2023-04-30 | 2024-02-12..2024-02-18 | 2020-12-14..2020-12-20
this week | 2023-05-08..2023-05-14 | 2024-02-26..2024-03-03 | 2020-12-28..2021-01-03
next week | 2023-05-15..2023-05-21 | 2024-03-04..2024-03-10 | 2021-01-04..2021-01-10
this weekend | 2023-05-13..2023-05-14 | 2024-03-02..2024-03-03 | 2021-01-02..2021-01-03
last weekend | 2023-05-06..2023-05-07 | 2024-02-24..2024-02-25 | 2020-12-26..2020-12-27
last month | 2023-04-01..2023-04-30 | 2024-01-01..2024-01-31 | 2020-12-01..2020-12-31
next month | 2023-06-01..2023-06-30 | 2024-03-01..2024-03-31 | 2021-02-01..2021-02-28
last quarter | 2023-01-01..2023-03-31 | 2023-10-01..2023-12-31 | 2020-10-01..2020-12-31
last year | 2022-01-01..2022-12-31 | 2023-01-01..2023-12-31 | 2020-01-01..2020-12-31
next year | 2024-01-01..2024-12-31 | 2025-01-01..2025-12-31 | 2022-01-01..2022-12-31
last Tuesday | 2023-05-09 | 2024-02-27 | 2020-12-29
last Friday | 2023-05-05 | 2024-02-23 | 2020-12-25
next Tuesday | 2023-05-16 | 2024-03-05 | 2021-01-05
this Friday | 2023-05-12 | 2024-03-01 | 2021-01-01
on Monday | 2023-05-08 | 2024-02-26 | 2020-12-28
Friday of last week | 2023-05-05 | 2024-02-23 | 2020-12-25
next week on Monday | 2023-05-15 | 2024-03-04 | 2021-01-04
in March | 2023-03-01..2023-03-31 | 2023-03-01..2023-03-31 | 2020-03-01..2020-03-31
last May | 2022-05-01..2022-05-31 | 2023-05-01..2023-05-31 | 2020-05-01..2020-05-31
in June last year | 2022-06-01..2022-06-30 | 2023-06-01..2023-06-30 | 2020-06-01..2020-06-30
on May 7th | 2023-05-07 | 2023-05-07 | 2020-05-07
on the 15th | 2023-04-15 | 2024-02-15 | 2020-12-15
last summer | 2022-06-01..2022-08-31 | 2023-06-01..2023-08-31 | 2020-06-01..2020-08-31
next winter | 2023-12-01..2024-02-29 | 2024-12-01..2025-02-28 | 2021-12-01..2022-02-28
last Christmas | 2022-12-25 | 2023-12-25 | 2020-12-25
at the end of last year | 2022-10-01..2022-12-31 | 2023-10-01..2023-12-31 | 2020-10-01..2020-12-31
early next month | 2023-06-01..2023-06-10 | 2024-03-01..2024-03-10 | 2021-02-01..2021-02-09
late last month | 2023-04-21..2023-04-30 | 2024-01-21..2024-01-31 | 2020-12-21..2020-12-31
over the past two weeks | 2023-04-26..2023-05-10 | 2024-02-15..2024-02-29 | 2020-12-18..2021-01-01
for the last three years | 2020-05-10..2023-05-10 | 2021-02-28..2024-02-29 | 2018-01-01..2021-01-01
since 2019 | 2019-01-01.. | 2019-01-01.. | 2019-01-01..
since last summer | 2022-06-01.. | 2023-06-01.. | 2020-06-01..
ever since March | 2023-03-01.. | 2023-03-01.. | 2020-03-01..
until next Friday | ..2023-05-19 | ..2024-03-08 | ..2021-01-08
by Friday | ..2023-05-12 | ..2024-03-01 | ..2021-01-08
in the 1990s | 1990-01-01..1999-12-31 | 1990-01-01..1999-12-31 | 1990-01-01..1999-12-31
from 2015 to 2018 | 2015-01-01..2018-12-31 | 2015-01-01..2018-12-31 | 2015-01-01..2018-12-31
in 2017 | 2017-01-01..2017-12-31 | 2017-01-01..2017-12-31 | 2017-01-01..2017-12-31
early May 2022 | 2022-05-01..2022-05-10 | 2022-05-01..2022-05-10 | 2022-05-01..2022-05-10
on 7 May 2022 | 2022-05-07 | 2022-05-07 | 2022-05-07
May 7, 2022 | 2022-05-07 | 2022-05-07 | 2022-05-07
2022-05-07 | 2022-05-07 | 2022-05-07 | 2022-05-07
in the summer of 2021 | 2021-06-01..2021-08-31 | 2021-06-01..2021-08-31 | 2021-06-01..2021-08-31
Q3 2022 | 2022-07-01..2022-09-30 | 2022-07-01..2022-09-30 | 2022-07-01..2022-09-30
25/12/2022 | 2022-12-25 | 2022-12-25 | 2022-12-25
"""
ROWS = [[cell.strip() for cell in row.split("|")] for row in TABLE.strip().splitlines()]
CASES = [
    (row[0], said_on, cell) for row in ROWS for said_on, cell in zip(DAYS, row[1:], strict=True)
]


def written(first: date | None, after: date | None) -> str:
    last = None if after is None else after - timedelta(days=1)
    return str(first) if first == last else f"{first or ''}..{last or ''}"


def test_the_table_has_more_than_forty_expressions() -> None:
    assert len(ROWS) > 40


@pytest.mark.parametrize(("text", "said_on", "meaning"), CASES)
def test_an_expression_means_an_interval(text: str, said_on: date, meaning: str) -> None:
    found = mentions(f"we were there {text}, I think", said_on)

    assert [written(mention.occurred_a, mention.occurred_b) for mention in found] == [meaning]


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("We will meet on Monday.", "2023-05-15"),
        ("The launch is due in March.", "2024-03-01..2024-03-31"),
        ("I'm flying to Oslo on the 3rd.", "2023-06-03"),
        ("She is going to move in May.", "2023-05-01..2023-05-31"),
        ("I met him on Monday. We will see.", "2023-05-08"),
    ],
)
def test_the_tense_of_the_sentence_decides(text: str, meaning: str) -> None:
    (found,) = mentions(text, DAYS[0])

    assert written(found.occurred_a, found.occurred_b) == meaning


@pytest.mark.parametrize(
    "text", ["recently", "the other day", "a few weeks ago", "soon", "3/4/2023", "a while back"]
)
def test_what_nobody_can_place_is_found_and_left_open(text: str) -> None:
    (found,) = mentions(f"I was there {text}", DAYS[0])

    assert (found.precision, found.occurred_a, found.occurred_b) == (Precision.UNKNOWN, None, None)


@pytest.mark.parametrize(
    "text",
    ["may 5 people come", "she sat in the sun", "30/31/2022", "a second one", "two cats",
     "the last straw", "v2.2019", "spring water", "I march on"],
)  # fmt: skip
def test_other_words_are_no_time(text: str) -> None:
    assert mentions(text, DAYS[0]) == ()


@pytest.mark.parametrize(
    ("statement", "when", "result"),
    [
        ("Anna went to Oslo yesterday.", None, "Anna went to Oslo on 9 May 2023."),
        ("Last year Anna moved.", None, "In 2022 Anna moved."),
        ("Anna went to Oslo.", "last week", "Anna went to Oslo in the week of 1 May 2023."),
        ("Anna has lived there since 2019.", None, "Anna has lived there since 2019."),
        ("Anna moved recently.", None, "Anna moved recently (said on 10 May 2023)."),
        ("Anna moved.", "recently", "Anna moved recently (said on 10 May 2023)."),
        ("Anna likes tea.", None, "Anna likes tea."),
        ("Anna likes tea.", "often", "Anna likes tea."),
        ("Anna left on 3 May 2023.", "yesterday", "Anna left on 3 May 2023."),
    ],
)
def test_a_statement_gets_its_dates_written_out(
    statement: str, when: str | None, result: str
) -> None:
    assert dated(statement, when, DAYS[0])[0] == result


@given(st.sampled_from([row[0] for row in ROWS]), st.dates(date(1990, 1, 1), date(2090, 12, 31)))
def test_a_meaning_is_an_interval_on_any_day_and_written_out_means_the_same_later(
    text: str, said_on: date
) -> None:
    found = resolve(text, said_on)
    assert found is not None
    first, after = found.occurred_a, found.occurred_b
    assert first is None or after is None or first < after

    statement, _ = dated(f"Anna was there {text}.", None, said_on)

    assert dated(statement, None, said_on + timedelta(days=400))[0] == statement


@given(
    st.lists(
        st.sampled_from(
            [row[0] for row in ROWS]
            + ["since", "until", "by", "in the middle of", "late", "last", "two", "weeks", "ago"]
            + ["Tuesday", "12th", "of", "March", "2021", "on the", "next", "weekend", "Halloween"]
        ),
        max_size=5,
    ).map(" ".join)
)
def test_no_pattern_finds_anything_where_its_cues_are_missing(text: str) -> None:
    cues = date_rules.cues_in(text)

    skipped = [rule for rule in date_rules.RULES if not rule.cues <= cues]

    assert not [rule for rule in skipped if rule.pattern.search(text)]
