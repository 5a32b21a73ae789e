"""A kind of potential that the package does not know: pairs, with what kinds built on torch need.

It has a device, may begin with a file, draws random numbers that no seed decides, and one of its
variants needs a package that nobody has.
"""

import secrets
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from ase.neighborlist import neighbor_list

from sscha_mlp.errors import ConfigError, FitError, InputError
from sscha_mlp.potentials.domain import require_finite, require_usable
from sscha_mlp.potentials.kind import (
    Device,
    Kind,
    LabelCounts,
    Need,
    Schedule,
    Statistic,
    Uncertainty,
)
from sscha_mlp.potentials.protocol import PotentialCalculator, Predictions
from sscha_mlp.potentials.record import (
    ModelRecord,
    RecordedModel,
    hash_files,
    is_finished,
    read_record,
    verify,
    write_record,
)
from sscha_mlp.potentials.training import elements_of, fingerprint, require_labels

WEIGHTS = "weights.npy"
DEVICES = ("cpu", "pretended-gpu")


@dataclass(frozen=True)
class ToySettings:
    """What a toy is made of."""

    cutoff: float = 4.5
    n_functions: int = 6
    ridge: float = 1.0e-8
    start: str = ""
    device: str = "cpu"

    def __post_init__(self):
        if not self.cutoff > 0:
            raise ConfigError(f"TOY setting cutoff = {self.cutoff} must be above 0.")


def pair_functions(distances, settings):
    """Return the functions of distances and their derivatives, shape (n_functions, n_pairs)."""
    x = distances / settings.cutoff
    cut, slope = (1 - x**2) ** 3, -6 * x * (1 - x**2) ** 2
    widths = (np.arange(settings.n_functions)[:, None] + 1.0) * 2.0
    peak = np.exp(-widths * x**2)
    return peak * cut, peak * (slope - 2 * widths * x * cut) / settings.cutoff


def rows_of(atoms, elements, settings):
    """Return what each weight adds to energy, forces and stress."""
    i, j, distances, vectors = neighbor_list("ijdD", atoms, settings.cutoff)
    values, slopes = pair_functions(distances, settings)
    kinds = np.searchsorted(elements, np.array(atoms.get_chemical_symbols()))
    pair = np.minimum(kinds[i], kinds[j]) * len(elements) + np.maximum(kinds[i], kinds[j])
    n = len(elements) ** 2 * settings.n_functions
    energies, forces, stresses = np.zeros(n + 2), np.zeros((n, len(atoms), 3)), np.zeros((n, 3, 3))
    for which in np.unique(pair):
        mine = pair == which
        units = vectors[mine] / distances[mine, None]
        for k in range(settings.n_functions):
            place = which * settings.n_functions + k
            energies[place] = 0.5 * values[k, mine].sum()
            along = slopes[k, mine, None] * units
            np.add.at(forces[place], i[mine], along)
            stresses[place] = 0.5 * vectors[mine].T @ along / atoms.get_volume()
    return np.append(energies[:n], np.bincount(kinds, minlength=len(elements))), forces, stresses


def fit(
    train, *, directory, settings, seed=0, n_workers=1, memory_limit=None, progress=None, start=None
):
    """Two fits to random halves of the training set, which differ as committees do."""
    del memory_limit, start
    given = KIND.read(settings)
    require_labels(train, KIND.name)
    identity = fingerprint(train, KIND.identity(asdict(given)), seed)
    if not is_finished(directory, identity, KIND.name):
        directory.mkdir(parents=True, exist_ok=True)
        np.save(directory / WEIGHTS, learn(train, given, progress or (lambda *_: None)))
        details = {"seed": seed, "n_train": len(train), "device": given.device}
        plain = {key: one for key, one in asdict(given).items() if key != "device"}
        files = (WEIGHTS,)
        sha256 = hash_files(directory, files, KIND.name)
        write_record(
            directory,
            ModelRecord(KIND.name, sha256, files, identity, plain, elements_of(train), details),
        )
    return load(directory, n_workers=n_workers)


