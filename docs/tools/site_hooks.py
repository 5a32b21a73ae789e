"""What MkDocs does beside its own work: formulas, words of links, pages outside docs/."""

import html
import logging
import re
import unicodedata
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.structure.files import File, Files
from pymdownx.slugs import slugify

ROOT = Path(__file__).parents[2]

logger = logging.getLogger("mkdocs.hooks.site_hooks")

_FORMULA = re.compile(
    r'<(?P<tag>span|div) class="arithmatex">\\[(\[](?P<tex>.*?)\\[)\]]</(?P=tag)>', re.DOTALL
)
_README = re.compile(r"\[([^\]]*)\]\(\.\./README\.md[^)]*\)")
"""A link to the README, whose place on the site is its first page: the words stay."""

_ROLE = re.compile(r":\w+:<code>~?([^<]*)</code>")
_NAMED_BY_FILE = re.compile(r"(?<!`)\[(?P<name>[\w-]+\.md)\]\((?P=name)(?P<anchor>#[\w-]+)?\)")
"""A link whose words are the name of its file, as it reads well outside the site."""

_CELL = re.compile(r"<td[ >].*?</td>", re.DOTALL)
_anchor = slugify(case="lower")


def on_files(files: Files, *, config: Any) -> Files:
    """Add the changelog and the notebooks, which stand outside docs/."""
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    text = text.replace("](docs/", "](").replace("[docs/", "[")
    files.append(File.generated(config, "changelog.md", content=text))
    for notebook in sorted((ROOT / "notebooks").glob("*.ipynb")):
        place = f"notebooks/{notebook.name}"
        files.append(File.generated(config, place, abs_src_path=str(notebook)))
    return files


def on_page_markdown(markdown: str, *, files: Files, **_: Any) -> str:
    """Point links out of docs/ to where the site has these files, and name pages by title."""
    markdown = markdown.replace("](../notebooks/", "](notebooks/")
    markdown = markdown.replace("](../CHANGELOG.md", "](changelog.md")
    markdown = _README.sub(r"\1", markdown)
    return _NAMED_BY_FILE.sub(lambda found: _titled(found, files), markdown)


def on_page_content(content: str, **_: Any) -> str:
    """Put MathML in the place of TeX, and plain code in the place of Sphinx's roles."""
    content = _ROLE.sub(r"<code>\1</code>", content)
    content = _CELL.sub(lambda found: found[0].replace("\\|", "|"), content)
    return _FORMULA.sub(_mathml, content)


def _titled(found: re.Match[str], files: Files) -> str:
    """Return the link with the title of its page, and of its section, as words."""
    name, anchor = found["name"], found["anchor"] or ""
    file = files.get_file_from_path(name)
    if file is None or file.page is None:
        return found[0]
    section = _heading(file.content_string, anchor[1:])
    words = f"{file.page.title}: {section}" if section else file.page.title
    return f"[{words}]({name}{anchor})"


def _heading(markdown: str, anchor: str) -> str:
    headings = re.findall(r"^##+ (.*)$", markdown, flags=re.MULTILINE)
    return next((one for one in headings if anchor and _anchor(one, "-") == anchor), "")


# Formulas

_PLACE = {"⟨": "prefix", "⟩": "postfix"}
_ENTITY = re.compile(r"&#x[0-9A-F]+;")
_UPRIGHT = re.compile(r'(?:<mi mathvariant="normal">[^<]*</mi>){2,}')
_VARIANT = re.compile(r'<(m[in]) mathvariant="(script|bold|double-struck)">([^<])</\1>')
_BAR = re.compile(r'<mover>(<m[in]>[^<]*</m[in]>)<mo stretchy="true">¯</mo>')
_FUNCTION = re.compile(r"<(m[io])>(ln|exp|coth|max|min)</\1>(?=(?P<brace><mo[^>]*>\()?)")
_THIN = "0.167em"


def formula(tex: str, *, display: bool) -> str:
    """Return a formula as MathML; a command that is not known makes the build fail."""
    made = convert(" ".join(tex.split()), display="block" if display else "inline")
    if "\\" in made:
        logger.warning("latex2mathml does not know all of this formula: %s", tex)
    return mended(made)


def mended(mathml: str) -> str:
    """Return MathML of latex2mathml as browsers need it to space and shape it as TeX does.

    They know no ``mathvariant`` but ``normal``: letters of other alphabets become characters of
    their own. Angle brackets become fences, names of functions operators, and words one symbol.
    """
    mathml = _ENTITY.sub(_character, mathml)
    mathml = _VARIANT.sub(lambda one: f"<{one[1]}>{_letter(one[3], one[2])}</{one[1]}>", mathml)
    mathml = _UPRIGHT.sub(lambda one: f"<mi>{re.sub('<[^>]*>', '', one[0])}</mi>", mathml)
    mathml = _BAR.sub(r'<mover accent="true">\1<mo stretchy="false">¯</mo>', mathml)
    mathml = _FUNCTION.sub(_operator, mathml)
    mathml = re.sub("<mi>([⟨⟩])</mi>", _bracket, mathml)
    mathml = re.sub(
        r"<mo[^>]*>([|/])</mo>", r'<mo stretchy="false" lspace="0" rspace="0">\1</mo>', mathml
    )
    return mathml.replace("<mo>∂</mo>", "<mi>∂</mi>").replace("<mi>±</mi>", "<mo>±</mo>")


def _character(entity: re.Match[str]) -> str:
    made = html.unescape(entity[0])
    return html.escape(made, quote=False)


def _letter(plain: str, alphabet: str) -> str:
    """Return the character of an alphabet for mathematics, such as ℱ for F in script."""
    name = unicodedata.name(plain).replace("LATIN ", "").replace("LETTER ", "")
    wanted = f"{alphabet.upper()} {name}"
    try:
        return unicodedata.lookup(f"MATHEMATICAL {wanted}")
    except KeyError:  # those that Unicode had before it had the alphabet
        return unicodedata.lookup(wanted)


def _operator(name: re.Match[str]) -> str:
    after = "0" if name["brace"] else _THIN
    return f'<mo form="prefix" lspace="{_THIN}" rspace="{after}">{name[2]}</mo>'


def _bracket(one: re.Match[str]) -> str:
    return f'<mo form="{_PLACE[one[1]]}" stretchy="false" lspace="0" rspace="0">{one[1]}</mo>'


def _mathml(found: re.Match[str]) -> str:
    display = found["tag"] == "div"
    made = formula(html.unescape(found["tex"]), display=display)
    return f'<div class="formula">{made}</div>' if display else made
