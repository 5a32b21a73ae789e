"""The verbs of the command line."""

import inspect
from collections.abc import Callable
from typing import Annotated

from typer import Exit, Option, Typer, echo

from sscha_mlp import __version__
from sscha_mlp.cli.compare import compare
from sscha_mlp.cli.conductivity import conductivity
from sscha_mlp.cli.convert import convert
from sscha_mlp.cli.efs import efs
from sscha_mlp.cli.ensemble import ensemble
from sscha_mlp.cli.export import export
from sscha_mlp.cli.fit import fit
from sscha_mlp.cli.grade import grade
from sscha_mlp.cli.hessian import hessian
from sscha_mlp.cli.label import label
from sscha_mlp.cli.labels import labels
from sscha_mlp.cli.phases import phases
from sscha_mlp.cli.phonons import phonons
from sscha_mlp.cli.reference import reference
from sscha_mlp.cli.relax import relax
from sscha_mlp.cli.report import report
from sscha_mlp.cli.select_add import select_add
from sscha_mlp.cli.status import status
from sscha_mlp.cli.supercell import supercell
from sscha_mlp.cli.sweep import sweep
from sscha_mlp.cli.validate import validate

app = Typer(
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _add(verb: Callable[..., None], panel: str) -> None:
    """Add a verb with its docstring as help, the lines of a paragraph joined."""
    paragraphs = (inspect.getdoc(verb) or "").split("\n\n")
    text = "\n\n".join(" ".join(one.split()) for one in paragraphs)
    name = verb.__name__.replace("_", "-")
    app.command(name, help=text, rich_help_panel=panel)(verb)


_VERBS: dict[str, tuple[Callable[..., None], ...]] = {
    "A whole run": (relax, status, report),
    "From a run to a study": (
        phonons,
        compare,
        hessian,
        conductivity,
        supercell,
        sweep,
        phases,
    ),
    "Its stages, one by one, on files": (ensemble, label, labels, fit, validate),
    "Files and MTP, as in MLIP": (convert, efs, grade, select_add, export),
}
for _panel, _verbs in _VERBS.items():
    for _verb in _verbs:
        _add(_verb, _panel)
app.add_typer(reference, rich_help_panel="Its stages, one by one, on files")


def _show_version(asked: bool) -> None:
    if asked:
        echo(f"sscha-mlp {__version__}")
        raise Exit


@app.callback()
def describe(
    version: Annotated[
        bool,
        Option("--version", help="Show the version.", callback=_show_version, is_eager=True),
    ] = False,
) -> None:
    """Phonons of real crystals at temperature: SSCHA on machine-learned potentials, certified.

    Start with sscha-mlp relax --T 2000: the bundled silicon with its Tersoff potential.
    """
