"""The verb ``select-add``: which configurations are worth a label."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

from typer import Argument, Option

from sscha_mlp.cli import options
from sscha_mlp.cli.models import ModelArgument, SpeciesOption

if TYPE_CHECKING:
    from ase import Atoms
    from numpy.typing import NDArray

    from sscha_mlp.data.formats import Written
    from sscha_mlp.potentials.protocol import Potential

_D_OPTIMAL: Final = "d-optimal"
_RANDOM: Final = "random"
_SHOWN: Final = 10


def select_add(
    model: ModelArgument,
    train: Annotated[
        Path,
        Argument(metavar="TRAIN", help="What is labelled already.", show_default=False),
    ],
    candidates: Annotated[
        list[Path],
        Argument(metavar="CANDIDATES...", help="What to choose from.", show_default=False),
    ],
    out: Annotated[Path, Option("--out", help="File for those chosen, the most needed first.")],
    n_max: Annotated[
        int | None,
        Option(
            "--n",
            metavar="MAX",
            help="How many at most. \\[default for d-optimal: all that are needed]",
            show_default=False,
        ),
    ] = None,
    method: Annotated[
        str,
        Option("--method", help="d-optimal (needs an MTP), fps, cur, random or variance."),
    ] = _D_OPTIMAL,
    seed: options.Seed = 0,
    species: SpeciesOption = None,
    workers: options.Workers = 0,
    as_json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Choose the configurations worth a label, and write only those.

    As select_add of MLIP: d-optimal takes what extends the active set of TRAIN, and nothing more.
    The other methods take --n configurations.
    """
    del debug  # read by the command line itself
    from sscha_mlp.cli import models

    models.refuse_to_replace(out, [train, *candidates])
    _check(method, n_max)
    with models.load_model(model, species, n_workers=options.count_workers(workers)) as potential:
        known = models.read_inputs([train], potential, species).frames
        offered = models.read_inputs(candidates, potential, species)
        new = _new(known, offered.frames)
        pool = [offered.frames[index] for index in new]
        choice = _Choice(potential, known, pool)
        chosen = choice.make(method, n_max, seed)
        grades = choice.grades(chosen)
        frames = [
            _marked(pool[index], grade, drawn=method == _RANDOM)
            for index, grade in zip(chosen, grades, strict=True)
        ]
        written = _write(out, frames, potential, species)
    places = [new[index] for index in chosen]
    outcome = _Outcome(
        method=method,
        seed=seed,
        n_candidates=len(offered.frames),
        n_known=len(offered.frames) - len(new),
        n_chosen=len(chosen),
        largest_grade_left=choice.largest_left(chosen),
    )
    content = models.model_json(model, potential) | {
        **asdict(outcome),
        "chosen": [
            offered.place(i) | {"grade": one} for i, one in zip(places, grades, strict=True)
        ],
        **models.written_json(written),
    }
    if as_json:
        models.print_json(content)
    else:
        _print([offered.name(index) for index in places], grades)
        _say(outcome, out, written)


@dataclass(frozen=True)
class _Outcome:
    """What a choice has come to, in numbers."""

    method: str
    seed: int
    n_candidates: int
    n_known: int
    n_chosen: int
    largest_grade_left: float | None


class _Choice:
    """Candidates and what is known, and the rows of both that grades judge, if there are any."""

    def __init__(
        self, potential: "Potential", known: "Sequence[Atoms]", pool: "Sequence[Atoms]"
    ) -> None:
        from sscha_mlp.potentials.selection import HasGradingRows

        self.potential, self.known, self.pool = potential, known, pool
        self.old: NDArray[Any] | None = None
        if not isinstance(potential, HasGradingRows) or not pool:
            return
        self.old, _ = potential.grading_rows(known)
        self.new, self.owners = potential.grading_rows(pool)

    def make(self, method: str, n_max: int | None, seed: int) -> tuple[int, ...]:
        """Return which of the candidates to label, the most needed first."""
        import numpy as np

        from sscha_mlp.errors import InputError
        from sscha_mlp.potentials.active_set import select_add as extend
        from sscha_mlp.potentials.selection import HasGradingRows, select

        n = len(self.pool) if n_max is None else min(n_max, len(self.pool))
        if method != _D_OPTIMAL:
            rng = np.random.default_rng(seed)
            return select(
                self.pool, n, method=method, potential=self.potential, rng=rng, known=self.known
            )
        if not isinstance(self.potential, HasGradingRows):
            raise InputError(
                f"--method d-optimal needs a potential with extrapolation grades, and a "
                f"{self.potential.kind.upper()} has none: choose fps, cur, random or variance."
            )
        return () if self.old is None else extend(self.old, self.new, self.owners, n)

    def grades(self, chosen: Sequence[int]) -> list[float | None]:
        """Return the grades of those chosen, with respect to what is known."""
        from sscha_mlp.potentials.active_set import ActiveSet, configuration_grades

        if self.old is None:
            return [None] * len(chosen)
        each = ActiveSet.of(self.old).grade(self.new)
        grades = configuration_grades(each, self.owners, len(self.pool))
        return [float(grades[index]) for index in chosen]

    def largest_left(self, chosen: Sequence[int]) -> float | None:
        """Return the largest grade of the others once those chosen are known too."""
        import numpy as np

        from sscha_mlp.potentials.active_set import ActiveSet

        if self.old is None or len(chosen) == len(self.pool):
            return None
        taken = np.isin(self.owners, chosen)
        active = ActiveSet.of(self.old).update(self.new[taken])
        return float(active.grade(self.new[~taken]).max())


