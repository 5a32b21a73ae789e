"""What MkDocs does beside its own work: formulas as MathML, pages that stand outside docs/."""

import html
import logging
import re
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.structure.files import File

ROOT = Path(__file__).parents[2]

logger = logging.getLogger("mkdocs.hooks.site_hooks")

_FORMULA = re.compile(
    r'<(?P<tag>span|div) class="arithmatex">\\[(\[](?P<tex>.*?)\\[)\]]</(?P=tag)>', re.DOTALL
)
_README = re.compile(r"\[([^\]]*)\]\(\.\./README\.md[^)]*\)")
"""A link to the README, whose place on the site is its first page: the words stay."""

_ROLE = re.compile(r":\w+:<code>~?([^<]*)</code>")


def formula(tex: str, *, display: bool) -> str:
    """Return a formula as MathML; a command that is not known makes the build fail."""
    made = convert(" ".join(tex.split()), display="block" if display else "inline")
    if "\\" in made:
        logger.warning("latex2mathml does not know all of this formula: %s", tex)
    return made


def on_files(files: Any, *, config: Any) -> Any:
    """Add the changelog and the notebooks, which stand outside docs/."""
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").replace("](docs/", "](")
    files.append(File.generated(config, "changelog.md", content=text))
    for notebook in sorted((ROOT / "notebooks").glob("*.ipynb")):
        place = f"notebooks/{notebook.name}"
        files.append(File.generated(config, place, abs_src_path=str(notebook)))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Point links out of docs/ to where the site has these files."""
    markdown = markdown.replace("](../notebooks/", "](notebooks/")
    markdown = markdown.replace("](../CHANGELOG.md", "](changelog.md")
    return _README.sub(r"\1", markdown)


def on_page_content(content: str, **_: Any) -> str:
    """Put MathML in the place of TeX, and plain code in the place of Sphinx's roles."""
    content = _ROLE.sub(r"<code>\1</code>", content)
    return _FORMULA.sub(_mathml, content)


def _mathml(found: re.Match[str]) -> str:
    return formula(html.unescape(found["tex"]), display=found["tag"] == "div")
