"""How far an answer is from the truth, in units of the combined standard error."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from sscha_mlp.crystal.free_parameters import free_parameters
from sscha_mlp.crystal.structure import Crystal
from sscha_mlp.crystal.supercell import Supercell
from sscha_mlp.crystal.symmetry import find_space_group

KINDS: Final = ("F", "V", "lattice", "coordinates", "frequencies")

_TRANSLATION: Final = 1.0e-3


@dataclass(frozen=True)
class Scores:
    """Deviations of one run.

    Parameters
    ----------
    title
        The crystal.
    certified, labels, reason
        What the run says of itself.
    z
        Deviations by kind, each distinct number once.
    """

    title: str
    certified: bool
    labels: int
    reason: str
    z: dict[str, NDArray[np.float64]]

    def line(self) -> str:
        """Return the row of the table: of several numbers the rms, and the worst."""
        cells = []
        for kind in KINDS:
            z = self.z[kind]
            if len(z) == 0:
                cells.append("—")
            elif len(z) == 1:
                cells.append(f"{z[0]:+.1f}")
            else:
                cells.append(f"{coverage(z)[1]:.2f} ({coverage(z)[2]:.1f})")
        text = f"{self.title:<28}{'yes' if self.certified else 'NO':>10}{self.labels:>8}"
        tail = "" if self.certified else f"  {self.reason}"
        return text + "".join(f"{cell:>14}" for cell in cells) + tail


def coverage(z: NDArray[np.float64]) -> tuple[float, float, float]:
    """Part within two errors, root mean square, and largest modulus."""
    return float(np.mean(np.abs(z) <= 2)), float(np.sqrt(np.mean(z**2))), float(np.abs(z).max())


def scores_of(title: str, result: dict[str, Any], truth: dict[str, Any]) -> Scores:
    """Compare the content of a result.json with a truth."""
    energy, known = result["free_energy_eV_per_atom"], truth["free_energy_eV_per_atom"]
    volume, volume_known = result["volume_A3_per_atom"], truth["volume_A3_per_atom"]
    lattice, coordinates = _of_parameters(result, truth)
    return Scores(
        title,
        bool(result["converged"]),
        int(result["labels"]["total"]),
        result["stop_reason"],
        {
            "F": _z(energy["corrected"], energy["stderr"], known["value"], known["stderr"]),
            "V": _z(
                volume["value"], volume["stderr"], volume_known["value"], volume_known["stderr"]
            ),
            "lattice": lattice,
            "coordinates": coordinates,
            "frequencies": _of_frequencies(result, truth),
        },
    )


def _z(value: Any, stderr: Any, known: Any, known_stderr: Any) -> NDArray[np.float64]:
    """Deviations in units of the combined error."""
    difference = np.atleast_1d(np.asarray(value, dtype=float) - np.asarray(known, dtype=float))
    error = np.hypot(np.asarray(stderr, dtype=float), np.asarray(known_stderr, dtype=float))
    return np.asarray(difference / np.atleast_1d(error))


def _of_parameters(
    result: dict[str, Any], truth: dict[str, Any]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Deviations of lattice parameters and coordinates."""
    repeats = [
        _parameters(truth, cell, scaled)
        for cell, scaled in zip(truth["cells_A"], truth["scaled_positions"], strict=True)
    ]
    found: dict[str, list[float]] = {"lattice": [], "coordinates": []}
    for kind, values in found.items():
        for name, one in result[kind].items():
            if one["stderr"] is None or name not in repeats[0]:
                continue
            known = np.array([repeat[name] for repeat in repeats])
            if kind == "coordinates":  # fractions of the cell
                known = one["value"] + (known - one["value"] + 0.5) % 1.0 - 0.5
            error = known.std(ddof=1) / np.sqrt(len(known))
            values.append(float(_z(one["value"], one["stderr"], known.mean(), error)[0]))
    return np.array(found["lattice"]), np.array(found["coordinates"])


def _parameters(truth: dict[str, Any], cell: Any, scaled: Any) -> dict[str, float]:
    """Free parameters of the cell of one repeat, by name."""
    import ase

    atoms = ase.Atoms(truth["symbols"], cell=cell, scaled_positions=scaled, pbc=True)
    crystal = Crystal.from_ase(atoms)
    group = find_space_group(Supercell(crystal, (1, 1, 1)))
    return {one.name: one.value for one in free_parameters(crystal, group)}


def _of_frequencies(result: dict[str, Any], truth: dict[str, Any]) -> NDArray[np.float64]:
    """Deviations of the distinct frequencies of each irreducible wave vector."""
    values = []
    for ours, known in zip(result["frequencies_THz"], truth["frequencies_THz"], strict=True):
        model = np.asarray(ours["model"])
        distinct = np.abs(np.diff(model, prepend=-np.inf)) > _TRANSLATION  # one of each level
        kept = distinct & (np.abs(model) > _TRANSLATION)
        pairs = (ours["corrected"], ours["stderr"], known["value"], known["stderr"])
        values += _z(*(np.asarray(one)[kept] for one in pairs)).tolist()
    return np.array(values)
