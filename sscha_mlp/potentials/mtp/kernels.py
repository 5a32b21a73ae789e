"""The compiled loops of an evaluation: site energies, forces and dE/dstrain.

Loops run over the neighbours of an atom, contiguous in memory, and over the atoms of a block, so
that the compiler turns both into vector instructions.  All release the interpreter's lock.  Only
the engine calls them; :mod:`sscha_mlp.potentials.mtp.layout` says what the arrays mean.

Derivatives are taken in reverse: from the basis functions through the products to the basic
moments, and from these to the vectors to the neighbours.
"""

from typing import Any, Final

import numpy as np
from numba import njit

from sscha_mlp.potentials.mtp.layout import Sites

LANES: Final = 8
"""Atoms in a block: eight doubles fill the widest vector register there is."""

_SOFTEST: Final = 0.1
"""Å: how far below the shortest distance known the radial functions go on."""

_REPULSION_WIDTH: Final = 0.2
"""The repulsion is switched on over this part of the shortest distance."""


def compiled(function: Any) -> Any:
    """Compile a loop; where no directory can be written, each process compiles it for itself."""
    options = {"nogil": True, "fastmath": True, "error_model": "numpy"}
    try:
        return njit(cache=True, **options)(function)
    except RuntimeError:  # numba finds no place for its cache
        return njit(**options)(function)


@compiled
def make_sites(capacity: int, functions: Any, n_monomials: int) -> Any:
    """Return room for a block of atoms with at most `capacity` neighbours each."""
    n_species, n_radial = functions.radial.shape[0], functions.radial.shape[2]
    n_polynomials = max(functions.radial.shape[3], 2)
    return Sites(
        np.zeros(LANES, dtype=np.int64),
        np.zeros(LANES, dtype=np.int64),
        np.zeros((LANES, capacity), dtype=np.int64),
        np.zeros((LANES, n_species + 1), dtype=np.int64),
        np.zeros((LANES, 4, capacity)),
        np.zeros((LANES, n_radial, capacity)),
        np.zeros((LANES, n_radial, capacity)),
        np.zeros((LANES, 3, capacity)),
        np.zeros((LANES, n_monomials, capacity)),
        np.zeros((2, n_polynomials, capacity)),
        np.zeros((3, capacity)),
        np.zeros((3, capacity)),
    )


@compiled
def gather(
    lane: int, atom: int, positions: Any, types: Any, pairs: Any, reach: float, sites: Any
) -> None:
    """Collect the neighbours of an atom within reach, species by species."""
    first, neighbours, shifts = pairs
    vectors, found, starts = sites.vectors[lane], sites.found[lane], sites.starts[lane]
    x0, y0, z0 = positions[atom, 0], positions[atom, 1], positions[atom, 2]
    n = 0
    for species in range(len(starts) - 1):
        starts[species] = n
        for pair in range(first[atom], first[atom + 1]):
            other = neighbours[pair]
            if types[other] != species:
                continue
            x = positions[other, 0] + shifts[pair, 0] - x0
            y = positions[other, 1] + shifts[pair, 1] - y0
            z = positions[other, 2] + shifts[pair, 2] - z0
            square = x * x + y * y + z * z
            if square < reach * reach:
                vectors[0, n], vectors[1, n], vectors[2, n] = x, y, z
                vectors[3, n] = np.sqrt(square)
                found[n] = other
                n += 1
    starts[len(starts) - 1] = n
    sites.counts[lane], sites.species[lane] = n, types[atom]


