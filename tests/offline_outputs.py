"""Outputs as pw.x and VASP print them, from a test potential: what somebody brings back."""

from pathlib import Path

import numpy as np
from ase import Atoms, units
from ase.stress import voigt_6_to_full_3x3_stress

RY, BOHR = units.Rydberg, units.Bohr


def results(atoms: Atoms, calculator) -> tuple[float, np.ndarray, np.ndarray]:
    """Energy (eV), forces (eV/Å) and stress (3, 3) (eV/Å³) of a calculator."""
    one = atoms.copy()
    one.calc = calculator
    stress = voigt_6_to_full_3x3_stress(one.get_stress())
    return one.get_potential_energy(), one.get_forces(), stress


def shuffled(atoms: Atoms, seed: int, *, shift: bool = True) -> Atoms:
    """The same configuration: atoms in another order, origin elsewhere, wrapped."""
    rng = np.random.default_rng(seed)
    other = atoms[rng.permutation(len(atoms))]
    if shift:
        other.positions += rng.uniform(-5.0, 5.0, 3)
    other.wrap()
    return other


def write_pw_output(path: Path, atoms: Atoms, values, *, converged=True, done=True) -> None:
    """Write what pw.x prints of one SCF calculation, with its few decimals."""
    energy, forces, stress = values
    alat = float(np.linalg.norm(atoms.cell[0]))
    lines = ["     Program PWSCF v.7.2 starts on 21Nov2026 at 12: 0: 0", ""]
    lines += [f"     lattice parameter (alat)  = {alat / BOHR:14.10f}  a.u."]
    lines += [f"     number of atoms/cell      = {len(atoms):12d}", ""]
    lines += [f"     celldm(1)= {alat / BOHR:12.8f}  celldm(2)=   0.000000", ""]
    lines += ["     crystal axes: (cart. coord. in units of alat)"]
    for i, row in enumerate(atoms.cell.array / alat, 1):
        lines.append(f"               a({i}) = (" + "".join(f"{x:13.9f}" for x in row) + " )  ")
    lines += [
        "",
        "   Cartesian axes",
        "",
        "     site n.     atom                  positions (alat units)",
    ]
    for i, (symbol, row) in enumerate(zip(atoms.symbols, atoms.positions / alat, strict=True), 1):
        place = "".join(f"{x:13.9f}" for x in row)
        lines.append(f"     {i:5d}           {symbol:3s} tau({i:4d}) = ({place}  )")
    lines += ["", "     number of k points=     1"]
    lines += ["                       cart. coord. in units 2pi/alat"]
    lines += ["        k(    1) = (   0.0000000   0.0000000   0.0000000), wk =   2.0000000", ""]
    if converged:
        lines += ["     convergence has been achieved in 11 iterations", ""]
    else:
        lines += ["     convergence NOT achieved after 100 iterations: stopping", ""]
    lines += ["     End of self-consistent calculation", ""]
    lines += ["          k = 0.0000 0.0000 0.0000 (   123 PWs)   bands (ev):", ""]
    lines += ["    -5.1230   2.3450", "", "     the Fermi energy is     1.2345 ev", ""]
    lines += [f"!    total energy              = {energy / RY:17.8f} Ry", ""]
    lines += ["     Forces acting on atoms (cartesian axes, Ry/au):", ""]
    for i, row in enumerate(forces / (RY / BOHR), 1):
        numbers = "".join(f"{x:14.8f}" for x in row)
        lines.append(f"     atom {i:4d} type  1   force = {numbers}")
    pressure = -stress / (RY / BOHR**3)
    lines += [
        "",
        "          total   stress  (Ry/bohr**3)                   (kbar)     P=        0.0",
    ]
    for row in pressure:
        numbers = "".join(f"{x:14.8f}" for x in row)
        lines.append(numbers + "".join(f"{x:12.2f}" for x in row * 147105.08))
    lines += ["", "   JOB DONE."] if done else []
    path.write_text("\n".join(lines) + "\n")


def _vectors(rows, width: int = 16) -> str:
    return "\n".join("<v>" + " ".join(f"{x:{width}.8f}" for x in row) + "</v>" for row in rows)


