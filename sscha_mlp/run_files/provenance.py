"""What a result says of its making: seconds of each stage, versions of packages."""

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Final

from sscha_mlp import __version__
from sscha_mlp.run_files.journal import Journal
from sscha_mlp.run_files.records.labels import BatchRecord
from sscha_mlp.run_files.records.population import PopulationRecord

_PACKAGES: Final = (
    "python-sscha",
    "cellconstructor",
    "quippy-ase",
    "ase",
    "spglib",
    "numpy",
    "scipy",
    "matplotlib",
)


def timings(journal: Journal) -> dict[str, float]:
    """Wall seconds of each kind of work, over all sittings of the run."""
    populations = journal.all(PopulationRecord)
    labels = journal.all(BatchRecord)
    parts = {
        "start": journal.seconds("start"),
        "label": float(sum(one.seconds for one in labels)),
        "fit": journal.seconds("fit/") + journal.seconds("choice/"),
        "validate": journal.seconds("validation/"),
        "evaluate": float(sum(one.seconds_evaluate for one in populations)),
        "minimise": float(sum(one.seconds_minimise for one in populations)),
        "certificate": journal.seconds("certificate/"),
    }
    return {key: round(value, 3) for key, value in {**parts, "total": sum(parts.values())}.items()}


def versions() -> dict[str, str]:
    """Return the versions of this package, of Python and of what its numbers come from."""
    found = {"sscha-mlp": __version__, "python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found