@compiled
def polynomials(n: int, distances: Any, functions: Any, sites: Any) -> None:
    """Chebyshev polynomials times the square of the distance to the cutoff, and derivatives.

    Below ``min_dist`` the argument bends towards ``min_dist - 0.1 Å``: the polynomials are never
    taken far from where they were fitted.
    """
    min_dist, max_dist = functions.min_dist, functions.max_dist
    width = max_dist - min_dist
    values, slopes = sites.chebyshev[0], sites.chebyshev[1]
    argument, window, stretch = sites.work[0], sites.work[1], sites.work[2]
    for j in range(n):
        r, slope = distances[j], 1.0
        if r < min_dist:
            slope = np.exp((r - min_dist) / _SOFTEST)
            r = min_dist - _SOFTEST * (1.0 - slope)
        argument[j] = (2.0 * r - min_dist - max_dist) / width
        window[j] = max_dist - r
        stretch[j] = slope
        values[0, j], slopes[0, j] = 1.0, 0.0
        values[1, j], slopes[1, j] = argument[j], 1.0
    n_polynomials = functions.radial.shape[3]
    for order in range(2, n_polynomials):
        for j in range(n):
            x = 2.0 * argument[j]
            values[order, j] = x * values[order - 1, j] - values[order - 2, j]
            slopes[order, j] = (2.0 * values[order - 1, j] + x * slopes[order - 1, j]) - slopes[
                order - 2, j
            ]
    for order in range(n_polynomials):
        for j in range(n):
            t = values[order, j]
            values[order, j] = t * window[j] * window[j]
            slope = (2.0 / width) * slopes[order, j] * window[j] - 2.0 * t
            slopes[order, j] = slope * window[j] * stretch[j]


@compiled
def radial_functions(lane: int, species: int, functions: Any, sites: Any) -> None:
    """Radial functions between an atom of a species and its neighbours, and derivatives."""
    coefficients, starts = functions.radial[species], sites.starts[lane]
    n = sites.counts[lane]
    polynomials(n, sites.vectors[lane, 3], functions, sites)
    for mu in range(coefficients.shape[1]):
        value, slope = sites.values[lane, mu], sites.slopes[lane, mu]
        for j in range(n):
            value[j], slope[j] = 0.0, 0.0
        for other in range(functions.spans[species, mu, 0], functions.spans[species, mu, 1]):
            for order in range(coefficients.shape[2]):
                c = coefficients[other, mu, order]
                if c == 0.0:
                    continue
                t_row, d_row = sites.chebyshev[0, order], sites.chebyshev[1, order]
                for j in range(starts[other], starts[other + 1]):
                    value[j] += c * t_row[j]
                    slope[j] += c * d_row[j]


@compiled
def monomials(lane: int, plan: Any, sites: Any) -> None:
    """Unit vectors to the neighbours, and the monomials of their components."""
    n, vectors = sites.counts[lane], sites.vectors[lane]
    units, powers = sites.units[lane], sites.powers[lane]
    for j in range(n):
        inverse = 1.0 / vectors[3, j]
        units[0, j] = vectors[0, j] * inverse
        units[1, j] = vectors[1, j] * inverse
        units[2, j] = vectors[2, j] * inverse
        powers[0, j] = 1.0
    for k in range(1, len(plan.parents)):
        row, parent, unit = powers[k], powers[plan.parents[k]], units[plan.axes[k]]
        for j in range(n):
            row[j] = parent[j] * unit[j]


@compiled
def span(lane: int, mu: int, functions: Any, sites: Any) -> Any:
    """Where the neighbours begin and end for which a radial function is there."""
    species = sites.species[lane]
    first, last = functions.spans[species, mu, 0], functions.spans[species, mu, 1]
    return sites.starts[lane, first], sites.starts[lane, last]


@compiled
def fill_block(
    block: int,
    positions: Any,
    types: Any,
    pairs: Any,
    plan: Any,
    functions: Any,
    sites: Any,
    moments: Any,
) -> int:
    """Neighbours and all moments of a block of atoms; return their number."""
    lanes = min(LANES, len(types) - block)
    moments[:] = 0.0
    for lane in range(lanes):
        gather(lane, block + lane, positions, types, pairs, functions.max_dist, sites)
        radial_functions(lane, types[block + lane], functions, sites)
        monomials(lane, plan, sites)
        for k in range(len(plan.radial_index)):
            mu = plan.radial_index[k]
            value, power = sites.values[lane, mu], sites.powers[lane, plan.monomial_of[k]]
            begin, end = span(lane, mu, functions, sites)
            total = 0.0
            if begin == 0:  # a loop from zero is the faster one
                for j in range(end):
                    total += value[j] * power[j]
            else:
                for j in range(begin, end):
                    total += value[j] * power[j]
            moments[k, lane] = total
    for row in range(len(plan.factors)):
        i, j, k = plan.products[row, 0], plan.products[row, 1], plan.products[row, 2]
        factor = plan.factors[row]
        for lane in range(LANES):
            moments[k, lane] += factor * moments[i, lane] * moments[j, lane]
    return lanes


