"""The answer of a finished run, and a sweep, as tables."""

from collections.abc import Mapping
from typing import Any

from sscha_mlp.quantities import reduced_formula
from sscha_mlp.run_files.answer import answer_rows
from sscha_mlp.run_files.records.result import Result
from sscha_mlp.tables import ShownContent, Table


class RunResult(ShownContent):
    """The content of ``result.json``."""

    def table(self) -> Table:
        """Return the answer: what the model says, what it becomes, and what it took."""
        return result_table(self)


def result_table(result: Mapping[str, Any]) -> Table:
    """Return the answer of a run: what the model says, what it becomes, and what it took.

    Parameters
    ----------
    result
        What :func:`sscha_mlp.run` returns, or the content of ``result.json``.
    """
    found = Result.of(result)
    answer = [(one.name, one.model, one.result) for one in answer_rows(found)]
    rows = [(f"{name[0].lower()}{name[1:]}", *texts) for name, *texts in answer]
    labels = ("labels", "", f"{found.labels.total} ({found.labels.uses})")
    word = "certified" if found.converged else "NOT certified"
    title = f"{reduced_formula(found.formula or '')} at {found.temperature_K:g} K: {word}"
    columns = ("", "model", "result")
    return Table(title, (*rows, labels), columns, _sentence(found.stop_reason))


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}." if text else ""
