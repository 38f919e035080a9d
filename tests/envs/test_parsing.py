"""The parser reads what models write as far as it goes, and never raises."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from progym.envs.module import Field, Module
from progym.envs.parsing import parse
from progym.envs.rendering import render_reply

MODULE = Module(
    "classify",
    "Classify.",
    (Field("text"),),
    (Field("key_facts"), Field("label", choices=("card_arrival", "Refund?", "b.")), Field("note")),
)


def is_label_line(line: str) -> bool:
    return bool(re.match(r"[ \t>*#-]*(key facts|label|note)", line, re.ASCII | re.IGNORECASE))


values = st.text().map(str.strip).filter(bool)
plain_values = values.filter(lambda text: not any(map(is_label_line, text.split("\n"))))
soup = st.lists(
    st.sampled_from(
        [
            "Key facts:",
            "Key fact\u017f:",
            "**Label:**",
            "Note",
            ":",
            "\n",
            "b.",
            "refund?",
            " ",
            "\ud800",
        ]
    )
    | st.text(max_size=5)
).map("".join)


@given(soup)
def test_any_text_gives_known_fields_that_are_not_empty_and_an_error_unless_all_are_there(text):
    parsed = parse(MODULE, text)

    assert set(parsed.fields) <= {"key_facts", "label", "note"}
    assert all(parsed.fields.values())
    assert (parsed.error is None) == (len(parsed.fields) == 3)


@given(plain_values, st.sampled_from(MODULE.outputs[1].choices), plain_values)
def test_a_rendered_reply_reads_back_as_the_fields_it_was_made_of(facts, label, note):
    fields = {"key_facts": facts, "label": label, "note": note}

    parsed = parse(MODULE, render_reply(MODULE, fields))

    assert parsed.fields == fields
    assert parsed.error is None


@pytest.mark.parametrize(
    "text",
    [
        "Key facts: a\nLabel: card_arrival\nNote: c",
        "key facts : a\nLABEL:card_arrival\nnote:c",
        "**Key facts:** a\n**Label:** card_arrival\n**Note:** c",
        "**Key facts**: a\n**Label**: `card_arrival`\n**Note**: c",
        "- Key facts: a\n* Label: Card_Arrival.\n> Note: c",
        "### Key facts: a\n- **Label:** 'card_arrival'\n* *Note:* c",
        "Sure! Here it is.\n\nKey facts:\na\nLabel:\ncard_arrival\n\nNote:\nc\n",
        "Key facts: a\r\nLabel: card_arrival\r\nNote: c\r\n",
    ],
)
def test_markdown_and_case_around_labels_mean_nothing(text):
    assert parse(MODULE, text).fields == {"key_facts": "a", "label": "card_arrival", "note": "c"}


def test_a_value_keeps_its_own_markdown():
    parsed = parse(MODULE, "Key facts: **bold** start\n**Note:** *it* is")

    assert parsed.fields == {"key_facts": "**bold** start", "note": "*it* is"}


def test_a_letter_that_unicode_only_folds_to_a_labels_is_none_of_it():
    parsed = parse(MODULE, "Key fact\u017f: a\nKey facts: b\nKey fact\u017f: c")

    assert parsed.fields == {"key_facts": "b\nKey fact\u017f: c"}


def test_a_partial_reply_keeps_its_fields_and_names_what_is_missing():
    parsed = parse(MODULE, "Key facts: water is wet")

    assert parsed.fields == {"key_facts": "water is wet"}
    assert parsed.error == "no 'Label:' line; no 'Note:' line"


def test_a_wrong_choice_is_named_and_the_other_fields_stay():
    parsed = parse(MODULE, "Key facts: a\nLabel: lost_card\nNote: c")

    assert parsed.fields == {"key_facts": "a", "note": "c"}
    assert parsed.error == "'Label: lost_card' is not one of its 3 choices"


def test_an_empty_value_is_an_error():
    assert parse(MODULE, "Key facts:\nLabel: b.\nNote: c").error == "'Key facts:' is empty"


def test_a_repeated_label_ends_the_reply():
    text = "Key facts: a\nLabel: b.\nNote: c\nKey facts: from the next question\nNote: x"

    assert parse(MODULE, text).fields == {"key_facts": "a", "label": "b.", "note": "c"}


def test_a_label_within_a_line_is_part_of_the_value():
    parsed = parse(MODULE, "Key facts: the note: is here\nLabel: b.\nNote: c")

    assert parsed.fields["key_facts"] == "the note: is here"


@pytest.mark.parametrize("unit", [" ", "*", "\n", "* ", "- ", "Label", "Label ", "Note:", "Note"])
def test_degenerate_completions_are_read_in_linear_time(unit):
    started = time.perf_counter()

    parse(MODULE, unit * 100_000)

    assert time.perf_counter() - started < 2.0