def write_vasprun(path: Path, atoms: Atoms, values, *, n_steps=8, done=True) -> None:
    """Write what VASP puts into vasprun.xml for one configuration."""
    energy, forces, stress = values
    kbar = -stress / (0.1 * units.GPa)
    symbols = atoms.get_chemical_symbols()
    atoms_rows = "".join(f"<rc><c>{one}</c><c>1</c></rc>" for one in symbols)
    structure = (
        f'<crystal><varray name="basis">{_vectors(atoms.cell.array)}</varray>'
        f'<varray name="rec_basis">{_vectors(np.eye(3))}</varray>'
        f'<i name="volume">{atoms.get_volume():.8f}</i></crystal>'
        f'<varray name="positions">{_vectors(atoms.get_scaled_positions(wrap=False))}</varray>'
    )
    step = f'<scstep><energy><i name="e_fr_energy">{energy:.8f}</i></energy></scstep>'
    last = (
        f'<energy><i name="e_fr_energy">{energy:.8f}</i>'
        f'<i name="e_wo_entrp">{energy:.8f}</i><i name="e_0_energy">{energy:.8f}</i></energy>'
    )
    path.write_text(
        '<?xml version="1.0" encoding="ISO-8859-1"?>\n<modeling>\n'
        '<generator><i name="version" type="string">6.4.2</i></generator>\n'
        '<incar></incar><kpoints><varray name="kpointlist"><v>0.0 0.0 0.0</v></varray>'
        '<varray name="weights"><v>1.0</v></varray></kpoints>'
        '<parameters><separator name="electronic">'
        '<i type="int" name="NELM">     60</i></separator></parameters>\n'
        f"<atominfo><atoms>{len(atoms)}</atoms>"
        f'<array name="atoms"><set>{atoms_rows}</set></array></atominfo>\n'
        f'<structure name="initialpos">{structure}</structure>\n'
        f"<calculation>{step * (n_steps - 1)}"
        f'<scstep><energy><i name="e_fr_energy">{energy:.8f}</i>'
        f'<i name="e_wo_entrp">{energy:.8f}</i><i name="e_0_energy">{energy:.8f}</i>'
        "</energy></scstep>\n"
        f"<structure>{structure}</structure>\n"
        f'<varray name="forces">{_vectors(forces)}</varray>'
        f'<varray name="stress">{_vectors(kbar)}</varray>{last}</calculation>\n'
        f'<structure name="finalpos">{structure}</structure>\n' + ("</modeling>\n" if done else "")
    )


def write_outcar(path: Path, atoms: Atoms, values, *, converged=True) -> None:
    """Write what VASP prints into an OUTCAR for one configuration, atoms grouped by element."""
    energy, forces, stress = values
    kbar = -stress / (0.1 * units.GPa)
    symbols = atoms.get_chemical_symbols()
    kinds = list(dict.fromkeys(symbols))
    assert symbols == [kind for kind in kinds for _ in range(symbols.count(kind))]
    lines = [" vasp.6.4.2 20Jul23 (build) complex", ""]
    lines += [f" POTCAR:    PAW_PBE {kind} 05Jan2001" for kind in (*kinds, *kinds)]
    lines += [f"   TITEL  = PAW_PBE {kind} 05Jan2001" for kind in kinds]
    lines += ["   ions per type = " + "".join(f"{symbols.count(k):5d}" for k in kinds)]
    lines += ["   ISPIN  =      1    spin polarized calculation?", ""]
    lines += ["---------------------------------- Iteration      1(   1)  ----------", ""]
    if converged:
        lines += ["------------ aborting loop because EDIFF is reached ------------", ""]
    lines += ["  FORCE on cell =-STRESS in cart. coord.  units (eV):"]
    order = (0, 0), (1, 1), (2, 2), (0, 1), (1, 2), (2, 0)
    lines += ["  in kB  " + "".join(f"{kbar[i]:12.5f}" for i in order)]
    lines += ["", "      direct lattice vectors                 reciprocal lattice vectors"]
    for row in atoms.cell.array:
        lines.append("".join(f"{x:15.9f}" for x in (*row, 0, 0, 0)))
    lines += ["", " POSITION                                       TOTAL-FORCE (eV/Angst)"]
    lines += [" " + "-" * 83]
    for row in np.hstack([atoms.positions, forces]):
        lines.append(
            "".join(f"{x:13.5f}" for x in row[:3]) + "".join(f"{x:14.6f}" for x in row[3:])
        )
    lines += [" " + "-" * 83, "", "  FREE ENERGIE OF THE ION-ELECTRON SYSTEM (eV)"]
    lines += ["  ---------------------------------------------------"]
    lines += [f"  free  energy   TOTEN  = {energy:18.8f} eV", ""]
    lines += [f"  energy  without entropy= {energy:16.8f}  energy(sigma->0) = {energy:16.8f}", ""]
    lines += [" General timing and accounting informations for this job:", ""]
    path.write_text("\n".join(lines) + "\n")
