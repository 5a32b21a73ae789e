"""Programs that read the input of pw.x and of VASP and write their output, from ASE's EMT.

What they do is in the environment variable FAKE_MODE, which tests set through the table
``environment`` of a reference.
"""

import os
import sys
from pathlib import Path
from xml.sax.saxutils import escape

import ase.io
import numpy as np
from ase import Atoms
from ase.calculators.emt import EMT
from ase.units import GPa, create_units

MODE = "FAKE_MODE"
UNITS = create_units("2018")
VERSION = "9.9fake"
TESTS = Path(__file__).parent


def install(directory: Path, code: str, name: str) -> Path:
    """Write an executable that is the fake `code` ("pw" or "vasp"), and return its path."""
    program = directory / name
    program.write_text(
        f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(TESTS)!r})\n"
        f"import fake_codes\nfake_codes.{code}()\n"
    )
    program.chmod(0o755)
    return program


def emt(atoms: Atoms) -> tuple[float, np.ndarray, np.ndarray]:
    """Energy, forces and stress (3, 3) of the potential behind both codes."""
    copy = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=True)
    copy.calc = EMT()
    return copy.get_potential_energy(), copy.get_forces(), copy.get_stress(voigt=False)


def end_badly(mode: str) -> None:
    """Do what the mode says about ending early."""
    if mode == "crash":
        print("forrtl: severe (174): SIGSEGV, segmentation fault occurred", file=sys.stderr)
        sys.exit(139)
    if mode == "silent":
        sys.exit(0)


def pw() -> None:
    """Behave as pw.x."""
    print(f"\n     Program PWSCF v.{VERSION} starts on a day\n")
    if len(sys.argv) < 3:
        sys.exit(1)
    mode = os.environ.get(MODE, "")
    end_badly(mode)
    if mode == "error":
        rule = "%" * 78
        print(f" {rule}\n     Error in routine readpp (1):\n     it is not there\n {rule}\n")
        sys.exit(1)
    atoms = ase.io.read(sys.argv[2], format="espresso-in")
    if mode == "unconverged":
        print("     convergence NOT achieved after 100 iterations: stopping\n\n   JOB DONE.")
        sys.exit(2)
    energy, forces, stress = emt(atoms)
    bohr, rydberg = UNITS["Bohr"], UNITS["Ry"]
    print("     number of k points=     4\n")
    print(f"!    total energy              = {energy / rydberg:16.10f} Ry")
    print("     convergence has been achieved in   9 iterations\n")
    print("     Forces acting on atoms (cartesian axes, Ry/au):\n")
    for number, row in enumerate(forces * bohr / rydberg, start=1):
        print(f"     atom {number:4d} type  1   force = " + " ".join(f"{x:16.10f}" for x in row))
    if mode != "no stress":
        print("\n          total   stress  (Ry/bohr**3)                   (kbar)     P=  0.0")
        for row in -stress * bohr**3 / rydberg:
            kbar = row * rydberg / bohr**3 / (0.1 * GPa)
            print(" ".join(f"{x:18.12f}" for x in [*row, *kbar]))
    print("\n   JOB DONE." if mode != "cut" else "")


def vasp() -> None:
    """Behave as VASP."""
    mode = os.environ.get(MODE, "")
    end_badly(mode)
    tags = dict(line.split(" = ", 1) for line in Path("INCAR").read_text().splitlines())
    atoms = ase.io.read("POSCAR", format="vasp")
    if mode == "other order":
        atoms = atoms[::-1]
    if mode == "other atoms":
        atoms.positions[0] += 0.3
    limit = int(tags["NELM"])
    steps = limit if mode in {"unconverged", "at the limit"} else 7
    reached = mode != "unconverged"
    said = "aborting loop because EDIFF is reached" if reached else "aborting loop"
    Path("OUTCAR").write_text(f"------ {said} ------\n")
    text = vasprun(atoms, steps, limit, stress=mode != "no stress")
    Path("vasprun.xml").write_text(text[: len(text) // 2] if mode == "cut" else text)


def vasprun(atoms: Atoms, steps: int, limit: int, *, stress: bool) -> str:
    """Return the part of vasprun.xml that matters."""
    energy, forces, tensor = emt(atoms)
    symbols = "".join(
        f"<rc><c>{escape(one):2}</c><c> 1</c></rc>" for one in atoms.get_chemical_symbols()
    )
    step = "<scstep><energy><i name='e_fr_energy'>0.0</i></energy></scstep>"
    block = rows("stress", -tensor / (0.1 * GPa)) if stress else ""
    # The energy extrapolated to zero smearing differs, and is not the one of the forces.
    return f"""<?xml version="1.0" encoding="ISO-8859-1"?>
<modeling>
 <generator><i name="program" type="string">vasp </i>
  <i name="version" type="string">{VERSION}  </i></generator>
 <parameters><separator name="electronic">
  <i type="int" name="NELM">{limit}</i></separator></parameters>
 <atominfo><array name="atoms"><set>{symbols}</set></array></atominfo>
 <structure name="initialpos"><crystal>{rows("basis", atoms.cell.array)}</crystal>
 {rows("positions", atoms.get_scaled_positions())}</structure>
 <calculation>{step * steps}
  <structure><crystal>{rows("basis", atoms.cell.array)}</crystal></structure>
  {rows("forces", forces)}{block}
  <energy><i name="e_fr_energy">{energy:.10f}</i>
  <i name="e_0_energy">{energy + 0.5:.10f}</i></energy>
 </calculation>
</modeling>
"""


def rows(name: str, values: np.ndarray) -> str:
    """Return an array as VASP writes it."""
    lines = "".join("<v>" + " ".join(f"{x:16.10f}" for x in row) + "</v>" for row in values)
    return f'<varray name="{name}">{lines}</varray>'
