"""The verb ``reference``: is a calculator fit to be one, and how long will the labels take."""

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Exit, Option, Typer

from sscha_mlp.cli import options

if TYPE_CHECKING:
    from sscha_mlp.calculators.registry import Reference
    from sscha_mlp.reference.check import Difference, ReferenceCheck

reference = Typer(
    name="reference",
    help="Try a reference calculator before a run.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)
"""The group of commands."""


@reference.callback()
def _describe() -> None:
    """Try a reference calculator before a run."""


@reference.command()
def check(
    name: options.ReferenceName = None,
    structure: options.Structure = None,
    supercell: options.SupercellSize = None,
    displacement: Annotated[
        float,
        Option("--displacement", help="Standard deviation of each coordinate, in Å."),
    ] = 0.1,
    step: Annotated[
        float, Option("--step", help="Largest movement of an atom in a difference, in Å.")
    ] = 0.01,
    strain: Annotated[float, Option("--strain", help="Strain in a difference.")] = 0.005,
    force_tolerance: Annotated[
        float, Option("--force-tolerance", help="Allowed error of a force, in eV/Å.")
    ] = 0.005,
    stress_tolerance: Annotated[
        float, Option("--stress-tolerance", help="Allowed error of a stress, in GPa.")
    ] = 0.1,
    labels: Annotated[
        int, Option("--labels", help="Labels of the job whose time is estimated.")
    ] = 100,
    time_limit: Annotated[
        float, Option("--time-limit", help="Longest time for one label, in s; 0 for none.")
    ] = 0.0,
    seed: options.Seed = 0,
    workers: options.Workers = 0,
    store: Annotated[
        Path,
        Option("--store", help="Label store: the same command finds there what is computed."),
    ] = Path("labels.db"),
    quiet: options.Quiet = False,
    as_json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Label a displaced supercell; compare forces and stress with differences of the energy.

    Eleven labels, in the cell that relax takes: the primitive one of the structure, repeated.
    They are kept in --store. The exit status is 0 if all agree and 1 if not.
    """
    del debug  # read by the command line itself
    import json

    from sscha_mlp.calculators.registry import get_reference
    from sscha_mlp.cli.screen import make_observer, note
    from sscha_mlp.crystal.primitive import primitive_cell
    from sscha_mlp.crystal.structure_files import read_structure
    from sscha_mlp.crystal.supercell import Supercell
    from sscha_mlp.crystal.symmetry import hidden_symmetry
    from sscha_mlp.errors import InputError
    from sscha_mlp.reference.check import CheckSettings, check_reference
    from sscha_mlp.reference.store import LabelStore
    from sscha_mlp.resources import bundled_file

    if labels < 1 or time_limit < 0:
        raise InputError("--labels must be at least 1, and --time-limit not negative.")
    settings = CheckSettings(displacement, step, strain, force_tolerance, stress_tolerance, seed)
    calculator = get_reference(name or "tersoff")
    file = structure or bundled_file("silicon.cif")
    crystal = read_structure(file)
    remark = hidden_symmetry(file.name, crystal)
    if remark and not (quiet or as_json):
        note(f"{remark} in a run")
    primitive = primitive_cell(crystal)
    atoms = Supercell(primitive, supercell or (2, 2, 2)).crystal.to_ase()
    n_workers = options.count_workers(workers)
    calculator.check_elements(atoms)
    with make_observer(quiet=quiet or as_json) as observer, LabelStore(store) as kept:
        found = check_reference(
            calculator,
            atoms,
            settings,
            store=kept,
            n_workers=n_workers,
            time_limit=time_limit or None,
            progress=lambda done, total: observer.progress("labels", done, total),
        )
    what = _Checked(found, calculator, str(structure or "bundled silicon"), remark)
    job = _Job(labels, n_workers, found.seconds_for(labels, n_workers))
    if as_json:
        print(json.dumps(what.to_json(job), indent=2, ensure_ascii=False))
    else:
        _print(what, job)
    if not found.passed:
        raise Exit(1)


@dataclass(frozen=True)
class _Job:
    """How long a number of labels takes; None where that is not known."""

    labels: int
    workers: int
    seconds: float | None


@dataclass(frozen=True)
class _Checked:
    """What a check found, of which reference and structure, and what is to be said of that."""

    found: "ReferenceCheck"
    reference: "Reference"
    structure: str
    remark: str

    @property
    def largest_force(self) -> float:
        """Of an atom, eV/Å."""
        return max(math.hypot(*one) for one in self.found.label.forces)

    @property
    def rms_force(self) -> float:
        """Of the components, eV/Å."""
        components = self.found.label.forces.ravel().tolist()
        return math.sqrt(sum(one * one for one in components) / len(components))

    @property
    def net_force(self) -> float:
        """Of all atoms together, eV/Å."""
        return math.hypot(*self.found.label.forces.sum(axis=0))

    @property
    def energy_per_atom(self) -> float:
        """Of the label, eV."""
        return self.found.label.energy / len(self.found.atoms)

    @property
    def stress_gpa(self) -> list[list[float]]:
        """Of the label, GPa."""
        from sscha_mlp.units import GPA

        rows: list[list[float]] = (self.found.label.stress / GPA).tolist()
        return rows

    def to_json(self, job: _Job) -> dict[str, Any]:
        """Return it as plain values, units in the names."""
        kpoints = _kpoints(self.found, self.reference)
        return {
            "reference": self.reference.name,
            "structure": self.structure,
            "n_atoms": len(self.found.atoms),
            "passed": self.found.passed,
            "energy_eV": self.found.label.energy,
            "energy_eV_per_atom": self.energy_per_atom,
            "force_largest_eV_per_A": self.largest_force,
            "force_rms_eV_per_A": self.rms_force,
            "force_sum_eV_per_A": self.net_force,
            "stress_GPa": self.stress_gpa,
            "seconds_per_label": self.found.seconds_per_label,
            "kpoints": None if kpoints is None else asdict(kpoints),
            "differences": [_difference(one) for one in self.found.differences],
            "job": asdict(job),
            "remark": self.remark,
        }


@dataclass(frozen=True)
class _Grid:
    """Grid of k-points, and by what part a cell vector may change before the grid does."""

    grid: list[int]
    may_shrink_by: float | None
    may_grow_by: float | None


def _difference(one: "Difference") -> dict[str, Any]:
    return {
        "name": one.name,
        "unit": one.unit,
        "label": one.analytic,
        "energies": one.numerical,
        "error": one.error,
        "noise": one.noise,
        "allowed": one.allowed,
        "passed": one.passed,
    }


def _kpoints(found: "ReferenceCheck", reference: "Reference") -> _Grid | None:
    """Return the grid, and how far the cell may go before it changes; None without one."""
    kpoints = getattr(reference.parameters.get("settings"), "kpoints", None)
    if kpoints is None:
        return None
    cell = found.atoms.cell.array
    shrink, grow = (None if math.isinf(x) else x for x in kpoints.margin(cell))
    return _Grid(list(kpoints.size(cell)), shrink, grow)


def _print(what: _Checked, job: _Job) -> None:
    found = what.found
    print(f"{len(found.atoms)} atoms of {what.structure}, reference {what.reference.name}")
    print(f"energy        {found.label.energy:.6f} eV, {what.energy_per_atom:.6f} eV/atom")
    print(
        f"forces        largest {what.largest_force:.4f}, rms {what.rms_force:.4f}, "
        f"sum {what.net_force:.1e} eV/Å"
    )
    for name, row in zip(("stress", "", ""), what.stress_gpa, strict=True):
        print(f"{name:<14}" + " ".join(f"{x:10.4f}" for x in row) + " GPa"[: 4 * bool(name)])
    _print_kpoints(_kpoints(found, what.reference))
    print()
    print(f"{'':<30}{'label':>11}{'energies':>11}{'error':>10}{'noise':>10}{'allowed':>10}")
    for one in found.differences:
        verdict = "" if one.passed else "  FAILED"
        print(
            f"{one.name:<30}{one.analytic:11.5f}{one.numerical:11.5f}{one.error:10.5f}"
            f"{one.noise:10.5f}{one.allowed:10.5f} {one.unit}{verdict}"
        )
    print()
    if job.seconds is None:
        print("all labels were in the store: their time is not known")
    else:
        print(
            f"{found.seconds_per_label:.1f} s for a label; {job.labels} labels and the "
            f"start on {job.workers} workers: about {_duration(job.seconds)}"
        )
    _print_verdict(found)


def _print_kpoints(kpoints: _Grid | None) -> None:
    if kpoints is None:
        return
    text = "×".join(map(str, kpoints.grid))
    shrink, grow = kpoints.may_shrink_by, kpoints.may_grow_by
    if shrink is None:
        print(f"k-points      {text}, for each cell")
        return
    text += f"; the grid changes where a cell vector shrinks by {100 * shrink:.1f} %"
    text += "" if grow is None else f" or grows by {100 * grow:.1f} %"
    print(f"k-points      {text}")
    if min(shrink, 1.0 if grow is None else grow) < 0.03:
        print("              close to where it changes: the energy jumps there; give kpoints.grid")


def _print_verdict(found: "ReferenceCheck") -> None:
    if found.passed:
        print("passed: forces and stress are derivatives of the energy")
        return
    import textwrap

    text = " ".join(_shortcomings(found))
    print(textwrap.fill(f"FAILED: {text}", width=80))


def _shortcomings(found: "ReferenceCheck") -> Iterator[str]:
    """Say what failed, by how much, what it spoils, and the way out."""
    from sscha_mlp.reference.check import SHEAR
    from sscha_mlp.validation.certificate import CertificateTolerances

    failed = {one.name: abs(one.error) for one in found.differences if not one.passed}
    stresses = {name: error for name, error in failed.items() if name.startswith("stress")}
    forces = [error for name, error in failed.items() if name not in stresses]
    if forces:
        yield (
            f"forces are no derivative of the energy: off by {1e3 * max(forces):.1f} meV/Å. "
            "Frequencies and free energies carry this. Converge the self-consistency further."
        )
    if not stresses:
        return
    error = max(stresses.values())
    allowed = CertificateTolerances().for_crystal().pressure_gpa
    yield (
        f"the stress is no derivative of the energy: off by {error:.2f} GPa, "
        f"{error / allowed:.1f} times what a certificate allows. Pressure and relaxed cell carry "
        "this error, and no certificate shows it: it compares with this reference."
    )
    if forces or SHEAR in stresses:
        yield "shear or forces are off as well: look at sign, unit and meaning of the stress first."
    else:
        yield (
            "raise the cutoff of plane waves until the stress passes, or keep the cell (relax "
            "--cell fixed): forces passed, and frequencies at a given cell do not need the stress."
        )


def _duration(seconds: float) -> str:
    if seconds < 120.0:
        return f"{seconds:.0f} s"
    return f"{seconds / 60.0:.0f} min" if seconds < 7200.0 else f"{seconds / 3600.0:.1f} h"
