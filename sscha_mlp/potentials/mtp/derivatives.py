"""The compiled loops of a fit: derivatives with respect to the coefficients.

Energies, forces and dE/dstrain are linear in the moment coefficients and polynomials in the radial
coefficients.  Both kinds of derivative are sums over the basic moments of an atom: of the
derivative of each by the vectors to the neighbours, which is the same for all coefficients, times
a number for each coefficient.  So the former are computed once per atom, and what is left is a
product of matrices.

For a moment coefficient the numbers are the derivatives of its basis function by the basic moments,
taken in reverse.  For a radial coefficient they are the changes of the derivatives of the site
energy, taken forward over reverse (Griewank and Walther, Evaluating Derivatives, SIAM 2008).
"""

from typing import Any, Final

import numpy as np

from sscha_mlp.potentials.mtp.kernels import (
    LANES,
    carry_back,
    compiled,
    fill_block,
    make_sites,
    polynomials,
    span,
)

KERNELS: Final = "07342d3de5d8f20c"
"""Beginning of the SHA-256 of ``kernels.py``: numba compiles this file again only if it changes,
and it has the functions of that file compiled in."""


@compiled
def differentiate(
    positions: Any,
    types: Any,
    pairs: Any,
    capacity: int,
    plan: Any,
    functions: Any,
    programs: Any,
    basis: Any,
    force_rows: Any,
    virial_rows: Any,
) -> None:
    """Derivatives with respect to the moment coefficients: the design matrix of a linear fit.

    The first arguments are those of :func:`sscha_mlp.potentials.mtp.kernels.evaluate`, and:

    Parameters
    ----------
    programs
        What each basis function depends on.
    basis
        Result, shape (n_configs, n_atoms, n_scalars).
    force_rows
        Result, shape (n_configs, n_scalars, n_atoms, 3); zero at the start.
    virial_rows
        Result, shape (n_configs, n_scalars, 3, 3); zero at the start.
    """
    sites = make_sites(capacity, functions, len(plan.parents))
    moments = np.zeros((plan.n_moments, LANES))
    adjoint = np.zeros((plan.n_moments, LANES))
    weights = np.zeros((len(programs.items), LANES))
    angular = np.zeros((len(plan.parents), 3 * capacity))
    slopes = np.zeros((len(plan.radial_index), 3 * capacity))
    row = np.zeros(3 * capacity)
    order = np.arange(len(plan.radial_index))
    for config in range(len(positions)):
        for block in range(0, len(types), LANES):
            lanes = fill_block(
                block, positions[config], types, pairs, plan, functions, sites, moments
            )
            run_programs(plan, programs, moments, adjoint, weights)
            for lane in range(lanes):
                atom = block + lane
                moment_slopes(lane, order, plan, functions, sites, angular, slopes)
                for a in range(len(plan.scalars)):
                    basis[config, atom, a] = moments[plan.scalars[a], lane]
                    combine(lane, a, programs, plan, functions, sites, weights, slopes, row)
                    spread_row(
                        lane, atom, row, sites, force_rows[config, a], virial_rows[config, a]
                    )


@compiled
def run_programs(plan: Any, programs: Any, moments: Any, adjoint: Any, weights: Any) -> None:
    """Derivatives of each basis function with respect to the basic moments that it touches."""
    for a in range(len(plan.scalars)):
        for place in range(programs.touched_first[a], programs.touched_first[a + 1]):
            adjoint[programs.touched[place]] = 0.0
        adjoint[plan.scalars[a]] = 1.0
        for place in range(programs.row_first[a], programs.row_first[a + 1]):
            carry_back(programs.rows[place], plan, moments, adjoint)
        for place in range(programs.item_first[a], programs.item_first[a + 1]):
            weights[place] = adjoint[programs.items[place]]


