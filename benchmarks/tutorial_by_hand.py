"""The peer: the published hands-on session done by hand with the released packages.

1000 + 500 configurations of the 0 K ensemble are labelled with Tersoff, a GAP is fitted with the
session's hyper-parameters, validated on the 0 K test set, and drives python-sscha's own
``vc_relax`` at the target temperature, one ASE call per configuration.  Prints JSON: seconds of
each part and the physics it reached.  Nothing of sscha_mlp is used but the potential's text.
"""

import argparse
import contextlib
import io
import json
import os
import subprocess
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from ase.build import bulk
from ase.filters import FrechetCellFilter
from ase.io import read
from ase.optimize import BFGS

from sscha_mlp.calculators.tersoff import tersoff_parameters
from sscha_mlp.potentials.gap.command import find_gap_fit

FIT = [
    "energy_parameter_name=energy",
    "force_parameter_name=forces",
    "stress_parameter_name=stress",
    "virial_parameter_name=virial",
    "do_copy_at_file=F",
    "sparse_separate_file=T",
    "gp_file=GAP.xml",
    "at_file=train.xyz",
    "e0_method=average",
    "default_sigma={0.001 0.03 0.03 0}",
    "sparse_jitter=1.0e-8",
    "gap={soap cutoff=4.2 n_sparse=200 covariance_type=dot_product sparse_method=cur_points "
    "delta=0.205 zeta=4 l_max=4 n_max=8 atom_sigma=0.5 cutoff_transition_width=0.8 add_species}",
]


def main() -> None:  # noqa: PLR0915 - one long script, as the session is
    """Run the session and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--T", type=float, default=2000.0)
    parser.add_argument("--train", type=int, default=1000)
    parser.add_argument("--test", type=int, default=500)
    parser.add_argument("--configs", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def part(name: str) -> Iterator[None]:
        begin = time.perf_counter()
        with contextlib.redirect_stdout(io.StringIO()):
            yield
        seconds[name] = round(time.perf_counter() - begin, 2)

    import cellconstructor as cc
    import cellconstructor.Phonons
    import cellconstructor.Structure
    import sscha.Ensemble
    import sscha.Relax
    import sscha.SchaMinimizer
    from quippy.potential import Potential

    warnings.filterwarnings("ignore", category=np.exceptions.ComplexWarning)
    np.random.seed(args.seed)  # noqa: NPY002 - python-sscha draws from the global generator
    os.chdir(tempfile.mkdtemp(prefix="by-hand-"))
    tersoff = Potential("IP Tersoff", param_str=tersoff_parameters(("Si",)))

    with part("start"):
        atoms = bulk("Si", "diamond", a=5.43)
        atoms.calc = tersoff
        BFGS(FrechetCellFilter(atoms), logfile=None).run(fmax=5e-4)
        structure = cc.Structure.Structure()
        structure.generate_from_ase_atoms(atoms, get_masses=True)
        dyn = cc.Phonons.compute_phonons_finite_displacements(
            structure, tersoff, supercell=(2, 2, 2)
        )
        dyn.Symmetrize()
        dyn.ForcePositiveDefinite()
    with part("label"):
        for name, count in (("train", args.train), ("test", args.test)):
            ensemble = sscha.Ensemble.Ensemble(dyn, T0=0.0, supercell=dyn.GetSupercell())
            ensemble.generate(N=count)
            ensemble.compute_ensemble(
                tersoff, compute_stress=True, stress_numerical=False, verbose=False
            )
            ensemble.save_enhanced_xyz(
                f"{name}.xyz",
                append_mode=False,
                stress_key="stress",
                forces_key="forces",
                energy_key="energy",
            )
    with part("fit"), Path("fit.log").open("w") as log:
        subprocess.run([find_gap_fit(), *FIT], check=True, stdout=log, stderr=log)
    gap = Potential("IP GAP", param_filename="GAP.xml")
    with part("validate"):
        errors = []
        for frame in read("test.xyz", ":"):
            copy = frame.copy()
            copy.calc = gap
            copy.get_potential_energy()
            errors.append(copy.get_forces() - frame.get_forces())
            copy.get_stress()
    with part("relax"):
        ensemble = sscha.Ensemble.Ensemble(dyn, T0=args.T, supercell=dyn.GetSupercell())
        ensemble.generate(N=args.configs)
        minimizer = sscha.SchaMinimizer.SSCHA_Minimizer(ensemble)
        minimizer.min_step_dyn = 0.1
        minimizer.kong_liu_ratio = 0.5
        minimizer.meaningful_factor = 0.001
        minimizer.max_ka = 100000
        relax = sscha.Relax.SSCHA(
            minimizer,
            ase_calculator=gap,
            N_configs=args.configs,
            max_pop=30,
            save_ensemble=False,
        )
        relax.vc_relax(ensemble_loc="ensembles")
    final = relax.minim.dyn
    with contextlib.redirect_stdout(io.StringIO()):
        frequencies = np.sort(final.DiagonalizeSupercell()[0])[3:]
    thz = cc.Units.RY_TO_CM * 0.0299792458
    print(
        json.dumps(
            {
                "labels": args.train + args.test,
                "force_rmse_0K_meV_per_A": 1e3 * float(np.sqrt(np.mean(np.square(errors)))),
                "lattice_parameter_A": float((4 * final.structure.get_volume()) ** (1 / 3)),
                "softest_THz": float(frequencies.min() * thz),
                "hardest_THz": float(frequencies.max() * thz),
                "free_energy_eV_per_atom": float(
                    relax.minim.get_free_energy() * cc.Units.RY_TO_EV / final.structure.N_atoms
                ),
                "seconds": seconds,
                "seconds_total": round(sum(seconds.values()), 1),
            }
        )
    )


if __name__ == "__main__":
    main()
