"""Units and signs of labels, judged by the labels themselves.

Energies, forces and stresses that come from outside may be in other units.  Within one crystal
the differences of energies follow from forces and stresses (:mod:`sscha_mlp.reference.guard`);
the ratio of the two sides is 1 when the units belong together, and another well-known number when
not.  Between configurations that are far apart the trapezoidal rule is off where the crystal is
anharmonic; a polynomial in its bonds takes most of that away
(:mod:`sscha_mlp.reference.bond_expansion`), and the part of the forces that it misses says how far
from 1 the ratio may be.  A stress is also judged by that of a model, where there is one, and by its
size: in crystals with displaced atoms the components of the stress vary by about
0.1 f d sqrt(N) / V, with f the rms force of an atom and d the cube root of the volume per atom.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from sscha_mlp import units
from sscha_mlp.data.labels import Label
from sscha_mlp.errors import InputError
from sscha_mlp.reference.bond_expansion import explain
from sscha_mlp.reference.guard import WorkPairs, consistency, group_crystals, trapezoidal_work

FloatArray = NDArray[np.float64]

SLOPES: Final = (0.75, 1.35)
"""Ratios of energies to the work of a stress between these are 1."""

WIDEST: Final = (0.45, 1.25)
"""Ratios of energy to the work of the trapezoidal rule alone, from a quartic crystal to noise."""

EXACT: Final = 0.03
"""Deviation of the ratio from 1 that stays where the forces are explained."""

_BELOW: Final = 4.0
"""How far the ratio may fall below 1, in parts of the mean square force that is not explained:
up to 3 for hot silicon, copper and gold."""

_SCATTER: Final = 2.0
"""... and in median deviations of the ratio between pairs."""

STRESS_SCALE: Final = (0.02, 0.6)
"""Variation of the stress in units of f d sqrt(N) / V; 0.07 to 0.16 for silicon, SiC, Cu and Ar."""

JUMP: Final = 0.5
"""Largest shift of the energies against labels known before, in typical works of displacement."""

_WIDEST_DOUBT: Final = 0.6
"""Of the ratio of energies to the work of a stress; no unit and no sign is that near to 1."""

_MIN_PAIRS: Final = 3
_SMALLEST_WORK: Final = 1.0e-5
_N_NOISE: Final = 5.0
_THIRD_ORDER: Final = 0.2
_SAME_CELL: Final = 1.0e-4
_ALL_DIGITS: Final = 8
"""Decimals of an energy in eV from which on rounding is below every difference that is used."""

_HARTREE: Final = 2.0 * units.RYDBERG
_CLOSE: Final = 0.18
"""Width in the logarithm within which a ratio is recognised."""


@dataclass
class UnitCheck:
    """What could be checked, in words.

    Parameters
    ----------
    checked
        What was found to be consistent, with the numbers.
    unchecked
        What could not be checked, and why.
    """

    checked: list[str] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)


def check_units(
    configurations: Sequence[Atoms],
    labels: Sequence[Label],
    *,
    known: Sequence[tuple[Atoms, Label]] = (),
    expected_stress: FloatArray | None = None,
) -> UnitCheck:
    """Check units and signs of labels against each other and against what is known.

    Parameters
    ----------
    configurations, labels
        What came from outside.
    known
        Labels of the same reference that are believed.
    expected_stress
        Stresses of these configurations from a model, shape (n, 3, 3), eV/Å³.

    Raises
    ------
    InputError
        If they are inconsistent; the message says with what, and which unit would explain it.
    """
    result = UnitCheck()
    for label in labels:
        if not label.stress.any() and label.forces.any():
            raise InputError(
                "A stress is exactly zero in all components, although there are forces; compute "
                "the stress."
            )
    if known:
        _check_jump(configurations, labels, known, result)
    groups = [[configurations[i] for i in g] for g in group_crystals(configurations)]
    places = group_crystals(configurations)
    biggest = max(range(len(groups)), key=lambda k: len(groups[k]), default=None)
    if biggest is None:
        result.unchecked.append("units, because the configurations are not crystals")
        return result
    frames = groups[biggest]
    mine = [labels[i] for i in places[biggest]]
    _check_slope(frames, mine, known, result)
    _check_strain(frames, mine, known, result)
    if expected_stress is not None:
        _check_expected(labels, expected_stress, result)
    _check_size(frames, mine, result)
    return result


def _check_slope(
    frames: Sequence[Atoms],
    labels: Sequence[Label],
    known: Sequence[tuple[Atoms, Label]],
    result: UnitCheck,
) -> None:
    """Compare differences of energies with the work of the forces.

    Labels that are known say where the atoms are at rest: those of the start of a run are near it.
    """
    if len(frames) < 2:
        result.unchecked.append("units of energies and forces, because there is one label only")
        return
    pairs = _with_known(frames, labels, known)
    work, missed = explained_work(frames, pairs)
    energies = pairs.energies[: len(frames), : len(frames)]
    # The stress explains part of it where the cells differ; in wrong units it would hide all.
    same = _strain_norms(frames) < 1.0e-6
    values = _ratios(energies, work, same)
    if values is None:
        result.unchecked.append(
            "units of energies and forces, because no two labels of one cell differ enough"
        )
        return
    slope = float(np.median(values))
    doubt = max(_BELOW * missed, _SCATTER * float(np.median(np.abs(values - slope))))
    doubt += _last_digits(labels) / _typical(work, same)
    lowest, highest = max(WIDEST[0], 1.0 - EXACT - doubt), min(WIDEST[1], 1.0 + EXACT + doubt)
    others = [
        words
        for words, ratio in _energy_ratios(len(frames[0])).items()
        if lowest < slope / ratio < highest
    ]
    if not lowest < slope < highest:
        raise InputError(
            "Energies and forces are inconsistent: differences of the energies are "
            f"{slope:.4g} times the work of the forces, and should be 1 times. "
            f"{_one_of(others) or _explain(slope, _energy_ratios(len(frames[0])))} Nothing was "
            "imported; convert the outputs to eV and eV/Å, for the whole cell, and import them "
            "again."
        )
    result.checked.append(
        f"energies and forces belong together (ratio of energy to work {slope:.3f})"
    )
    if others:
        result.unchecked.append(
            f"whether {' or '.join(others)}: the crystal is too anharmonic to tell by these labels"
        )


def _with_known(
    frames: Sequence[Atoms], labels: Sequence[Label], known: Sequence[tuple[Atoms, Label]]
) -> WorkPairs:
    """Return the pairs of these labels, which come first, and of those known of the crystal."""
    everything = [*zip(frames, labels, strict=True), *known]
    group = next(g for g in group_crystals([atoms for atoms, _ in everything]) if 0 in g)
    return WorkPairs.of([everything[i][0] for i in group], [everything[i][1] for i in group])


def explained_work(frames: Sequence[Atoms], pairs: WorkPairs) -> tuple[FloatArray, float]:
    """Return the work of the forces between each two configurations, and what is not explained.

    Parameters
    ----------
    frames
        Configurations of one crystal.
    pairs
        Of their labels, the first of them where there are more.

    Returns
    -------
    Work from j to i with the sign of the energy, shape (n, n), eV; and the part of the mean square
    force for which it is the trapezoidal rule.
    """
    n = len(frames)
    shape = (n, len(frames[0]), 3)
    moved, forces = pairs.displacements[:n], pairs.forces[:n]
    rest = frames[0].copy()
    rest.set_cell(np.mean([atoms.cell.array for atoms in frames], axis=0), scale_atoms=True)
    rest.positions -= moved[0].reshape(shape[1:])
    found = explain(rest, moved.reshape(shape), forces.reshape(shape))
    # Where nothing is explained this is the trapezoidal rule of the forces.
    by_rule = trapezoidal_work(found.forces.reshape(n, -1), moved)
    by_bonds = found.energies[:, None] - found.energies[None, :]
    return pairs.force_work[:n, :n] - by_rule + by_bonds, found.missed


def _check_strain(
    frames: Sequence[Atoms],
    labels: Sequence[Label],
    known: Sequence[tuple[Atoms, Label]],
    result: UnitCheck,
) -> None:
    """Compare differences of energies between cells with the work of the stress."""
    everything = [*frames, *(atoms for atoms, _ in known)]
    group = next(g for g in group_crystals(everything) if 0 in g)
    pairs = _with_known(frames, labels, known)
    work, _ = explained_work([everything[i] for i in group], pairs)
    left = pairs.energies - work
    strained = _strain_norms([everything[i] for i in group]) > _SAME_CELL
    mine = np.array([i < len(frames) for i in group])
    # Only what third order in the displacements cannot explain says something about the stress.
    noise = max(
        _N_NOISE * float(np.percentile(np.abs(left[~strained]), 90)),
        _THIRD_ORDER * float(np.median(np.abs(pairs.force_work))),
    )
    asked = strained & mine[:, None] & (np.abs(left) > noise)
    ratios = _ratios(left, pairs.stress_work, asked)
    slope = 0.0 if ratios is None else float(np.median(ratios))
    if ratios is None or np.median(np.abs(ratios - slope)) > 0.3 * abs(slope):
        result.unchecked.append("sign of the stress by energies, because the cells are too alike")
        return
    # Where one cell differs, all pairs share what third order leaves of it: there is no scatter.
    doubt = min(_WIDEST_DOUBT, noise / _typical(pairs.stress_work, asked))
    if SLOPES[0] - doubt < slope < SLOPES[1] + doubt:
        result.checked.append(f"stress and energies belong together (ratio {slope:.3f})")
        return
    raise _stress_error(slope, frames[0], "the energies of strained cells")


def _check_expected(labels: Sequence[Label], expected: FloatArray, result: UnitCheck) -> None:
    """Compare with the stresses of a model."""
    given = np.array([label.stress for label in labels]).reshape(len(labels), 9)
    wanted = np.asarray(expected).reshape(len(labels), 9)
    if len(labels) < 2 * _MIN_PAIRS:
        result.unchecked.append("stress by the model, because there are few labels")
        return
    given, wanted = given - given.mean(axis=0), wanted - wanted.mean(axis=0)
    correlation = float(np.sum(given * wanted)) / float(
        np.linalg.norm(given) * np.linalg.norm(wanted) + 1.0e-30
    )
    slope = float(np.linalg.norm(wanted) / (np.linalg.norm(given) + 1.0e-30)) * np.sign(correlation)
    if abs(correlation) < 0.7:
        result.unchecked.append(
            f"stress by the model, because the two hardly agree (correlation {correlation:.2f})"
        )
    elif 0.5 < slope < 2.0:
        result.checked.append(f"stress and model belong together (ratio {slope:.3f})")
    else:
        raise _stress_error(slope, None, "the stresses of the model")


def _check_size(frames: Sequence[Atoms], labels: Sequence[Label], result: UnitCheck) -> None:
    """Compare the variation of the stress with the size of the forces."""
    n = len(frames[0])
    pairs = WorkPairs.of(frames, labels)
    moved = np.linalg.norm(pairs.displacements.reshape(len(frames), n, 3), axis=2)
    everywhere = float(np.median(moved)) > 0.5 * float(np.sqrt(np.mean(moved**2)))
    strained = float(_strain_norms(frames).max()) > _SAME_CELL
    if len(frames) < 2 * _MIN_PAIRS or not everywhere or strained:
        result.unchecked.append(
            "size of the stress, because it needs six labels of one cell with all atoms displaced"
        )
        return
    volume = float(frames[0].get_volume())
    force = float(np.sqrt(np.mean([np.mean(np.sum(one.forces**2, axis=1)) for one in labels])))
    spread = float(np.sqrt(np.mean(np.var([one.stress for one in labels], axis=0))))
    scale = spread * volume / (np.sqrt(n) * force * np.cbrt(volume / n) + 1.0e-30)
    if STRESS_SCALE[0] < scale < STRESS_SCALE[1]:
        result.checked.append("the stress has the size that the forces let expect")
        return
    raise _stress_error(0.11 / scale, frames[0], "the size of the forces")


def _check_jump(
    configurations: Sequence[Atoms],
    labels: Sequence[Label],
    known: Sequence[tuple[Atoms, Label]],
    result: UnitCheck,
) -> None:
    """Refuse energies that are shifted as a whole against those known before."""
    frames = list(configurations) + [atoms for atoms, _ in known]
    values = list(labels) + [label for _, label in known]
    for group in group_crystals(frames):
        mine = [k for k, i in enumerate(group) if i < len(configurations)]
        others = [k for k, i in enumerate(group) if i >= len(configurations)]
        if not mine or not others:
            continue
        found = consistency([frames[i] for i in group], [values[i] for i in group])
        pairs = WorkPairs.of([frames[i] for i in group], [values[i] for i in group])
        rest = pairs.energies - explained_work([frames[i] for i in group], pairs)[0]
        shift = float(np.median(rest[np.ix_(mine, others)]))
        natural = float(np.median(np.abs(rest[np.ix_(others, others)])))
        n = len(frames[group[0]])
        work = max(float(np.median(found.work[part])) for part in (mine, others))
        limit = JUMP * work + 5.0 * natural + 0.02 * n
        if abs(shift) > limit:
            raise InputError(
                f"The energies are {shift:+.4g} eV ({shift / n:+.4g} eV/atom) away from what the "
                "labels in the store let expect. Is it the whole cell, in eV, with the same "
                "pseudopotentials, cutoffs and code? Nothing was imported."
            )
        result.checked.append(
            f"energies agree with the labels known before (shift {shift / n:+.2g} eV/atom)"
        )


def _ratios(values: FloatArray, work: FloatArray, chosen: NDArray[np.bool_]) -> FloatArray | None:
    """Return ratios of pairs with much work; None if there are too few."""
    upper = np.triu(chosen, 1)
    size = np.abs(work[upper])
    if size.size < _MIN_PAIRS or size.max() < _SMALLEST_WORK:
        return None
    large = _is_large(size)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = values[upper][large] / work[upper][large]
    ratios = ratios[np.isfinite(ratios)]
    return ratios if len(ratios) >= _MIN_PAIRS else None


def _is_large(size: FloatArray) -> NDArray[np.bool_]:
    """Return which works are among the larger ones."""
    return np.asarray(size >= max(float(np.median(size)), 0.3 * float(np.percentile(size, 90))))


def _typical(work: FloatArray, chosen: NDArray[np.bool_]) -> float:
    """Return the median work of the pairs whose ratios are looked at, eV."""
    size = np.abs(work[np.triu(chosen, 1)])
    return float(np.median(size[_is_large(size)]))


def _last_digits(labels: Sequence[Label]) -> float:
    """Return by how much energies may be off because of the digits they were written with, eV.

    What was converted from another unit has all digits, and tells nothing.
    """
    last = min(int(Decimal(repr(float(one.energy))).as_tuple().exponent) for one in labels)
    return 0.0 if last <= -_ALL_DIGITS else float(10.0**last)


def _strain_norms(frames: Sequence[Atoms]) -> FloatArray:
    """Return the largest component of the strain between each two cells, shape (n, n)."""
    cells = np.array([atoms.cell.array for atoms in frames])
    strains = np.linalg.solve(cells[0], cells)
    return np.asarray(np.abs(strains[:, None] - strains[None, :]).max(axis=(2, 3)))


def _energy_ratios(n_atoms: int) -> dict[str, float]:
    force = units.RYDBERG / units.BOHR
    return {
        "the forces have the wrong sign": -1.0,
        "the energies look like Ry": 1.0 / units.RYDBERG,
        "the energies look like Hartree": 1.0 / _HARTREE,
        f"the energies look like energies per atom (of {n_atoms})": 1.0 / n_atoms,
        "the forces look like Ry/bohr": force,
        "the forces look like Hartree/bohr": 2.0 * force,
        "energies and forces look like Ry and Ry/bohr, or Hartree and Hartree/bohr": 1.0
        / units.BOHR,
        "the forces look like Ry/Å": units.RYDBERG,
        "the energies look like Hartree and the forces like Ry/bohr": force / _HARTREE,
        "the energies look like Ry and the forces like Hartree/bohr": 2.0 * force / units.RYDBERG,
        "the energies look like kJ/mol": 96.485,
        "the energies look like kcal/mol": 23.061,
    }


def explain_energies(ratio: float, n_atoms: int) -> str:
    """Say which units of energies and forces have this ratio, in a sentence.

    Parameters
    ----------
    ratio
        Of differences of energies to the work of forces.
    n_atoms
        Of the configurations.
    """
    known = _energy_ratios(n_atoms)
    return _explain(ratio, known, 0.01) if _is_known(ratio, known) else _explain(ratio, known)


def explain_stress(ratio: float, volume: float | None = None, *, rough: bool = False) -> str:
    """Say which units of the stress have this ratio, in a sentence.

    Parameters
    ----------
    ratio
        Of differences of energies to the work of the stress.
    volume
        Of the cell, Å³, where a virial is to be recognised.
    rough
        Whether the ratio is known to a factor, and without sign.
    """
    ratios = {
        "the sign is that of a pressure (ASE's stress is positive under tension)": -1.0,
        "it looks like GPa": units.GPA,
        "it looks like GPa with the sign of a pressure": -units.GPA,
        "it looks like kbar": 0.1 * units.GPA,
        "it looks like kbar with the sign of a pressure": -0.1 * units.GPA,
        "it looks like Ry/bohr³": units.RYDBERG / units.BOHR**3,
        "it looks like Ry/bohr³ with the sign of a pressure": -units.RYDBERG / units.BOHR**3,
        "it looks like Hartree/bohr³": _HARTREE / units.BOHR**3,
    }
    if volume is not None:
        ratios["it looks like a virial (eV, minus stress times volume)"] = -1.0 / volume
    return _explain(ratio, ratios, 1.0 if rough else _CLOSE, signed=not rough)


def _stress_error(slope: float, atoms: Atoms | None, judge: str) -> InputError:
    volume = None if atoms is None else float(atoms.get_volume())
    words = explain_stress(slope, volume, rough=judge == "the size of the forces")
    return InputError(
        f"The stress is inconsistent with {judge}: the two belong together with a factor of "
        f"{slope:.4g} and not 1. {words} Nothing was "
        "imported; convert the stress to eV/Å³, positive under tension, and import it again."
    )


def _is_known(ratio: float, known: dict[str, float]) -> bool:
    """Whether one of the ratios is this one within a hundredth."""
    return any(abs(ratio / one - 1.0) < 0.01 for one in known.values())


def _one_of(words: Sequence[str]) -> str:
    """Return explanations as a sentence; nothing without any."""
    text = " or ".join(words)
    return f"{text[0].upper()}{text[1:]}." if text else ""


def _explain(
    slope: float, ratios: dict[str, float], width: float = _CLOSE, *, signed: bool = True
) -> str:
    """Say which units have this ratio."""
    near = [
        words
        for words, ratio in ratios.items()
        if (not signed or slope * ratio > 0.0) and abs(np.log(abs(slope / ratio))) < width
    ]
    return _one_of(near) or "No usual unit explains that."