@compiled
def moment_slopes(
    lane: int, order: Any, plan: Any, functions: Any, sites: Any, angular: Any, slopes: Any
) -> None:
    """Derivatives of the basic moments of an atom with respect to the vectors to its neighbours.

    Those of basic moment ``order[k]`` are ``slopes[k]``, all x first, then y, then z; zero where
    its radial function is not there.
    """
    n = sites.counts[lane]
    angular_slopes(lane, plan, sites, angular)
    units = sites.units[lane]
    for place in range(len(order)):
        k = order[place]
        mu, monomial = plan.radial_index[k], plan.monomial_of[k]
        value, slope, power = sites.values[lane, mu], sites.slopes[lane, mu], sites.powers[lane]
        begin, end = span(lane, mu, functions, sites)
        found = slopes[place]
        if end - begin < n:
            found[: 3 * n] = 0.0
        for axis in range(3):
            row, turn = found[axis * n : (axis + 1) * n], angular[monomial, axis * n : 3 * n]
            for j in range(begin, end):
                row[j] = slope[j] * power[monomial, j] * units[axis, j] + value[j] * turn[j]


@compiled
def angular_slopes(lane: int, plan: Any, sites: Any, angular: Any) -> None:
    """Derivatives of the monomials of unit vectors with respect to the vectors themselves."""
    n, units, powers = sites.counts[lane], sites.units[lane], sites.powers[lane]
    inverse = sites.work[0]
    for j in range(n):
        inverse[j] = 1.0 / sites.vectors[lane, 3, j]
    for monomial in range(len(plan.parents)):
        power, rank = powers[monomial], 0.0
        for axis in range(3):
            rank += plan.exponents[monomial, axis]
        for axis in range(3):
            count, lower = plan.exponents[monomial, axis], powers[plan.lowered[monomial, axis]]
            row = angular[monomial, axis * n : (axis + 1) * n]
            for j in range(n):
                row[j] = (count * lower[j] - rank * power[j] * units[axis, j]) * inverse[j]


@compiled
def combine(
    lane: int,
    a: int,
    programs: Any,
    plan: Any,
    functions: Any,
    sites: Any,
    weights: Any,
    slopes: Any,
    row: Any,
) -> None:
    """Derivatives of basis function a with respect to the vectors, from those of the moments."""
    n = sites.counts[lane]
    for c in range(3 * n):
        row[c] = 0.0
    for place in range(programs.item_first[a], programs.item_first[a + 1]):
        k, weight = programs.items[place], weights[place, lane]
        begin, end = span(lane, plan.radial_index[k], functions, sites)
        slope = slopes[k]
        if end - begin == n:
            for c in range(3 * n):
                row[c] += weight * slope[c]
        else:
            for axis in range(3):
                for c in range(axis * n + begin, axis * n + end):
                    row[c] += weight * slope[c]


@compiled
def spread_row(lane: int, atom: int, row: Any, sites: Any, forces: Any, virial: Any) -> None:
    """Turn derivatives of what is invariant under rotation into forces and into dE/dstrain."""
    n, found, vectors = sites.counts[lane], sites.found[lane], sites.vectors[lane]
    for axis in range(3):
        part, total = row[axis * n : (axis + 1) * n], 0.0
        for j in range(n):
            total += part[j]
        for j in range(n):
            forces[found[j], axis] -= part[j]
        forces[atom, axis] += total
        for along in range(axis, 3):
            other, total = vectors[along], 0.0
            for j in range(n):
                total += other[j] * part[j]
            virial[axis, along] += total
            if along > axis:
                virial[along, axis] += total


