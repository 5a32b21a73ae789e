"""How the report sets numbers, text and tables."""

import io

import numpy as np
import pytest
from pypdf import PdfReader

from sscha_mlp import digits
from sscha_mlp.quantities import q_name
from sscha_mlp.report.page.layout import (
    Column,
    Flow,
    new_page,
    shorten,
    table_pages,
    text_width,
    wrap,
)
from sscha_mlp.report.page.outline import Section, contents_line, outline_of, with_outline
from sscha_mlp.report.page.pdf_file import pdf_bytes
from sscha_mlp.report.page.scatter import told_apart
from sscha_mlp.report.page.style import style


@pytest.mark.parametrize(
    ("value", "stderr", "text"),
    [
        (-5.31490, 0.00031, "−5.31490 ± 0.00031"),
        (4.2811, 0.0294, "4.281 ± 0.029"),
        (15.91, 12.3, "16 ± 12"),
        (1.5, None, "1.500"),
        (None, 0.1, "—"),
        (float("nan"), 0.1, "—"),
    ],
)
def test_numbers_have_the_digits_of_their_errors(value, stderr, text):
    assert digits.with_error(value, stderr) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0444, "0.0444"), (340.2, "340"), (3631.3, "3631"), (-0.5, "−0.500"), (0.0, "0")],
)
def test_significant_digits(value, text):
    assert digits.significant(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(3.0, "3.0 s"), (63.0, "63 s"), (305.0, "5 min 05 s"), (7380, "2 h 03 min")],
)
def test_durations(seconds, text):
    assert digits.duration(seconds) == text


def test_small_negative_numbers_have_no_sign_when_they_round_to_zero():
    assert digits.fixed(-1e-9, 3, sign=True) == "0.000"


@pytest.mark.parametrize(
    ("q", "name"),
    [([0, 0, 0], "Γ"), ([0.5, -0.25, 0], "(1/2 −1/4 0)"), ([1 / 3, 0.123456, 0], "(1/3 0.123 0)")],
)
def test_names_of_q_points(q, name):
    assert q_name(q) == name


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("still changes by -8.35 ± 0.83", "still changes by −8.35 ± 0.83"),
        ("round-1.2: after 3-5 steps, 1e-5", "round-1.2: after 3-5 steps, 1e-5"),
    ],
)
def test_sentences_of_the_journal_get_true_minus_signs(written, shown):
    assert digits.with_minus(written) == shown


def test_bookmarks_lead_to_the_first_pages_of_the_parts():
    with style():
        sections = [Section("One", [new_page()]), Section("Two, longer", [new_page(), new_page()])]
        pages = [page for one in sections for page in one.pages]
        plain = pdf_bytes(pages, title="x")
    content = with_outline(plain, outline_of(sections))
    found = PdfReader(io.BytesIO(content))
    places = [found.get_destination_page_number(one) for one in found.outline]
    assert [one.title for one in found.outline] == ["One", "Two, longer"]
    assert places == [0, 1] and len(found.pages) == 3
    assert found.page_mode == "/UseOutlines"
    assert found.metadata == {"/Title": "x", "/Creator": "sscha-mlp"}  # no date, no other program
    assert with_outline(plain, outline_of(sections)) == content
    assert with_outline(plain, []) == plain


def test_the_first_page_says_where_the_parts_are():
    parts = [Section("The start", [new_page()]), Section("Validation of x, late", [new_page()] * 2)]
    parts.append(Section("Cost, alarms and notes", [new_page()]))
    text = contents_line(parts)
    assert text == "Pages: the start (2), validation of x (3–4), cost, alarms and notes (5)."


def test_points_that_cannot_be_told_apart_are_drawn_once(rng):
    x, y = rng.normal(size=(2, 400))
    kept = told_apart(np.tile(x, 5), np.tile(y, 5))
    assert kept.max() < 400
    assert len(kept) > 380
    assert {x.argmin(), x.argmax(), y.argmin(), y.argmax()} <= set(kept)


def test_text_wraps_inside_its_width():
    with style():
        text = "a sentence of some length, with " + "/a/path/without/any/space" * 8
        lines = wrap(text, 60.0, 9.0)

    assert len(lines) > 3
    assert all(text_width(line, 9.0) <= 60.0 for line in lines)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    assert shorten(text, 60.0, 9.0, n_lines=2).endswith("…")


def test_a_long_table_goes_on_on_the_next_page():
    columns = (Column("Name", 50.0, "left"), Column("Value", 30.0))
    pages, flow = table_pages("Long", columns, [[str(i), "x"] for i in range(150)])

    titles = [page.texts[0].get_text() for page in pages]
    written = sum(text.get_text() == "x" for page in pages for text in page.texts)
    assert titles == ["Long", *["Long, continued"] * (len(pages) - 1)]
    assert written == 150
    assert 0.0 < flow.top < flow.bottom


def test_a_group_that_goes_on_on_the_next_page_has_its_name_again():
    columns = (Column("Group", 40.0, "left"), Column("Row", 20.0))
    rows = [["first" if n == 0 else "", str(n)] for n in range(90)]
    pages, _ = table_pages("Rows", columns, rows, breaks=[0])
    texts = [[text.get_text() for text in page.texts] for page in pages]
    assert len(pages) == 2
    assert all("first" in one for one in texts)


def test_the_pen_moves_down():
    flow = Flow(new_page())
    start = flow.top
    flow.heading("Title")
    flow.paragraph("Text.")
    assert flow.top > start


def test_a_table_that_begins_low_on_a_page_loses_no_row():
    columns = (Column("Name", 60.0, "left"), Column("Number", 40.0))
    rows = [[f"row {number}", str(number)] for number in range(3)]
    with style():
        for room in range(2, 40):
            flow = Flow(new_page())
            flow.top = flow.bottom - room
            pages, _ = table_pages("Table", columns, rows, first=flow)
            texts = [text.get_text() for page in (flow.figure, *pages) for text in page.texts]
            assert all(name in texts for name, _ in rows)