@compiled
def carry_back(row: int, plan: Any, moments: Any, adjoint: Any) -> None:
    """Carry the derivative of one product to its factors."""
    i, j, k = plan.products[row, 0], plan.products[row, 1], plan.products[row, 2]
    factor = plan.factors[row]
    for lane in range(LANES):
        carried = factor * adjoint[k, lane]
        left, right = moments[i, lane], moments[j, lane]
        adjoint[i, lane] += carried * right
        adjoint[j, lane] += carried * left


@compiled
def pair_gradients(lane: int, plan: Any, functions: Any, adjoint: Any, sites: Any) -> None:
    """Derivatives with respect to the vectors to the neighbours, from those of basic moments.

    The basic moments are walked monomial by monomial, as the plan lists them.
    """
    first, items, walked = plan.first, plan.items, plan.walked
    n, powers, gradients = sites.counts[lane], sites.powers[lane], sites.gradients
    radial, weight, outer = sites.work[0], sites.work[1], sites.work[2]
    for j in range(n):
        radial[j] = 0.0
        gradients[0, j], gradients[1, j], gradients[2, j] = 0.0, 0.0, 0.0
    for m in range(len(walked)):
        for j in range(n):
            weight[j], outer[j] = 0.0, 0.0
        for place in range(first[m], first[m + 1]):
            mu = plan.radial_index[items[place]]
            g, value, slope = (
                adjoint[items[place], lane],
                sites.values[lane, mu],
                sites.slopes[lane, mu],
            )
            begin, end = span(lane, mu, functions, sites)
            if begin == 0:
                for j in range(end):
                    weight[j] += g * value[j]
                    outer[j] += g * slope[j]
            else:
                for j in range(begin, end):
                    weight[j] += g * value[j]
                    outer[j] += g * slope[j]
        k = walked[m]
        power = powers[k]
        for j in range(n):
            radial[j] += outer[j] * power[j]
        for axis in range(3):
            count = plan.exponents[k, axis]
            if count:
                lower, gradient = powers[plan.lowered[k, axis]], gradients[axis]
                for j in range(n):
                    gradient[j] += count * weight[j] * lower[j]
    units, distances = sites.units[lane], sites.vectors[lane, 3]
    for j in range(n):
        ux, uy, uz = units[0, j], units[1, j], units[2, j]
        inverse = 1.0 / distances[j]
        gx, gy, gz = gradients[0, j], gradients[1, j], gradients[2, j]
        along = radial[j] - (gx * ux + gy * uy + gz * uz) * inverse
        gradients[0, j] = gx * inverse + along * ux
        gradients[1, j] = gy * inverse + along * uy
        gradients[2, j] = gz * inverse + along * uz


@compiled
def repulsion(distance: float, min_dist: float, charges: float, screening: float) -> Any:
    """Screened nuclear repulsion of a pair and its derivative (eV, eV/Å), zero from `min_dist` on.

    The universal potential of Ziegler, Biersack and Littmark (The Stopping and Range of Ions in
    Solids, Pergamon 1985), switched on below `min_dist` by the quintic step.
    """
    t = (min_dist - distance) / (_REPULSION_WIDTH * min_dist)
    if t <= 0.0:
        return 0.0, 0.0
    x = distance / screening
    a, b = 0.18175 * np.exp(-3.19980 * x), 0.50986 * np.exp(-0.94229 * x)
    c, d = 0.28022 * np.exp(-0.40290 * x), 0.02817 * np.exp(-0.20162 * x)
    coulomb = charges / distance
    value = coulomb * (a + b + c + d)
    screened = 3.19980 * a + 0.94229 * b + 0.40290 * c + 0.20162 * d
    slope = -value / distance - coulomb / screening * screened
    if t >= 1.0:
        return value, slope
    step = t * t * t * (10.0 - 15.0 * t + 6.0 * t * t)
    rise = 30.0 * t * t * (1.0 - t) * (1.0 - t)
    return value * step, slope * step - value * rise / (_REPULSION_WIDTH * min_dist)


