"""MTPs with random coefficients, crystals to try them on, and the same MTP in motep."""

import numpy as np
from ase import Atoms
from ase.build import bulk

from sscha_mlp.potentials.mtp.enumeration import make_template
from sscha_mlp.potentials.mtp.parameters import Parameters

SILICON, GERMANIUM = 14, 32


def random_mtp(
    level: int = 8,
    *,
    species: tuple[int, ...] = (SILICON,),
    min_dist: float = 1.6,
    max_dist: float = 4.8,
    n_polynomials: int = 6,
    seed: int = 0,
    radial_weight: int = 4,
) -> Parameters:
    """Coefficients of a size that gives forces of the order of 1 to 100 eV/Å."""
    rng = np.random.default_rng(seed)
    template = make_template(level, radial_weight=radial_weight)
    n = len(species)
    radial = rng.normal(0.0, 0.1, (n, n, template.n_radial, n_polynomials))
    return Parameters(
        template=template,
        species=species,
        min_dist=min_dist,
        max_dist=max_dist,
        radial_coeffs=radial,
        species_coeffs=rng.normal(0.0, 1.0, n),
        moment_coeffs=rng.normal(0.0, 0.1, template.n_scalars),
    )


def rattled(*, mixed: bool = False, seed: int = 0, size: float = 0.12) -> Atoms:
    """A crystal of eight atoms, displaced and strained; silicon, or silicon and germanium."""
    rng = np.random.default_rng(seed)
    if mixed:
        atoms = bulk("SiGe", "zincblende", 5.5, cubic=True)
    else:
        atoms = bulk("Si", "diamond", 5.43, cubic=True)
    strain = np.eye(3) + rng.normal(0.0, 0.02, (3, 3))
    atoms.set_cell(atoms.cell.array @ strain, scale_atoms=True)
    atoms.positions += rng.normal(0.0, size, atoms.positions.shape)
    return atoms


def in_motep(parameters: Parameters, engine: str):
    """Return motep's calculator of the same potential."""
    from motep.calculator import MTP
    from motep.potentials.mtp.data import BasisData, MTPData

    template = parameters.template
    data = MTPData(
        version="1.1.0",
        potential_name="MTP",
        scaling=parameters.scaling,
        species_count=len(parameters.species),
        radial_basis=BasisData(
            type="RBChebyshev",
            min=parameters.min_dist,
            max=parameters.max_dist,
            size=parameters.n_polynomials,
        ),
        radial_funcs_count=template.n_radial,
        radial_coeffs=np.array(parameters.radial_coeffs),
        alpha_moments_count=template.n_moments,
        alpha_index_basic_count=template.n_basic,
        alpha_index_basic=np.array(template.basic, dtype=np.int32),
        alpha_index_times_count=len(template.products),
        alpha_index_times=np.array(template.products, dtype=np.int32),
        alpha_scalar_moments=template.n_scalars,
        alpha_moment_mapping=np.array(template.scalars, dtype=np.int32),
        species_coeffs=np.array(parameters.species_coeffs),
        moment_coeffs=np.array(parameters.moment_coeffs),
    )
    data.species = list(parameters.species)
    return MTP(data, engine=engine)
