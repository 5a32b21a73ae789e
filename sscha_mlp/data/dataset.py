"""The data set: what a model is fitted on, tested on and checked on never overlaps."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Self

from sscha_mlp.data.extxyz import read_extxyz, write_extxyz
from sscha_mlp.data.labels import LabelledConfiguration
from sscha_mlp.errors import InputError
from sscha_mlp.tables import Shown, Table, span

SETS: Final = ("train", "test", "check")
"""Names of the three sets, and of their files."""


@dataclass(frozen=True, eq=False)
class Dataset(Shown):
    """Labelled configurations in three sets without a common member.

    Parameters
    ----------
    train
        Configurations that models are fitted on.
    test
        Configurations that no model is ever fitted on.
    check
        Configurations of the certificate; no model so far was fitted on them.

    Raises
    ------
    InputError
        If a configuration appears twice, in one set or in two.
    """

    train: tuple[LabelledConfiguration, ...] = ()
    test: tuple[LabelledConfiguration, ...] = ()
    check: tuple[LabelledConfiguration, ...] = ()

    def __post_init__(self) -> None:
        seen: dict[str, str] = {}
        for name in SETS:
            object.__setattr__(self, name, tuple(getattr(self, name)))
            for index, configuration in enumerate(getattr(self, name)):
                here = f"{name}[{index}]"
                if configuration.key in seen:
                    raise InputError(
                        f"The configurations {seen[configuration.key]} and {here} are the same; "
                        "each may appear once, in one of train, test and check."
                    )
                seen[configuration.key] = here

    def with_train(self, configurations: Iterable[LabelledConfiguration]) -> Self:
        """Return a data set with more configurations to fit on."""
        return replace(self, train=(*self.train, *configurations))

    def with_test(self, configurations: Iterable[LabelledConfiguration]) -> Self:
        """Return a data set with more configurations to test on."""
        return replace(self, test=(*self.test, *configurations))

    def with_check(self, configurations: Iterable[LabelledConfiguration]) -> Self:
        """Return a data set with more configurations to check on."""
        return replace(self, check=(*self.check, *configurations))

    def promote_check(self) -> Self:
        """Return a data set whose check configurations have joined those to fit on."""
        return replace(self, train=(*self.train, *self.check), check=())

    @property
    def counts(self) -> dict[str, int]:
        """Number of configurations in each set, and in total."""
        counts = {name: len(getattr(self, name)) for name in SETS}
        return counts | {"total": sum(counts.values())}

    def table(self) -> Table:
        """Return what each set holds."""
        rows = [_set_row(name, getattr(self, name)) for name in SETS]
        columns = ("Set", "Labels", "Chosen", "T (K)", "Rms displacement (Å)", "Origin")
        return Table("Data set", tuple(rows), columns)

    def write(self, directory: str | Path) -> None:
        """Write ``train.xyz``, ``test.xyz`` and ``check.xyz``, each atomically.

        Sets that shrink are written first: when a configuration moves from one set to another,
        an interruption may lose it from these files (the label store has it), but never leaves
        it in two of them.
        """
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        before = {name: _n_frames(directory / f"{name}.xyz") for name in SETS}
        for name in sorted(SETS, key=lambda name: len(getattr(self, name)) - before[name]):
            write_extxyz(directory / f"{name}.xyz", getattr(self, name))

    @classmethod
    def read(cls, directory: str | Path) -> Self:
        """Read what :meth:`write` wrote; a missing file is an empty set.

        Raises
        ------
        InputError
            If there is none of the files, one cannot be read, or two overlap.
        """
        paths = {name: Path(directory) / f"{name}.xyz" for name in SETS}
        if not any(path.is_file() for path in paths.values()):
            raise InputError(f"There is no data set in {directory}: expected train.xyz.")
        return cls(**{name: read_extxyz(path) for name, path in paths.items() if path.is_file()})


def _set_row(name: str, configurations: tuple[LabelledConfiguration, ...]) -> tuple[str, ...]:
    """One line of the table of a data set."""
    temperatures = [one.temperature for one in configurations if one.temperature is not None]
    amplitudes = [one.displacement_rms for one in configurations if one.displacement_rms]
    return (
        name,
        str(len(configurations)),
        str(sum(one.chosen for one in configurations)),
        span(temperatures, 0),
        span(amplitudes, 3),
        ", ".join(dict.fromkeys(one.origin for one in configurations)) or "–",
    )


def _n_frames(path: Path) -> int:
    """Return the number of frames of a file that this package wrote; 0 if there is none."""
    if not path.is_file():
        return 0
    with path.open(errors="replace") as stream:
        return sum(1 for line in stream if "Properties=" in line)