@compiled
def differentiate_radial(
    positions: Any,
    types: Any,
    pairs: Any,
    capacity: int,
    plan: Any,
    functions: Any,
    reach: Any,
    columns: Any,
    energy_rows: Any,
    force_rows: Any,
    virial_rows: Any,
) -> None:
    """Derivatives with respect to the radial coefficients, at fixed moment coefficients.

    The first arguments are those of :func:`sscha_mlp.potentials.mtp.kernels.evaluate`, and:

    Parameters
    ----------
    reach
        Which radial functions each moment and its derivative depend on.
    columns
        Place of the derivative by each radial coefficient among the results, shape (n_species,
        n_species, n_radial, n_polynomials); negative where it is not wanted.
    energy_rows
        Result, shape (n_configs, n_columns); zero at the start, as the others are.
    force_rows
        Result, shape (n_configs, n_columns, n_atoms, 3).
    virial_rows
        Result, shape (n_configs, n_columns, 3, 3).
    """
    n_species, n_radial, n_polynomials = columns.shape[1], columns.shape[2], columns.shape[3]
    width = n_species * n_polynomials
    sites = make_sites(capacity, functions, len(plan.parents))
    moments = np.zeros((plan.n_moments, LANES))
    adjoint = np.zeros((plan.n_moments, LANES))
    angular = np.zeros((len(plan.parents), 3 * capacity))
    store = np.zeros(len(plan.radial_index) * 3 * capacity)
    sums = np.zeros((len(plan.parents), width, LANES))
    forward = np.zeros((plan.n_moments, n_radial * width, LANES))
    backward = np.zeros((plan.n_moments, n_radial * width, LANES))
    for config in range(len(positions)):
        for block in range(0, len(types), LANES):
            lanes = fill_block(
                block, positions[config], types, pairs, plan, functions, sites, moments
            )
            adjoint[:] = 0.0
            for a in range(len(plan.scalars)):
                adjoint[plan.scalars[a]] += functions.moments[a]
            for product in range(len(plan.factors) - 1, -1, -1):
                carry_back(product, plan, moments, adjoint)
            for lane in range(lanes):
                polynomial_sums(lane, functions, sites, sums)
            go_forward(width, plan, reach, moments, sums, forward)
            go_backward(width, plan, reach, moments, adjoint, forward, backward)
            for lane in range(lanes):
                atom = block + lane
                size = 3 * sites.counts[lane]
                slopes = store[: len(reach.order) * size].reshape((len(reach.order), size))
                moment_slopes(lane, reach.order, plan, functions, sites, angular, slopes)
                polynomials(sites.counts[lane], sites.vectors[lane, 3], functions, sites)
                for mu in range(n_radial):
                    rows = radial_rows(lane, mu, width, reach, backward, slopes)
                    add_own_slopes(lane, mu, plan, functions, sites, adjoint, angular, rows)
                    energies = own_sums(lane, mu, plan, adjoint, sums)
                    for c in range(width):
                        other, n = c // n_polynomials, c % n_polynomials
                        column = columns[types[atom], other, mu, n]
                        if column >= 0:
                            energy_rows[config, column] += energies[c]
                            spread_row(
                                lane,
                                atom,
                                rows[c],
                                sites,
                                force_rows[config, column],
                                virial_rows[config, column],
                            )


@compiled
def polynomial_sums(lane: int, functions: Any, sites: Any, sums: Any) -> None:
    """Basic moments of each monomial with each polynomial as radial function.

    Column ``t * n_polynomials + n`` sums polynomial n over the neighbours of species t.
    """
    n_polynomials, starts = functions.radial.shape[3], sites.starts[lane]
    n = sites.counts[lane]
    polynomials(n, sites.vectors[lane, 3], functions, sites)
    values = np.zeros((n, sums.shape[1]))
    for other in range(len(starts) - 1):
        for order in range(n_polynomials):
            for j in range(starts[other], starts[other + 1]):
                values[j, other * n_polynomials + order] = sites.chebyshev[0, order, j]
    sums[:, :, lane] = np.dot(np.ascontiguousarray(sites.powers[lane, :, :n]), values)


@compiled
def go_forward(width: int, plan: Any, reach: Any, moments: Any, sums: Any, forward: Any) -> None:
    """Derivatives of the moments with respect to the radial coefficients, ``width`` for each mu."""
    for k in range(plan.n_moments):
        forward[k, reach.forward[k, 0] * width : reach.forward[k, 1] * width] = 0.0
    for k in range(len(plan.radial_index)):
        first = plan.radial_index[k] * width
        forward[k, first : first + width] = sums[plan.monomial_of[k]]
    for product in range(len(plan.factors)):
        i, j, k = plan.products[product, 0], plan.products[product, 1], plan.products[product, 2]
        factor = plan.factors[product]
        add_scaled(factor, moments[j], forward[i], forward[k], reach.forward[i], width)
        add_scaled(factor, moments[i], forward[j], forward[k], reach.forward[j], width)