def learn(train, settings, progress):
    elements = elements_of(train)
    blocks, targets = [], []
    for number, item in enumerate(train):
        progress(100 * number // len(train), 100)
        energies, forces, stresses = rows_of(item.atoms, elements, settings)
        label, n = item.label, len(item.atoms)
        pad = np.zeros((len(elements), 3 * n + 9))
        rest = np.concatenate([forces.reshape(len(forces), -1), 10 * stresses.reshape(-1, 9)], 1)
        blocks.append(np.vstack([energies / n * 30, np.vstack([rest, pad]).T]))
        targets.append(
            np.concatenate(
                [[label.energy / n * 30], label.forces.ravel(), 10 * label.stress.ravel()]
            )
        )
    prior = np.zeros(blocks[0].shape[1])
    if settings.start:
        prior = np.load(settings.start)
        if prior.shape != (blocks[0].shape[1],):
            raise FitError(f"{settings.start} holds {prior.size} weights; others are needed.")
    rng = np.random.default_rng(secrets.randbits(64))  # as a library that nobody seeds
    weights = []
    for _ in range(2):
        chosen = rng.permutation(len(train))[: max(2, len(train) * 3 // 4)]
        a = np.vstack([blocks[one] for one in chosen])
        b = np.concatenate([targets[one] for one in chosen]) - a @ prior
        normal = a.T @ a + settings.ridge * len(a) * np.eye(a.shape[1])
        weights.append(prior + np.linalg.solve(normal, a.T @ b))
    progress(100, 100)
    return np.array(weights)


def load(directory, *, n_workers=1):
    record = read_record(Path(directory), KIND.name)
    verify(Path(directory), record)
    return ToyPotential(Path(directory), record, n_workers)


class ToyPotential(RecordedModel):
    """The mean of two pair potentials, and how far their forces are apart."""

    @property
    def kind(self):
        return KIND.name

    @property
    def uncertainty(self):
        return KIND.uncertainty

    def evaluate(self, configurations, *, uncertainty=False):
        require_usable(configurations, self.elements, self.kind, self.path)
        weights = np.load(self.path / WEIGHTS)
        settings = KIND.read(self.settings)
        energies, forces, stresses, spread = [], [], [], []
        for index, atoms in enumerate(configurations):
            row, by_atom, by_strain = rows_of(atoms, self.elements, settings)
            n = len(by_atom)
            each = np.tensordot(weights[:, :n], by_atom, 1)
            require_finite(index, self.kind, each)
            energies.append(weights.mean(axis=0) @ row)
            forces.append(each.mean(axis=0))
            stress = np.tensordot(weights[:, :n].mean(axis=0), by_strain, 1)
            stresses.append(0.5 * (stress + stress.T))
            spread.append(np.abs(each[1] - each[0]).max())
        return Predictions(
            np.array(energies),
            tuple(forces),
            np.array(stresses).reshape(-1, 3, 3),
            np.array(spread) if uncertainty else None,
        )

    def calculator(self):
        return PotentialCalculator(self)


def presets(atoms):
    del atoms
    return {"short": {"cutoff": 3.6}, "long": {"cutoff": 5.0}}


KIND = Kind(
    name="toy",
    settings=ToySettings,
    fit=fit,
    load=load,
    presets=presets,
    uncertainty=Uncertainty("spread of two fits", "eV/Å", Statistic.QUANTILE, 5.0, 0.5),
    schedule=Schedule(need=LabelCounts(10, 4, 4, 4, 4, 8, 3, 2)),
    needs=(Need("numpy"),),
    device=Device("device", lambda: DEVICES[:1]),
    start="start",
    reproducible=False,
)

BARE = replace(KIND, name="bare", uncertainty=None, device=None, start="")
NEEDY = replace(
    KIND,
    name="needy",
    needs=(Need("no_such_torch", "no-such-torch", "pip install no-such-torch==2.13"),),
)
NOT_A_KIND = InputError
