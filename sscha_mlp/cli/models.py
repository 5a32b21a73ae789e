"""What the verbs on potentials share: a model from its directory or file, configurations for it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

if TYPE_CHECKING:
    from ase import Atoms

    from sscha_mlp.data.formats import Written
    from sscha_mlp.potentials.protocol import Potential
    from sscha_mlp.potentials.selection import Graded

ModelArgument = Annotated[
    Path,
    Argument(
        metavar="MODEL",
        help="Directory of a fitted model, or an .mtp or .almtp file.",
        show_default=False,
    ),
]
InputsArgument = Annotated[
    list[Path],
    Argument(
        metavar="IN...",
        help="Files of configurations: cfg (MLIP), extended XYZ, OUTCAR, or as ASE reads them.",
        show_default=False,
    ),
]
SpeciesOption = Annotated[
    str | None,
    Option(
        "--species",
        metavar="Si,Ge",
        help="Elements in the order of the types 0, 1, ...: for files that do not say it. "
        "\\[default: as in the model]",
    ),
]
TrainOption = Annotated[
    list[Path] | None,
    Option(
        "--train",
        metavar="FILE",
        help="Training data, to build the active set from them; may be repeated. "
        "\\[default: the active set of the model]",
        show_default=False,
    ),
]


@dataclass(frozen=True)
class Inputs:
    """Configurations and where each comes from: file and index in it."""

    frames: "tuple[Atoms, ...]"
    places: tuple[tuple[Path, int], ...]

    def name(self, index: int) -> str:
        """Return what a configuration is called in a table."""
        path, place = self.places[index]
        return f"{path}, {place}"

    def place(self, index: int) -> dict[str, Any]:
        """Return file and index for JSON."""
        path, place = self.places[index]
        return {"file": str(path), "index": place}


def load_model(path: Path, species: str | None = None, *, n_workers: int = 1) -> "Potential":
    """Load a model of any kind from its directory, or from a single file.

    Raises
    ------
    ModelError
        If there is no finished model, or the file cannot be used.
    """
    from sscha_mlp.potentials.registry import file_endings, load, open_file

    if path.is_file() or path.suffix in file_endings():
        return open_file(path, elements(species), n_workers=n_workers)
    return load(path, n_workers=n_workers)


def load_graded(
    path: Path,
    species: str | None = None,
    *,
    train: Sequence[Path] | None = None,
    n_workers: int = 1,
) -> "Graded":
    """Load a model with extrapolation grades, which refer to training data where these are given.

    Raises
    ------
    InputError
        If its kind has no grades, or the training data cannot be used.
    """
    from sscha_mlp.errors import InputError
    from sscha_mlp.potentials.names import DEFAULT
    from sscha_mlp.potentials.selection import Graded

    potential = load_model(path, species, n_workers=n_workers)
    if not isinstance(potential, Graded):
        potential.close()
        raise InputError(
            f"{path} is a {potential.kind.upper()}, which has no extrapolation grades: fit one "
            f"that has them with --model {DEFAULT}."
        )
    if not train:
        return potential
    return potential.with_active_set(read_inputs(train, potential, species).frames)


def read_inputs(paths: Sequence[Path], potential: "Potential", species: str | None) -> Inputs:
    """Read configurations of any format; the types are those of the model where no one says more.

    Raises
    ------
    InputError
        If a file cannot be read.
    """
    from sscha_mlp.data.formats import read_any

    order = elements(species) or _types(potential)
    found = [(path, read_any(path, species=order)) for path in paths]
    return Inputs(
        tuple(atoms for _, frames in found for atoms in frames),
        tuple((path, index) for path, frames in found for index in range(len(frames))),
    )


def write_outputs(
    path: Path, frames: "Sequence[Atoms]", potential: "Potential", species: str | None
) -> "Written":
    """Write configurations; the types are those of the inputs, or else those of the model."""
    from sscha_mlp.data.cfg import SPECIES
    from sscha_mlp.data.formats import write_any

    order = elements(species)
    if order is None and not any(SPECIES in atoms.info for atoms in frames):
        order = _types(potential)
    return write_any(path, frames, species=order)


def describe(written: "Written") -> str:
    """Return where configurations are and what the format cannot hold of them."""
    first, last = written.paths[0], written.paths[-1]
    place = str(first) if first == last else f"{first} to {last}"
    lost = f"; left out: {', '.join(written.left_out)}" if written.left_out else ""
    return f"{place}{lost}"


def written_json(written: "Written | None") -> dict[str, Any]:
    """Return the same for JSON."""
    return {
        "out": [] if written is None else [str(path) for path in written.paths],
        "left_out": [] if written is None else list(written.left_out),
    }


def model_json(path: Path, potential: "Potential") -> dict[str, Any]:
    """Return what identifies a model, for JSON."""
    return {"model": str(path), "kind": potential.kind, "sha256": potential.sha256}


def print_json(content: Mapping[str, Any]) -> None:
    """Print a result on standard output."""
    import json

    print(json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False))


def refuse_to_replace(out: Path | None, inputs: Sequence[Path]) -> None:
    """Check that the file to write is none of those to read, which it would take the place of.

    Raises
    ------
    InputError
        If it is one of them.
    """
    from sscha_mlp.errors import InputError

    if out is not None and out.resolve() in {path.resolve() for path in inputs}:
        raise InputError(f"{out} is one of the inputs and would be replaced; give another name.")


def elements(species: str | None) -> list[str] | None:
    """Return the elements of a comma-separated list."""
    return None if species is None else [one.strip() for one in species.split(",")]


def _types(potential: "Potential") -> list[str] | None:
    """Return the elements in the order of the types of an MTP; other kinds have no types."""
    parameters = getattr(potential, "parameters", None)
    return None if parameters is None else list(parameters.elements)