@compiled
def go_backward(
    width: int,
    plan: Any,
    reach: Any,
    moments: Any,
    adjoint: Any,
    forward: Any,
    backward: Any,
) -> None:
    """Derivatives of those of the site energy by the moments with respect to the coefficients."""
    for k in range(plan.n_moments):
        backward[k, reach.backward[k, 0] * width : reach.backward[k, 1] * width] = 0.0
    for product in range(len(plan.factors) - 1, -1, -1):
        i, j, k = plan.products[product, 0], plan.products[product, 1], plan.products[product, 2]
        factor, above = plan.factors[product], reach.backward[k]
        add_scaled(factor, moments[j], backward[k], backward[i], above, width)
        add_scaled(factor, adjoint[k], forward[j], backward[i], reach.forward[j], width)
        add_scaled(factor, moments[i], backward[k], backward[j], above, width)
        add_scaled(factor, adjoint[k], forward[i], backward[j], reach.forward[i], width)


@compiled
def add_scaled(
    factor: float, scales: Any, source: Any, target: Any, functions: Any, width: int
) -> None:
    """Add a multiple of the columns of some radial functions, a number for each lane."""
    for c in range(functions[0] * width, functions[1] * width):
        for lane in range(LANES):
            target[c, lane] += factor * scales[lane] * source[c, lane]


@compiled
def radial_rows(lane: int, mu: int, width: int, reach: Any, backward: Any, slopes: Any) -> Any:
    """Derivatives by the vectors of those by the coefficients of mu, as far as through moments.

    Shape (width, 3 n_neighbours).
    """
    count = reach.counts[mu]
    weights = np.empty((width, count))
    for place in range(count):
        for c in range(width):
            weights[c, place] = backward[reach.order[place], mu * width + c, lane]
    return np.dot(weights, slopes[:count])


@compiled
def add_own_slopes(
    lane: int,
    mu: int,
    plan: Any,
    functions: Any,
    sites: Any,
    adjoint: Any,
    angular: Any,
    rows: Any,
) -> None:
    """Add what the radial coefficients of mu do to the derivatives of its own moments."""
    n, starts, units = sites.counts[lane], sites.starts[lane], sites.units[lane]
    straight, turns = sites.work[0], sites.gradients
    straight[:n] = 0.0
    turns[:, :n] = 0.0
    for k in range(len(plan.radial_index)):
        if plan.radial_index[k] == mu:
            weight, monomial = adjoint[k, lane], plan.monomial_of[k]
            power, turn = sites.powers[lane, monomial], angular[monomial]
            for j in range(n):
                straight[j] += weight * power[j]
            for axis in range(3):
                for j in range(n):
                    turns[axis, j] += weight * turn[axis * n + j]
    n_polynomials = functions.radial.shape[3]
    for c in range(len(rows)):
        other = c // n_polynomials
        value = sites.chebyshev[0, c % n_polynomials]
        slope = sites.chebyshev[1, c % n_polynomials]
        for axis in range(3):
            row = rows[c, axis * n : (axis + 1) * n]
            for j in range(starts[other], starts[other + 1]):
                row[j] += slope[j] * straight[j] * units[axis, j] + value[j] * turns[axis, j]


@compiled
def own_sums(lane: int, mu: int, plan: Any, adjoint: Any, sums: Any) -> Any:
    """Derivatives of the site energy with respect to the radial coefficients of mu."""
    energies = np.zeros(sums.shape[1])
    for k in range(len(plan.radial_index)):
        if plan.radial_index[k] == mu:
            weight, row = adjoint[k, lane], sums[plan.monomial_of[k]]
            for c in range(len(energies)):
                energies[c] += weight * row[c, lane]
    return energies
