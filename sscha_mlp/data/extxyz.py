"""Extended XYZ, exact to the last digit.

The comment line holds ``energy`` (eV), ``stress`` (nine numbers, eV/Å³, positive under tension),
``config_type`` (the origin), and, where known, ``temperature`` (K) and ``displacement_rms`` (Å),
and ``chosen`` for what is no fair draw; each atom has its ``forces`` (eV/Å).  These are the keys
that gap_fit is told to read and that ASE reads as results.  ASE's own writer keeps eight decimals;
this one keeps all.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from sscha_mlp.crystal.structure import check_geometry
from sscha_mlp.crystal.structure_files import read_with_isotopes
from sscha_mlp.data.attached import labelled
from sscha_mlp.data.files import write_atomic
from sscha_mlp.data.labels import LabelledConfiguration, was_chosen
from sscha_mlp.errors import StructureError
from sscha_mlp.text_files import check_file

_WRITTEN_ANYWAY: Final = frozenset({"numbers", "positions", "forces"})


def write_extxyz(path: str | Path, configurations: Sequence[LabelledConfiguration | Atoms]) -> None:
    """Write configurations, labelled or not, atomically.

    Further numeric arrays of the atoms, such as initial magnetic moments, are written too.

    Raises
    ------
    SschaMlpError
        If the file cannot be written.
    """
    write_atomic(path, "".join(formatframe_text(configuration) for configuration in configurations))


def formatframe_text(configuration: LabelledConfiguration | Atoms) -> str:
    """Return one configuration as a frame of extended XYZ."""
    if isinstance(configuration, Atoms):
        return frame_text(configuration, _ensemble_info(configuration), None)
    label = configuration.label
    info: dict[str, str] = {
        "energy": repr(label.energy),
        "stress": _numbers(label.stress),
        "config_type": configuration.origin,
    }
    for name in ("temperature", "displacement_rms"):
        value = getattr(configuration, name)
        if value is not None:
            info[name] = repr(float(value))
    if configuration.chosen:
        info["chosen"] = "T"
    return frame_text(configuration.atoms, info, label.forces)


def read_extxyz(path: str | Path) -> tuple[LabelledConfiguration, ...]:
    """Read labelled configurations.

    The energy is ``free_energy`` where it is given, and ``energy`` otherwise: the one to which the
    forces belong.  A ``virial`` (eV), as some codes write it, is ``-stress * volume``.

    Raises
    ------
    StructureError
        If the file cannot be read.
    InputError
        If a configuration lacks its energy, forces or stress, one of them is not finite, or
        stress and virial contradict each other.
    """
    return tuple(
        labelled(atoms, f"Configuration {index} of {path}")
        for index, atoms in enumerate(read_configurations(path))
    )


def read_configurations(path: str | Path) -> tuple[Atoms, ...]:
    """Read configurations, labelled or not; labels stay attached as ASE attaches them.

    Raises
    ------
    StructureError
        If the file does not exist or cannot be read, or a position or the cell is not finite.
    """
    path = Path(path)
    check_file(path)
    if path.stat().st_size == 0:
        return ()
    try:
        frames = read_with_isotopes(path, "extxyz", index=slice(None))
    except Exception as err:  # readers raise anything, from KeyError to ASE's own errors
        reason = " ".join(str(err).split()) or type(err).__name__
        raise StructureError(f"{path} cannot be read as extended XYZ: {reason}") from err
    for index, atoms in enumerate(frames):
        check_geometry(atoms, f"Configuration {index} of {path}")
    return tuple(frames)


def _ensemble_info(atoms: Atoms) -> dict[str, str]:
    """Return what unlabelled configurations know of the ensemble that they come from."""
    names = ("temperature", "displacement_rms")
    known = {name: repr(float(atoms.info[name])) for name in names if name in atoms.info}
    return {**known, "chosen": "T"} if was_chosen(atoms) else known


def frame_text(atoms: Atoms, info: dict[str, str], forces: NDArray[np.float64] | None) -> str:
    """Return a frame of the atoms with the words of `info` and, where known, forces."""
    columns: list[tuple[str, NDArray[Any]]] = [("pos", atoms.positions)]
    if forces is not None:
        columns.append(("forces", forces))
    columns += [
        (name, array)
        for name, array in atoms.arrays.items()
        if name not in _WRITTEN_ANYWAY and array.dtype.kind in "fi" and array.ndim <= 2
    ]
    header = " ".join(f"{key}={value}" for key, value in _header(atoms, columns, info))
    symbols = atoms.get_chemical_symbols()
    rows = (
        " ".join([symbol, *(_row(array[i]) for _, array in columns)])
        for i, symbol in enumerate(symbols)
    )
    return "\n".join([str(len(atoms)), header, *rows]) + "\n"


def _header(
    atoms: Atoms, columns: Iterable[tuple[str, NDArray[Any]]], info: dict[str, str]
) -> Iterable[tuple[str, str]]:
    yield "Lattice", _numbers(atoms.cell.array)
    properties = ["species:S:1"]
    for name, array in columns:
        kind = "R" if array.dtype.kind == "f" else "I"
        properties.append(f"{name}:{kind}:{1 if array.ndim == 1 else array.shape[1]}")
    yield "Properties", ":".join(properties)
    yield from info.items()
    yield "pbc", '"' + " ".join("T" if periodic else "F" for periodic in atoms.pbc) + '"'


def _numbers(array: NDArray[np.float64]) -> str:
    return '"' + _row(array.ravel()) + '"'


def _row(values: Any) -> str:
    return " ".join(repr(value) for value in np.atleast_1d(values).tolist())
