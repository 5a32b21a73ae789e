"""Where an unstable crystal goes: distorted structures along its softest mode, relaxed in turn.

The Hessian of a finished run says that a structure is unstable.  Each direction of the unstable
level has an isotropy subgroup of its own; the model says, without a label, along which one the
energy falls deepest.  That structure is relaxed at the temperature of the run, and the two free
energies are compared.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import ase.io
import numpy as np

from sscha_mlp import units
from sscha_mlp.campaign.loop import run
from sscha_mlp.crystal.structure import Crystal
from sscha_mlp.crystal.supercell import Supercell
from sscha_mlp.crystal.symmetry import find_space_group
from sscha_mlp.data.files import make_directory, write_atomic, write_json_atomic
from sscha_mlp.data.states import load_state
from sscha_mlp.digits import fixed, with_error
from sscha_mlp.errors import InputError
from sscha_mlp.properties.distortions import Distortion, distortions
from sscha_mlp.run_files.finished_run import FinishedRun
from sscha_mlp.run_files.observer import Observer
from sscha_mlp.run_files.records.result import Result
from sscha_mlp.run_files.settings import RunSettings
from sscha_mlp.scha.cell import Evaluator
from sscha_mlp.studies.opened import opened_run
from sscha_mlp.tables import ShownContent, Table

SCHEMA: Final = "sscha-mlp/follow/1"

_AMPLITUDES: Final = np.linspace(0.0, 0.9, 19)
"""Lengths of the longest displacement at which the energy is looked at, Å."""

_SMALLEST: Final = 0.1
"""Amplitude of a structure whose energy at rest does not fall along the mode, Å."""

_RETURNED: Final = 0.02
"""A structure whose atoms are this near to the higher symmetry, Å, has gone back to it."""


@dataclass(frozen=True)
class Candidate:
    """A distorted structure and what the model says of it, without a label.

    Parameters
    ----------
    distortion
        Pattern and space group.
    amplitude
        Length of the longest displacement where the energy is lowest, Å.
    depth
        Energy there, less that of the undistorted crystal, eV/atom; 0 where it does not fall.
    """

    distortion: Distortion
    amplitude: float
    depth: float

    @property
    def name(self) -> str:
        """Space group as part of a file name."""
        return self.distortion.international.replace("/", "-")


class FollowResult(ShownContent):
    """The content of ``follow.json``."""

    def table(self) -> Table:
        """Return the candidates, and what came of the deepest one."""
        rows = [
            (
                one["space_group"],
                str(one["n_atoms"]),
                fixed(one["amplitude_A"], 2),
                fixed(1.0e3 * one["energy_eV_per_atom"], 2),
                one["structure"],
            )
            for one in self["candidates"]
        ]
        columns = ("space group", "atoms", "amplitude (Å)", "E (meV/atom)", "structure")
        return Table("Distortions of the unstable mode", tuple(rows), columns, self["statement"])


def follow_hessian(
    directory: str | Path,
    *,
    relax: bool = True,
    n_workers: int = 1,
    observer: Observer | None = None,
) -> FollowResult:
    """Write the structures that an unstable crystal can leave for, and relax the deepest one.

    Writes ``follow.json`` and ``follow/SYMBOL.vasp`` into the run directory; the relaxation of the
    deepest structure, with the settings of the run, goes to ``follow/SYMBOL``.

    Parameters
    ----------
    directory
        A finished run whose Hessian has been computed.
    relax
        Whether the deepest structure is relaxed: this takes labels.
    n_workers
        Processes or threads of the model.
    observer
        Who watches.

    Returns
    -------
    The content of ``follow.json``, a mapping.

    Raises
    ------
    InputError
        If there is no Hessian yet, or no mode of it is unstable.
    SschaMlpError
        If the relaxation fails; the same call goes on with it.
    """
    what = "energies along the distortions"
    with opened_run(directory, what, n_workers=n_workers, observer=observer) as opened:
        parent, watcher = opened.run, opened.observer
        candidates = find_candidates(parent, opened.evaluator)
    place = make_directory(parent.place.path / "follow")
    for one in candidates:
        write_atomic(place / f"{one.name}.vasp", _poscar(one))
    chosen = candidates[0]
    watcher.note(
        f"unstable mode: {', '.join(one.distortion.international for one in candidates)}; deepest "
        f"{chosen.distortion.international}, {1e3 * chosen.depth:.2f} meV/atom at rest (model)"
    )
    result = None
    if relax:
        settings = following_settings(parent, chosen, place / f"{chosen.name}.vasp")
        result = Result.of(run(settings, place / chosen.name, observer=observer))
    content = _content(parent, candidates, result)
    write_json_atomic(parent.place.path / "follow.json", content)
    return FollowResult(content)


def find_candidates(parent: FinishedRun, evaluator: Evaluator) -> list[Candidate]:
    """Return the distortions of the softest level of a run's Hessian, the deepest first.

    Raises
    ------
    InputError
        If there is no Hessian yet, or no mode of it is unstable.
    """
    stored = parent.place.state("hessian")
    if not stored.is_file():
        raise InputError(
            f"The run in {parent.place.shown} has no Hessian yet; sscha-mlp hessian computes it."
        )
    hessian = load_state(stored)
    group = find_space_group(hessian.supercell).restricted(parent.settings.symmetry)
    found = distortions(hessian, group)
    if not found:
        raise InputError(
            f"No mode of the Hessian in {stored} is unstable: there is nothing to follow."
        )
    return sorted((_look(one, evaluator) for one in found), key=lambda one: one.depth)


def _look(distortion: Distortion, evaluator: Evaluator) -> Candidate:
    """Follow the energy at rest along a distortion to its first minimum."""
    frames = [distortion.structure(float(one)).to_ase() for one in _AMPLITUDES]
    energies = np.asarray(evaluator.evaluate(frames).energies) / distortion.supercell.n_atoms
    rising = np.flatnonzero(np.diff(energies) > 0.0)
    lowest = int(rising[0]) if len(rising) else int(np.argmin(energies))
    if lowest == 0:
        return Candidate(distortion, _SMALLEST, 0.0)
    return Candidate(distortion, float(_AMPLITUDES[lowest]), float(energies[lowest] - energies[0]))


def following_settings(parent: FinishedRun, chosen: Candidate, structure: Path) -> RunSettings:
    """Return the settings of the run of a distorted structure: those of the parent, in its cell."""
    primitive = chosen.distortion.primitive(chosen.amplitude)
    return replace(
        parent.settings,
        structure=str(structure.absolute()),
        dyn="",
        origin="",
        symmetry="full",
        supercell=_cells(chosen.distortion.supercell, primitive),
    )


def _cells(supercell: Supercell, primitive: Crystal) -> tuple[int, int, int]:
    """Repetitions of a new primitive cell: the old supercell, or as long in each direction."""
    lattice = supercell.crystal.cell
    whole = lattice @ np.linalg.inv(primitive.cell)
    count = np.rint(np.diag(whole)).astype(int)
    if np.abs(whole - np.diag(count)).max() > 1.0e-3:
        length = np.cbrt(supercell.crystal.volume)
        count = np.ceil(length / np.linalg.norm(primitive.cell, axis=1) - 0.05).astype(int)
    n1, n2, n3 = (max(1, int(abs(one))) for one in count)
    return n1, n2, n3


def _poscar(candidate: Candidate) -> str:
    """Primitive cell of a distorted structure as POSCAR."""
    buffer = io.StringIO()
    atoms = candidate.distortion.primitive(candidate.amplitude).to_ase()
    ase.io.write(buffer, atoms[np.argsort(atoms.numbers, kind="stable")], format="vasp")
    return buffer.getvalue()


def _content(
    parent: FinishedRun, candidates: Sequence[Candidate], result: Result | None
) -> dict[str, Any]:
    """What ``follow.json`` holds."""
    first = candidates[0].distortion
    content: dict[str, Any] = {
        "schema": SCHEMA,
        "temperature_K": parent.settings.temperature,
        "space_group": parent.result.space_group or "",
        "unstable_THz": first.frequency_thz,
        "modes": first.dimension,
        "candidates": [
            {
                "space_group": one.distortion.international,
                "number": one.distortion.number,
                "n_atoms": one.distortion.primitive(one.amplitude).n_atoms,
                "amplitude_A": one.amplitude,
                "energy_eV_per_atom": one.depth,
                "structure": f"follow/{one.name}.vasp",
            }
            for one in candidates
        ],
    }
    if result is None:
        content["statement"] = (
            f"Unstable towards {_names(candidates)}; the structures are in follow/, none of them "
            "is relaxed."
        )
        return content
    content |= _comparison(parent, candidates[0], result)
    return content


def _comparison(parent: FinishedRun, chosen: Candidate, result: Result) -> dict[str, Any]:
    """Gibbs energies of the distorted and the undistorted crystal, and what they say."""
    difference = gibbs(result) - gibbs(parent.result)
    stderr = float(np.hypot(result.free_energy.stderr, parent.result.free_energy.stderr))
    path = parent.place.path / "follow" / chosen.name
    symbol, number = _group_of(load_state(path / "states" / "final.npz").crystal)
    back = number == _group_of(load_state(parent.place.state("final")).crystal)[1]
    return {
        "run": f"follow/{chosen.name}",
        "final_space_group": symbol,
        "certified": result.converged,
        "gibbs_difference_eV_per_atom": {"value": difference, "stderr": stderr},
        "returned": back,
        "statement": statement(
            parent.result.space_group or "",
            symbol,
            difference,
            stderr,
            temperature=parent.settings.temperature,
            back=back,
            certified=result.converged,
            same_modes=result.n_atoms_of_supercell == parent.result.n_atoms_of_supercell,
        ),
    }


def statement(
    high: str,
    low: str,
    difference: float,
    stderr: float,
    *,
    temperature: float,
    back: bool,
    certified: bool,
    same_modes: bool,
) -> str:
    """Say in a sentence or two where the crystal goes.

    Parameters
    ----------
    high, low
        Space groups of the undistorted and of the relaxed distorted crystal.
    difference, stderr
        Gibbs energy of the distorted less that of the undistorted crystal, eV/atom.
    temperature
        K.
    back
        Whether the distorted structure has gone back to the undistorted one.
    certified
        Whether the run of the distorted structure is certified.
    same_modes
        Whether both supercells hold the same wave vectors, so that the energies can be compared.
    """
    if back:
        return (
            f"The distorted structure went back to {low} at {temperature:g} K: the crystal is not "
            "unstable beyond the noise of its Hessian. More configurations make it sharper."
        )
    value = with_error(1.0e3 * difference, 1.0e3 * stderr, sign=True)
    told = f"G({low}) − G({high}) = {value} meV/atom at {temperature:g} K"
    if abs(difference) < 2.0 * stderr:
        verdict = f"{told}: neither structure is lower by two standard errors."
    elif difference < 0.0:
        verdict = f"{told}: the crystal leaves {high} for {low}."
    else:
        verdict = f"{told}: {high} stays lower; {low} is another minimum of the free energy."
    if not certified:
        verdict += " The run of the distorted structure is not certified."
    if not same_modes:
        verdict += " The supercells differ: part of the difference is that of their wave vectors."
    return verdict


def gibbs(result: Result) -> float:
    """Return ``F + P V`` of a result at its target pressure, eV/atom."""
    work = result.pressure_target_GPa * units.GPA * result.volume.value
    return float(result.free_energy.corrected + work)


def _group_of(crystal: Crystal) -> tuple[str, int]:
    found = find_space_group(Supercell(crystal, (1, 1, 1)), tolerance=_RETURNED)
    return found.international, found.number


def _names(candidates: Sequence[Candidate]) -> str:
    return ", ".join(one.distortion.international for one in candidates)