@compiled
def add_repulsion(lane: int, species: int, functions: Any, sites: Any) -> float:
    """Half the repulsion between an atom and its neighbours; its derivatives are added."""
    energy = 0.0
    vectors, gradients = sites.vectors[lane], sites.gradients
    for other in range(len(functions.species)):
        for j in range(sites.starts[lane, other], sites.starts[lane, other + 1]):
            if vectors[3, j] < functions.min_dist:
                value, slope = repulsion(
                    vectors[3, j],
                    functions.min_dist,
                    functions.charges[species, other],
                    functions.screening[species, other],
                )
                energy += 0.5 * value
                for axis in range(3):
                    gradients[axis, j] += 0.5 * slope * vectors[axis, j] / vectors[3, j]
    return energy


@compiled
def spread(lane: int, atom: int, sites: Any, forces: Any, virial: Any) -> None:
    """Turn the derivatives of one site energy into forces and into dE/dstrain."""
    found, vectors, gradients = sites.found[lane], sites.vectors[lane], sites.gradients
    for j in range(sites.counts[lane]):
        other = found[j]
        for axis in range(3):
            g = gradients[axis, j]
            forces[atom, axis] += g
            forces[other, axis] -= g
            for along in range(3):
                virial[axis, along] += vectors[axis, j] * gradients[along, j]


@compiled
def evaluate(
    positions: Any,
    types: Any,
    pairs: Any,
    capacity: int,
    plan: Any,
    functions: Any,
    energies: Any,
    forces: Any,
    virials: Any,
    basis: Any,
) -> None:
    """Site energies, forces and dE/dstrain of configurations that share their pairs.

    Parameters
    ----------
    positions
        Shape (n_configs, n_atoms, 3), Å.
    types
        Shape (n_atoms,).
    pairs
        First pair of each atom (n_atoms + 1,), neighbour (n_pairs,) and its lattice shift
        (n_pairs, 3), Å.
    capacity
        Room for the neighbours of one atom.
    plan, functions
        The potential.
    energies, forces, virials
        Results, shapes (n_configs, n_atoms), (n_configs, n_atoms, 3) and (n_configs, 3, 3); zero
        at the start.
    basis
        Basis functions of each site, shape (n_configs, n_atoms, n_scalars); left alone if it has
        no columns.
    """
    sites = make_sites(capacity, functions, len(plan.parents))
    moments = np.zeros((plan.n_moments, LANES))
    adjoint = np.zeros((plan.n_moments, LANES))
    for config in range(len(positions)):
        for block in range(0, len(types), LANES):
            lanes = fill_block(
                block, positions[config], types, pairs, plan, functions, sites, moments
            )
            adjoint[:] = 0.0
            for a in range(len(plan.scalars)):
                adjoint[plan.scalars[a]] += functions.moments[a]
            for row in range(len(plan.factors) - 1, -1, -1):
                carry_back(row, plan, moments, adjoint)
            for lane in range(lanes):
                atom = block + lane
                energy = functions.species[types[atom]]
                for a in range(len(plan.scalars)):
                    value = moments[plan.scalars[a], lane]
                    energy += functions.moments[a] * value
                    if basis.shape[2]:
                        basis[config, atom, a] = value
                pair_gradients(lane, plan, functions, adjoint, sites)
                energies[config, atom] = energy + add_repulsion(lane, types[atom], functions, sites)
                spread(lane, atom, sites, forces[config], virials[config])
