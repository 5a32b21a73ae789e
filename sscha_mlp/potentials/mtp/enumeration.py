r"""The basis functions of an MTP of a given level, and a short way to compute them.

A basis function is a product of moment tensors contracted to a scalar (Shapeev, Multiscale Model.
Simul. 14, 1153 (2016)).  It is drawn as a multigraph: a vertex with the number mu is a moment
tensor with the radial function :math:`f_\mu`, of a rank equal to the number of edges that meet
there, and each edge is an index that two tensors share.  A graph that falls apart is the product of
its pieces.  The level of a vertex is 2 + w mu + (number of edges there), with w = 4 in MLIP, and
the level of a basis function is the sum over its vertices.

What is computed on the way, a group of vertices with some edges still open, is again a moment, with
one multi-index (a, b, c) per vertex for its open edges.  Equal intermediate moments are computed
once: they are known by their canonical form, the smallest among all orders of the vertices.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import combinations, permutations, product
from typing import Final

import numpy as np

from sscha_mlp.errors import ConfigError
from sscha_mlp.potentials.mtp.template import Template

MAX_LEVEL: Final = 28
MLIP_RADIAL_WEIGHT: Final = 4
MLIP_MAX_TENSORS: Final = 4

_MOST_TENSORS: Final = 6

Label = tuple[int, int, int, int]
"""mu and the multi-index (a, b, c) of the open edges of a vertex."""

Edges = tuple[int, ...]
"""Edges between vertices (0,1), (0,2), (1,2), (0,3), ...: the columns above the diagonal."""


@lru_cache(maxsize=16)
def make_template(
    level: int,
    *,
    radial_weight: int = MLIP_RADIAL_WEIGHT,
    max_tensors: int = MLIP_MAX_TENSORS,
    n_neighbours: int = 1,
    n_centres: int = 1,
) -> Template:
    """Return the template of all basis functions up to a level.

    Parameters
    ----------
    level
        Largest level, from 2 to 28; even, as all levels are with the weight of MLIP.
    radial_weight
        What one step in the index of the radial function costs.  With 4, MLIP's, the basis is
        the one that goes by its level there.  A smaller number gives more radial functions.
    max_tensors
        Most tensors in one basis function, that is one less than its body order; 4 in MLIP.
    n_neighbours
        Kinds of radial functions of the same order, one for each species of the neighbour: see
        :func:`channel`.
    n_centres
        The same for the species of the central atom.  Tensors of different kinds are not
        multiplied: for no atom are both of them there.

    Raises
    ------
    ConfigError
        If a number is out of range.
    """
    check_size(level, radial_weight, max_tensors)
    compiler = _Compiler()
    connected = [
        _Scalar(
            graph.level(radial_weight),
            len(graph.radial),
            centre,
            compiler.moment(_labels(radial, n_neighbours, n_centres, centre), edges),
        )
        for graph in _connected_graphs(level, radial_weight, max_tensors)
        for centre in range(n_centres)
        for radial, edges in _coloured(graph, n_neighbours)
    ]
    everything = [*connected, *_products(connected, level, max_tensors, compiler)]
    everything.sort(key=lambda one: one.level)
    return compiler.template([one.moment for one in everything])


def channel(mu: int, n_neighbours: int, n_centres: int) -> tuple[int, int, int]:
    """Return the order of radial function mu, and the kinds of its neighbour and its centre."""
    rest, centre = divmod(mu, n_centres)
    order, neighbour = divmod(rest, n_neighbours)
    return order, neighbour, centre


def _coloured(
    graph: "_Graph", n_neighbours: int
) -> Iterator[tuple[tuple[tuple[int, int], ...], Edges]]:
    """Give each vertex a species of its neighbours, in every way that differs."""
    seen = set()
    for colours in product(range(n_neighbours), repeat=len(graph.radial)):
        labels = tuple((mu, one, 0, 0) for mu, one in zip(graph.radial, colours, strict=True))
        key = _canonical(labels, graph.edges)
        if key not in seen:
            seen.add(key)
            yield tuple((label[0], label[1]) for label in key[0]), key[1]


def _labels(
    radial: tuple[tuple[int, int], ...], n_neighbours: int, n_centres: int, centre: int
) -> tuple[Label, ...]:
    """Turn orders and kinds into numbers of radial functions; :func:`channel` is the inverse."""
    return tuple(
        ((order * n_neighbours + kind) * n_centres + centre, 0, 0, 0) for order, kind in radial
    )


def check_size(level: int, radial_weight: int, max_tensors: int) -> None:
    """Check the arguments of :func:`make_template`.

    Raises
    ------
    ConfigError
        If one is out of range.
    """
    if not 2 <= level <= MAX_LEVEL:
        raise ConfigError(f"The level of an MTP is {level}; give one from 2 to {MAX_LEVEL}.")
    if radial_weight < 1 or not 1 <= max_tensors <= _MOST_TENSORS:
        raise ConfigError(
            f"An MTP cannot have radial_weight = {radial_weight} and max_tensors = {max_tensors}: "
            f"the first is at least 1, the second from 1 to {_MOST_TENSORS}."
        )


@dataclass(frozen=True)
class _Scalar:
    """A basis function: its level, number of tensors, kind of central atom, and moment."""

    level: int
    n_tensors: int
    centre: int
    moment: int


@dataclass(frozen=True)
class _Graph:
    """A graph without open edges: radial indices of its vertices, and edges."""

    radial: tuple[int, ...]
    edges: Edges

    def level(self, radial_weight: int) -> int:
        return 2 * len(self.radial) + radial_weight * sum(self.radial) + 2 * sum(self.edges)


def _connected_graphs(level: int, radial_weight: int, max_tensors: int) -> Iterator[_Graph]:
    """Connected graphs up to a level, each once, by size."""
    for n in range(1, max_tensors + 1):
        most_edges = (level - 2 * n) // 2
        if most_edges < n - 1:
            return
        for edges in _shapes(n, most_edges):
            left = (level - 2 * n - 2 * sum(edges)) // radial_weight
            seen: set[tuple[tuple[Label, ...], Edges]] = set()
            for radial in _compositions(n, left):
                key = _canonical(tuple((mu, 0, 0, 0) for mu in radial), edges)
                if key not in seen:
                    seen.add(key)
                    yield _Graph(tuple(label[0] for label in key[0]), key[1])


def _shapes(n: int, most_edges: int) -> list[Edges]:
    """Connected multigraphs of n vertices up to a number of edges, one of each shape."""
    n_pairs = n * (n - 1) // 2
    plain: tuple[Label, ...] = ((0, 0, 0, 0),) * n
    layer: set[Edges] = {(0,) * n_pairs}
    found = [edges for edges in layer if _is_connected(n, edges)]
    for _ in range(most_edges):
        grown = {
            _canonical(plain, (*edges[:pair], edges[pair] + 1, *edges[pair + 1 :]))[1]
            for edges in layer
            for pair in range(n_pairs)
        }
        layer = grown
        found.extend(sorted(edges for edges in layer if _is_connected(n, edges)))
    return found


def _is_connected(n: int, edges: Edges) -> bool:
    reached, border = {0}, [0]
    while border:
        here = border.pop()
        for other in range(n):
            if other not in reached and _between(edges, here, other):
                reached.add(other)
                border.append(other)
    return len(reached) == n


def _compositions(n: int, most: int) -> Iterator[tuple[int, ...]]:
    """All n numbers of at least 0 whose sum is at most `most`."""
    if n == 0:
        yield ()
        return
    for first in range(most + 1):
        for rest in _compositions(n - 1, most - first):
            yield (first, *rest)


def _products(
    scalars: list[_Scalar], level: int, max_tensors: int, compiler: "_Compiler"
) -> Iterator[_Scalar]:
    """Products of two and more connected scalars up to a level and a number of tensors."""
    layer = list(enumerate(scalars))
    while layer:
        grown = []
        for place, one in layer:
            for other in range(place, len(scalars)):
                total = one.level + scalars[other].level
                n_tensors = one.n_tensors + scalars[other].n_tensors
                alike = one.centre == scalars[other].centre
                if alike and total <= level and n_tensors <= max_tensors:
                    moment = compiler.multiply(one.moment, scalars[other].moment)
                    grown.append((other, _Scalar(total, n_tensors, one.centre, moment)))
        yield from (one for _, one in grown)
        layer = grown


def _pair(i: int, j: int) -> int:
    """Place of the edge between two different vertices."""
    low, high = (i, j) if i < j else (j, i)
    return high * (high - 1) // 2 + low


def _between(edges: Edges, i: int, j: int) -> int:
    return 0 if i == j else edges[_pair(i, j)]


@lru_cache(maxsize=1 << 18)
def _canonical(labels: tuple[Label, ...], edges: Edges) -> tuple[tuple[Label, ...], Edges]:
    """Return the smallest form of a labelled graph among all orders of its vertices."""
    n = len(labels)
    order = sorted(range(n), key=lambda v: (labels[v], _signature(edges, v, n, labels)))
    groups: list[list[int]] = []
    for v in order:
        same = groups and _key(labels, edges, groups[-1][0], n) == _key(labels, edges, v, n)
        if same:
            groups[-1].append(v)
        else:
            groups.append([v])
    best: Edges | None = None
    for choice in product(*(permutations(group) for group in groups)):
        flat = [v for group in choice for v in group]
        moved = tuple(edges[_pair(flat[i], flat[j])] for j in range(n) for i in range(j))
        if best is None or moved < best:
            best = moved
    assert best is not None
    return tuple(labels[v] for v in order), best


def _key(labels: tuple[Label, ...], edges: Edges, v: int, n: int) -> tuple[object, ...]:
    return labels[v], _signature(edges, v, n, labels)


def _signature(
    edges: Edges, v: int, n: int, labels: tuple[Label, ...]
) -> tuple[tuple[int, Label], ...]:
    """What a vertex sees of its neighbours: it does not depend on the order of the vertices."""
    seen = ((_between(edges, v, w), labels[w]) for w in range(n))
    return tuple(sorted(one for one in seen if one[0]))


@lru_cache(maxsize=1 << 12)
def _multi_indices(rank: int) -> tuple[tuple[tuple[int, int, int], int], ...]:
    """Multi-indices (a, b, c) of a rank with the number of orders that each stands for."""
    total = math.factorial(rank)
    return tuple(
        (
            (a, b, rank - a - b),
            total // (math.factorial(a) * math.factorial(b) * math.factorial(rank - a - b)),
        )
        for a in range(rank, -1, -1)
        for b in range(rank - a, -1, -1)
    )


@dataclass
class _Compiler:
    """Turns graphs into moments and products, each made once."""

    basic: list[Label] = field(default_factory=list)
    rows: list[tuple[int, int, int, int]] = field(default_factory=list)
    known: dict[tuple[tuple[Label, ...], Edges], int] = field(default_factory=dict)
    pairs: dict[tuple[int, int], int] = field(default_factory=dict)
    n_moments: int = 0

    def _new(self) -> int:
        self.n_moments += 1
        return self.n_moments - 1

    def multiply(self, i: int, j: int) -> int:
        """Return the product of two scalar moments."""
        key = (min(i, j), max(i, j))
        if key not in self.pairs:
            self.pairs[key] = self._new()
            self.rows.append((*key, 1, self.pairs[key]))
        return self.pairs[key]

    def moment(self, labels: tuple[Label, ...], edges: Edges) -> int:
        """Return the moment of a group of vertices with its open edges."""
        labels, edges = _canonical(labels, edges)
        key = (labels, edges)
        if key in self.known:
            return self.known[key]
        if len(labels) == 1:
            index = self._new()
            self.basic.append((*labels[0][:1], *labels[0][1:]))
            self.known[key] = index
            self._basic_index[index] = len(self.basic) - 1
            return index
        terms = self._contract(labels, edges)
        index = self._new()
        self.known[key] = index
        self.rows.extend((i, j, factor, index) for (i, j), factor in sorted(terms.items()))
        return index

    _basic_index: dict[int, int] = field(default_factory=dict)

    def _contract(self, labels: tuple[Label, ...], edges: Edges) -> dict[tuple[int, int], int]:
        """Cut the graph in two and sum over the indices that the halves share."""
        ranks = tuple((label[0], sum(label[1:])) for label in labels)
        left = _best_cut(ranks, edges)[1]
        right = tuple(v for v in range(len(labels)) if v not in left)
        links = [(u, v) for u in left for v in right if _between(edges, u, v)]
        terms: dict[tuple[int, int], int] = {}
        for choice in product(*(_multi_indices(_between(edges, u, v)) for u, v in links)):
            open_labels = [list(label) for label in labels]
            factor = 1
            for (u, v), (powers, count) in zip(links, choice, strict=True):
                factor *= count
                for axis, power in enumerate(powers, start=1):
                    open_labels[u][axis] += power
                    open_labels[v][axis] += power
            i, j = (self._part(open_labels, edges, half) for half in (left, right))
            key = (min(i, j), max(i, j))
            terms[key] = terms.get(key, 0) + factor
        return terms

    def _part(self, labels: list[list[int]], edges: Edges, half: tuple[int, ...]) -> int:
        chosen = tuple((labels[v][0], labels[v][1], labels[v][2], labels[v][3]) for v in half)
        return self.moment(chosen, _inside(edges, half))

    def template(self, scalars: list[int]) -> Template:
        """Number the basic moments first, as the file format wants it."""
        order = sorted(self._basic_index, key=lambda index: _basic_order(self._label(index)))
        rest = [index for index in range(self.n_moments) if index not in self._basic_index]
        number = {old: new for new, old in enumerate([*order, *rest])}
        rows = [(number[i], number[j], factor, number[k]) for i, j, factor, k in self.rows]
        return Template(
            basic=np.array([self._label(index) for index in order]),
            products=np.array(rows).reshape(-1, 4),
            scalars=np.array([number[index] for index in scalars]),
            n_moments=self.n_moments,
        )

    def _label(self, index: int) -> Label:
        return self.basic[self._basic_index[index]]


def _basic_order(label: Label) -> tuple[int, ...]:
    mu, a, b, c = label
    return mu, a + b + c, -a, -b


def _inside(edges: Edges, half: tuple[int, ...]) -> Edges:
    return tuple(_between(edges, half[i], half[j]) for j in range(len(half)) for i in range(j))


@lru_cache(maxsize=1 << 16)
def _best_cut(ranks: tuple[tuple[int, int], ...], edges: Edges) -> tuple[int, tuple[int, ...]]:
    """Return the fewest products that a tensor takes, sharing apart, and the cut to begin with.

    Parameters
    ----------
    ranks
        Radial index and number of open edges of each vertex.
    edges
        Those inside.
    """
    n = len(ranks)
    if n == 1:
        return 0, ()
    best: tuple[int, tuple[int, ...]] | None = None
    components = math.prod(_n_multi_indices(rank) for _, rank in ranks)
    for size in range(1, n // 2 + 1):
        for right in combinations(range(n), size):
            left = tuple(v for v in range(n) if v not in right)
            crossing = [_between(edges, u, v) for u in left for v in right]
            cost = components * math.prod(_n_multi_indices(rank) for rank in crossing)
            for half, other in ((left, right), (right, left)):
                inner = tuple(
                    (ranks[v][0], ranks[v][1] + sum(_between(edges, v, w) for w in other))
                    for v in half
                )
                cost += _best_cut(inner, _inside(edges, half))[0]
            if best is None or cost < best[0]:
                best = (cost, left)
    assert best is not None
    return best


def _n_multi_indices(rank: int) -> int:
    return (rank + 1) * (rank + 2) // 2
