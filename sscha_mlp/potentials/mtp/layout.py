"""A template and its parameters as flat arrays, in the layout that the compiled loops want."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sscha_mlp.potentials.mtp.parameters import Parameters
from sscha_mlp.potentials.mtp.template import Template

_COULOMB: Final = 14.399645
"""Square of the elementary charge over 4 pi epsilon_0, eV Å."""

_BOHR: Final = 0.529177


class Plan(NamedTuple):
    """A template as arrays for the loops.

    ``radial_index`` and ``monomial_of``, shape (n_basic,), say what a basic moment is made of.
    Monomial m is that of number ``parents[m]`` times the component ``axes[m]``; its powers are
    ``exponents[m]``, and ``lowered[m]`` are the monomials with one power less.
    ``first``, ``items`` and ``walked`` list the basic moments by monomial.
    """

    radial_index: Any
    monomial_of: Any
    parents: Any
    axes: Any
    exponents: Any
    lowered: Any
    first: Any
    items: Any
    walked: Any
    products: Any
    factors: Any
    scalars: Any
    n_moments: int


class Functions(NamedTuple):
    """The parameters of a potential as arrays for the loops.

    Between an atom of species s and its neighbours, radial function mu vanishes but for those of
    the species from ``spans[s, mu, 0]`` to below ``spans[s, mu, 1]``.
    ``charges`` and ``screening``, shape (n_species, n_species), belong to the repulsion: products
    of the nuclear charges (eV Å) and screening lengths (Å).
    """

    radial: Any
    spans: Any
    species: Any
    moments: Any
    min_dist: float
    max_dist: float
    charges: Any
    screening: Any


class Programs(NamedTuple):
    """What each basis function depends on: parts of a :class:`Plan`, one after the other.

    Basis function a uses the products ``rows[row_first[a]:row_first[a + 1]]``, last one first, the
    moments ``touched[...]``, and of these the basic moments ``items[...]``.
    """

    row_first: Any
    rows: Any
    touched_first: Any
    touched: Any
    item_first: Any
    items: Any


class Reach(NamedTuple):
    """Which radial functions matter to a moment, so that derivatives by the others are skipped.

    Moment k depends on the radial functions from ``forward[k, 0]`` to below ``forward[k, 1]``; the
    derivative of the site energy by it on those from ``backward[k, 0]`` to below
    ``backward[k, 1]``.  ``order`` lists the basic moments so that the derivatives by the first
    ``counts[mu]`` are all that depend on radial function mu.
    """

    forward: Any
    backward: Any
    order: Any
    counts: Any


class Sites(NamedTuple):
    """Room for the neighbours of one block of atoms; the leading axis is the lane.

    ``vectors`` has the rows x, y, z and distance; neighbours of species t are those from
    ``starts[t]`` to ``starts[t + 1]``.  The last three serve one atom at a time: polynomials and
    their derivatives, scratch rows, and derivatives of an energy by the vectors.
    """

    counts: Any
    species: Any
    found: Any
    starts: Any
    vectors: Any
    values: Any
    slopes: Any
    units: Any
    powers: Any
    chebyshev: Any
    work: Any
    gradients: Any


def make_functions(parameters: Parameters) -> Functions:
    """Arrange the parameters of a potential for the loops."""
    charge = np.array(parameters.species, dtype=np.float64)
    reach = charge**0.23
    return Functions(
        np.ascontiguousarray(parameters.scaling * parameters.radial_coeffs),
        _spans(parameters.radial_coeffs),
        np.array(parameters.species_coeffs),
        np.array(parameters.moment_coeffs),
        float(parameters.min_dist),
        float(parameters.max_dist),
        _COULOMB * charge[:, None] * charge[None, :],
        0.88534 * _BOHR / np.maximum(reach[:, None] + reach[None, :], 1.0),
    )


def _spans(radial_coeffs: NDArray[np.float64]) -> NDArray[np.int64]:
    """Find the species of neighbours for which a radial function is there, and skip the rest."""
    there = np.any(radial_coeffs != 0.0, axis=3)
    n_species = there.shape[1]
    first = np.argmax(there, axis=1)
    last = n_species - np.argmax(there[:, ::-1], axis=1)
    return np.stack([first, np.where(there.any(axis=1), last, first)], axis=2).astype(np.int64)


@lru_cache(maxsize=32)
def make_plan(template: Template) -> Any:
    """Arrange a template for the loops."""
    powers = _all_monomials(int(template.basic[:, 1:].sum(axis=1).max()))
    place = {power: index for index, power in enumerate(powers)}
    parents, axes, lowered = _monomial_steps(powers, place)
    monomial_of = np.array([place[tuple(row)] for row in template.basic[:, 1:].tolist()])
    order = np.argsort(monomial_of, kind="stable")
    walked, first = np.unique(monomial_of[order], return_index=True)
    return Plan(
        np.array(template.basic[:, 0]),
        monomial_of,
        parents,
        axes,
        np.array(powers),
        lowered,
        np.append(first, len(order)),
        order,
        walked,
        np.ascontiguousarray(template.products[:, [0, 1, 3]]),
        template.products[:, 2].astype(np.float64),
        np.array(template.scalars),
        int(template.n_moments),
    )


def _all_monomials(rank: int) -> list[tuple[int, int, int]]:
    """Powers (a, b, c) up to a rank, lower ranks first."""
    return [
        (a, b, total - a - b)
        for total in range(rank + 1)
        for a in range(total, -1, -1)
        for b in range(total - a, -1, -1)
    ]


def _monomial_steps(
    powers: Sequence[tuple[int, int, int]], place: dict[tuple[int, int, int], int]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return how each monomial is made from an earlier one, and those of one power less."""
    lowered = np.zeros((len(powers), 3), dtype=np.int64)
    parents, axes = np.zeros(len(powers), dtype=np.int64), np.zeros(len(powers), dtype=np.int64)
    for index, power in enumerate(powers):
        for axis in (2, 1, 0):
            if power[axis]:
                less = tuple(p - (k == axis) for k, p in enumerate(power))
                lowered[index, axis] = place[less]  # type: ignore[index]
                parents[index], axes[index] = lowered[index, axis], axis
    return parents, axes, lowered