def _check(method: str, n_max: int | None) -> None:
    from sscha_mlp.errors import InputError
    from sscha_mlp.potentials.selection import SelectionMethod

    if method not in list(SelectionMethod):
        raise InputError(
            f"--method {method!r} is not known; choose one of {', '.join(SelectionMethod)}."
        )
    if n_max is None and method != _D_OPTIMAL:
        raise InputError(f"--method {method} needs to know how many to take: give --n.")
    if n_max is not None and n_max < 1:
        raise InputError(f"--n {n_max} is too small; give at least 1.")


def _new(known: "Sequence[Atoms]", offered: "Sequence[Atoms]") -> list[int]:
    """Return which candidates are not known already, each once."""
    from sscha_mlp.data.labels import configuration_key

    seen = {configuration_key(atoms) for atoms in known}
    new = []
    for index, atoms in enumerate(offered):
        key = configuration_key(atoms)
        if key not in seen:
            new.append(index)
            seen.add(key)
    return new


def _marked(atoms: "Atoms", grade: float | None, *, drawn: bool) -> "Atoms":
    """Return a copy that knows its grade, and that it is no fair draw unless it was drawn."""
    from sscha_mlp.data.attached import as_atoms

    copy = as_atoms(atoms)
    if grade is not None:
        copy.info["MV_grade"] = grade
    if not drawn:
        copy.info["chosen"] = True
    return copy


def _write(
    out: Path, frames: "Sequence[Atoms]", potential: "Potential", species: str | None
) -> "Written | None":
    """Write those chosen; an empty file says that there are none."""
    from sscha_mlp.cli.models import write_outputs
    from sscha_mlp.data.files import make_directory, write_atomic
    from sscha_mlp.data.formats import NUMBER

    if frames:
        return write_outputs(out, frames, potential, species)
    if NUMBER not in out.name:
        make_directory(out.parent)
        write_atomic(out, "")
    return None


def _print(names: Sequence[str], grades: Sequence[float | None]) -> None:
    """Print the first of those chosen."""
    from rich import box
    from rich.table import Table

    from sscha_mlp.cli.summary import output_console, print_trimmed
    from sscha_mlp.digits import significant

    graded = [(n, one) for n, one in zip(names, grades, strict=True) if one is not None]
    if not graded:
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("Chosen", overflow="fold")
    table.add_column("Grade", justify="right", no_wrap=True)
    for name, one in graded[:_SHOWN]:
        table.add_row(name, significant(one))
    if len(graded) > _SHOWN:
        table.add_row(f"and {len(graded) - _SHOWN} more", "")
    print_trimmed(output_console(), table)


def _say(outcome: _Outcome, out: Path, written: "Written | None") -> None:
    from sscha_mlp.cli.models import describe
    from sscha_mlp.cli.screen import note
    from sscha_mlp.digits import significant

    left, n_known = outcome.largest_grade_left, outcome.n_known
    parts = [
        f"{outcome.n_chosen} of {outcome.n_candidates} chosen ({outcome.method})",
        f"{n_known} known already" if n_known else "",
        "" if left is None else f"largest grade left {significant(left)}",
    ]
    place = f"nothing to label, {out} is empty" if written is None else describe(written)
    note(f"{', '.join(part for part in parts if part)}: {place}")
