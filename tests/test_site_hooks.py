"""What the site makes of the documents: formulas, words of links, docstrings."""

import re
from types import SimpleNamespace

import pytest
from site_pages import DOCS, load_tool

pytest.importorskip("mkdocs")
pytest.importorskip("latex2mathml")
HOOKS = load_tool("site_hooks")
PAGES = load_tool("reference_pages")
TOKEN = re.compile(r"<(m[ion])([^>]*)>([^<]*)</\1>")


class Files:
    """Pages of the site by file: what the hook asks MkDocs for."""

    def __init__(self, **titles: str) -> None:
        self.titles = titles

    def get_file_from_path(self, name):
        title = self.titles.get(name.removesuffix(".md"))
        if title is None:
            return None
        text = (DOCS / name).read_text()
        return SimpleNamespace(page=SimpleNamespace(title=title), content_string=text)


def tokens(tex: str) -> list[tuple[str, str]]:
    """Kind and text of each symbol of a formula."""
    return [(kind, text) for kind, _, text in TOKEN.findall(HOOKS.formula(tex, display=True))]


@pytest.mark.parametrize(
    ("tex", "symbol"),
    [
        (r"\mathcal F[\rho]", "ℱ"),
        (r"\mathcal H_R", "ℋ"),
        (r"\hat{\mathbf r}_j", "𝐫"),
        (r"P\,\mathbb 1", "𝟙"),
        (r"\mathcal A", "𝒜"),
    ],
)
def test_letters_of_other_alphabets_are_characters_of_their_own(tex, symbol):
    """Browsers ignore a variant, so that the bound would read F < F."""
    assert symbol in [text for _, text in tokens(tex)]
    assert "mathvariant" not in HOOKS.formula(tex, display=True)


def test_averages_stand_in_brackets_that_are_operators():
    assert tokens(r"\langle V\rangle_\rho") == [
        ("mo", "⟨"),
        ("mi", "V"),
        ("mo", "⟩"),
        ("mi", "ρ"),
    ]


def test_a_word_is_one_symbol_and_a_function_an_operator():
    assert ("mi", "sym") in tokens(r"\mathrm{sym}(f)")
    assert ("mo", "coth") in tokens(r"\coth\frac x2")
    spaced, tight = (HOOKS.formula(tex, display=False) for tex in (r"\ln x", r"\ln(x)"))
    assert 'rspace="0.167em"' in spaced and 'rspace="0"' in tight


def test_what_looks_like_markup_stays_escaped():
    made = HOOKS.formula("a < b & c", display=False)
    assert "&lt;" in made and "<mo><" not in made


def test_a_link_named_by_its_file_gets_titles_as_words():
    files = Files(labels="Labels, also by hand", method="The method in full")
    text = "[labels.md](labels.md#labels-by-hand), [method.md](method.md), [so](method.md)"
    made = HOOKS.on_page_markdown(text, files=files)
    assert made == (
        "[Labels, also by hand: Labels by hand](labels.md#labels-by-hand), "
        "[The method in full](method.md), [so](method.md)"
    )


def test_links_in_code_and_to_unknown_pages_stay():
    text = "`[labels.md](labels.md)` and [other.md](other.md)"
    assert HOOKS.on_page_markdown(text, files=Files(labels="Labels")) == text


def test_a_bar_in_a_cell_loses_its_backslash_and_code_elsewhere_keeps_it():
    content = r"<td><code>a\|b</code></td><pre>a\|b</pre>"
    assert HOOKS.on_page_content(content) == r"<td><code>a|b</code></td><pre>a\|b</pre>"


def test_prose_on_the_value_gets_the_type_of_the_signature():
    pytest.importorskip("griffe")
    with_type = load_tool("docstrings").with_type
    plain = "Write.\n\nReturns\n-------\nThe files: all\nof them.\n\nRaises\n------\nInputError"
    made = with_type(plain, "list[Path]")
    assert "-------\nlist[Path]\n    The files: all\n    of them.\n\nRaises\n" in made
    typed = "Write.\n\nReturns\n-------\nlist[Path]\n    The files."
    assert with_type(typed, "list[Path]") == typed


def test_defaults_are_shown_as_values_or_as_words():
    rows = {(verb, one.name): one for verb, c in PAGES.commands() for one in PAGES.options(c)}
    assert rows["relax", "--supercell"].default == "`2 2 2`"
    assert rows["relax", "--structure"].default == "the bundled silicon"
    assert rows["ensemble", "--pairs, --no-pairs"].default == "`--pairs`"
    assert rows["status", "RUN_DIR"].default == "required"


@pytest.mark.parametrize("document", sorted(DOCS.glob("*.md")), ids=lambda path: path.name)
def test_lists_are_nested_as_the_site_reads_them(document):
    """Fewer than four spaces nest on GitHub and not on the site; a paragraph ends with a line."""
    text = re.sub(r"^```.*?^```", "", document.read_text(), flags=re.MULTILINE | re.DOTALL)
    assert re.findall(r"^ {1,3}(?:[-*]|\d+\.) .*$", text, flags=re.MULTILINE) == []
    assert re.findall(r"^ {4}\w.*\n(?:[-*]|\d+\.) .*$", text, flags=re.MULTILINE) == []