@lru_cache(maxsize=32)
def make_programs(template: Template) -> Any:
    """Find what each basis function depends on."""
    makers: list[list[int]] = [[] for _ in range(template.n_moments)]
    for row, (_, _, _, k) in enumerate(template.products.tolist()):
        makers[k].append(row)
    rows: list[int] = []
    touched: list[int] = []
    items: list[int] = []
    row_first, touched_first, item_first = [0], [0], [0]
    for scalar in template.scalars.tolist():
        used, seen = _reached(scalar, makers, template.products)
        rows.extend(used)
        touched.extend(seen)
        items.extend(k for k in seen if k < template.n_basic)
        row_first.append(len(rows))
        touched_first.append(len(touched))
        item_first.append(len(items))
    lists = (row_first, rows, touched_first, touched, item_first, items)
    return Programs(*(np.array(one, dtype=np.int64) for one in lists))


@lru_cache(maxsize=32)
def make_reach(template: Template) -> Any:
    """Find which radial functions each moment and the derivative by it depend on."""
    n, n_radial = template.n_moments, template.n_radial
    forward = np.tile([n_radial, 0], (n, 1))
    forward[: template.n_basic] = template.basic[:, :1] + [0, 1]
    backward = np.tile([n_radial, 0], (n, 1))
    for i, j, _, k in template.products.tolist():
        _widen(forward[k], forward[i])
        _widen(forward[k], forward[j])
    for i, j, _, k in template.products[::-1].tolist():
        for one, other in ((i, j), (j, i)):
            _widen(backward[one], backward[k])
            _widen(backward[one], forward[other])
    last = backward[: template.n_basic, 1]
    counts = np.array([np.count_nonzero(last > mu) for mu in range(n_radial)], dtype=np.int64)
    for spans in (forward, backward):
        spans[spans[:, 0] >= spans[:, 1]] = 0
    return Reach(
        forward.astype(np.int64),
        backward.astype(np.int64),
        np.argsort(-last, kind="stable"),
        counts,
    )


def _widen(span: NDArray[np.int64], other: NDArray[np.int64]) -> None:
    """Make a span hold another one."""
    span[0], span[1] = min(span[0], other[0]), max(span[1], other[1])


def _reached(
    scalar: int, makers: Sequence[Sequence[int]], products: NDArray[np.int64]
) -> tuple[list[int], list[int]]:
    """Return the products under a moment, last first, and the moments that they touch."""
    seen, border, rows = {scalar}, [scalar], []
    while border:
        for row in makers[border.pop()]:
            rows.append(row)
            for factor in products[row, :2].tolist():
                if factor not in seen:
                    seen.add(factor)
                    border.append(factor)
    return sorted(rows, reverse=True), sorted(seen)
