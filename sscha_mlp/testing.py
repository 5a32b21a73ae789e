"""A public conformance kit: does a kind of potential keep what the rest of the package relies on.

    from sscha_mlp.testing import check_potential

    def test_my_kind(tmp_path):
        check_potential(MY_KIND, tmp_path, settings={"cutoff": 4.0})

Labels are of Cu and Au with ASE's EMT: the fits need not be good, they must be consistent.
"""

import contextlib
import copy
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from ase import Atoms
from ase.calculators.emt import EMT
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from sscha_mlp.data.labels import Label, LabelledConfiguration
from sscha_mlp.errors import ConfigError, InputError, ModelError, SschaMlpError
from sscha_mlp.potentials.kind import Kind
from sscha_mlp.potentials.protocol import Potential, Predictions
from sscha_mlp.potentials.registry import MARKER
from sscha_mlp.tables import Shown, Table

FloatArray = NDArray[np.float64]

_STEP: Final = 1.0e-3
_BATCH: Final = 1.0e-9


@dataclass(frozen=True)
class Conformance(Shown):
    """What was checked of a kind of potential.

    Parameters
    ----------
    kind
        Its name.
    passed
        Names of the checks that it passed.
    failed
        Name of a check and what was wrong.
    """

    kind: str
    passed: tuple[str, ...]
    failed: Mapping[str, str]

    def table(self) -> Table:
        """Return each check and its outcome."""
        rows = [(name, "passed") for name in self.passed]
        return Table(f"Conformance of the kind {self.kind}", (*rows, *self.failed.items()))


def check_potential(
    kind: Kind,
    directory: Path,
    *,
    settings: Mapping[str, Any] | None = None,
    tolerance: float = 1.0e-5,
) -> Conformance:
    """Fit a kind of potential to toy labels, and check what the package relies on.

    Forces and stress are derivatives of the energy; energy, forces and stress follow translations,
    rotations and permutations; a batch is its configurations one by one; inputs are not changed; a
    fit is loaded again and found again, by its content wherever it lies; labels, settings and
    configurations that cannot be used are refused; Ctrl-C ends a fit, and the next one works; no
    file lies outside the directory of the model.

    Parameters
    ----------
    kind
        The kind.
    directory
        An empty directory for the fits.
    settings
        Hyper-parameters with which a fit takes a moment; those of its defaults by default.
    tolerance
        Largest error of a derivative or of a symmetry, as a part of the largest force or stress:
        raise it for kinds that compute with 32 bits.

    Raises
    ------
    AssertionError
        If a check failed; the message names each.
    """
    bench = _Bench(kind, directory.absolute(), dict(settings or {}), tolerance)
    passed, failed = [], {}
    for name, check in _CHECKS.items():
        try:
            check(bench)
        except Exception as err:  # noqa: BLE001 -- whatever a kind raises is a finding
            failed[name] = f"{type(err).__name__}: {err}"
        else:
            passed.append(name)
    if failed:
        text = "; ".join(f"{name}: {why}" for name, why in failed.items())
        raise AssertionError(f"The kind of potential {kind.name!r} does not conform: {text}")
    return Conformance(kind.name, tuple(passed), failed)


def toy_labels(n: int = 8, *, seed: int = 0) -> tuple[LabelledConfiguration, ...]:
    """Return configurations of 16 atoms of CuAu, displaced and strained, with labels of EMT."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(n):
        atoms = Atoms("CuAu", positions=[[0, 0, 0], [1.55, 1.55, 1.55]], cell=3 * [3.1], pbc=True)
        atoms = atoms.repeat(2)
        atoms.set_cell(atoms.cell @ (np.eye(3) + rng.normal(0, 0.01, (3, 3))), scale_atoms=True)
        atoms.positions += rng.normal(0, 0.06, (16, 3))
        found.append(_labelled(atoms))
    return tuple(found)


def _labelled(atoms: Atoms) -> LabelledConfiguration:
    bare = atoms.copy()
    bare.calc = EMT()
    label = Label(bare.get_potential_energy(), bare.get_forces(), bare.get_stress(voigt=False))
    return LabelledConfiguration(
        atoms=atoms, label=label, temperature=None, displacement_rms=None, origin="toy"
    )


class _Bench:
    """A kind, its labels, and one fit that most checks look at."""

    def __init__(
        self, kind: Kind, directory: Path, settings: dict[str, Any], tolerance: float
    ) -> None:
        self.kind, self.directory, self.settings = kind, directory, settings
        self.tolerance = tolerance
        self.train = toy_labels()
        self.test = [item.atoms for item in toy_labels(3, seed=1)]
        self.model_directory = directory / "model"
        self._model: Potential | None = None

    def fit(
        self,
        name: str,
        train: Sequence[LabelledConfiguration] | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Potential:
        """Fit in a directory of this name."""
        found: Potential = self.kind.fit(
            self.train if train is None else train,
            directory=self.directory / name,
            settings=dict(self.settings),
            seed=0,
            n_workers=1,
            memory_limit=None,
            progress=progress,
            start=None,
        )
        return found

    @property
    def model(self) -> Potential:
        """The fit that most checks look at."""
        if self._model is None:
            self._model = self.fit("model")
        return self._model

    def one(self, atoms: Atoms) -> Predictions:
        """Evaluate one configuration."""
        return self.model.evaluate([atoms])

    def close(self, found: Any, expected: Any, what: str, scale: float = 1.0) -> None:
        """Require that numbers agree within the tolerance of a scale."""
        error = float(np.abs(np.asarray(found) - np.asarray(expected)).max())
        limit = self.tolerance * max(scale, 1.0e-3)
        assert error <= limit, f"{what} is off by {error:.2g}, more than {limit:.2g}"


def _derivative(energy: Callable[[float], float]) -> float:
    """Fourth-order derivative at zero."""
    h = _STEP
    near, far = energy(h) - energy(-h), energy(2 * h) - energy(-2 * h)
    return (8 * near - far) / (12 * h)


def _forces(bench: _Bench) -> None:
    rng = np.random.default_rng(2)
    for atoms in bench.test:
        forces = bench.one(atoms).forces[0]
        along = rng.normal(size=forces.shape)
        along /= np.linalg.norm(along)

        def energy(step: float, atoms: Atoms = atoms, along: FloatArray = along) -> float:
            moved = atoms.copy()
            moved.positions += step * along
            return float(bench.one(moved).energies[0])

        expected = -_derivative(energy)
        bench.close((forces * along).sum(), expected, "a force", np.abs(forces).max())


def _stress(bench: _Bench) -> None:
    rng = np.random.default_rng(3)
    for atoms in bench.test:
        stress = bench.one(atoms).stresses[0]
        along = rng.normal(size=(3, 3))
        along = (along + along.T) / np.linalg.norm(along + along.T)

        def energy(step: float, atoms: Atoms = atoms, along: FloatArray = along) -> float:
            moved = atoms.copy()
            moved.set_cell(atoms.cell @ (np.eye(3) + step * along), scale_atoms=True)
            return float(bench.one(moved).energies[0])

        expected = _derivative(energy) / atoms.get_volume()
        bench.close((stress * along).sum(), expected, "the stress", np.abs(stress).max())
        assert np.array_equal(stress, stress.T), "the stress is not symmetric"


def _translations(bench: _Bench) -> None:
    for atoms in bench.test:
        moved = atoms.copy()
        moved.positions += [0.3, -4.1, 11.7]
        wrapped = moved.copy()
        wrapped.wrap()
        for other in (moved, wrapped):
            _same(bench, bench.one(atoms), bench.one(other), np.eye(3))


def _rotations(bench: _Bench) -> None:
    turn = Rotation.from_rotvec([0.4, -0.9, 0.5]).as_matrix()
    for atoms in bench.test:
        turned = atoms.copy()
        turned.set_cell(atoms.cell.array @ turn.T)
        turned.positions = atoms.positions @ turn.T
        _same(bench, bench.one(atoms), bench.one(turned), turn)


def _permutations(bench: _Bench) -> None:
    order = np.random.default_rng(4).permutation(16)
    for atoms in bench.test:
        there = bench.one(atoms[order])
        back = replace(there, forces=(there.forces[0][np.argsort(order)],))
        _same(bench, bench.one(atoms), back, np.eye(3))


def _same(bench: _Bench, one: Predictions, other: Predictions, turn: FloatArray) -> None:
    forces = one.forces[0]
    scale = float(np.abs(forces).max())
    bench.close(other.energies, one.energies, "the energy", max(scale, 1.0))
    bench.close(other.forces[0], forces @ turn.T, "a force", scale)
    stress = one.stresses[0]
    bench.close(other.stresses[0], turn @ stress @ turn.T, "the stress", np.abs(stress).max())


def _batches(bench: _Bench) -> None:
    frames = [*bench.test, bench.test[0].repeat((2, 1, 1)), bench.test[1]]
    together = bench.model.evaluate(frames)
    for index, atoms in enumerate(frames):
        single = bench.one(atoms)
        limit = max(_BATCH, bench.tolerance * 1e-3)
        assert abs(together.energies[index] - single.energies[0]) <= limit * 16, "another energy"
        assert np.abs(together.forces[index] - single.forces[0]).max() <= limit, "another force"
    assert len(bench.model.evaluate([])) == 0, "an empty batch is not empty"


def _inputs(bench: _Bench) -> None:
    frames = [atoms.copy() for atoms in bench.test]
    for atoms in frames:
        atoms.info = {"note": "mine"}
    before = [copy.deepcopy(atoms.todict()) for atoms in frames]
    bench.model.evaluate(frames, uncertainty=True)
    after = [atoms.todict() for atoms in frames]
    for old, new in zip(before, after, strict=True):
        assert old.keys() == new.keys(), "a configuration has other entries"
        for key in old:
            assert np.array_equal(old[key], new[key]), f"{key} of a configuration has changed"


def _uncertainty(bench: _Bench) -> None:
    assert bench.model.uncertainty == bench.kind.uncertainty, "not that of the kind"
    assert bench.one(bench.test[0]).uncertainty is None, "an uncertainty that nobody asked for"
    found = bench.model.evaluate(bench.test, uncertainty=True).uncertainty
    if bench.kind.uncertainty is not None and found is not None:
        assert np.all(np.isfinite(found) & (found >= 0)), "negative or not finite"


def _calculator(bench: _Bench) -> None:
    atoms = bench.test[0].copy()
    expected = bench.one(atoms)
    atoms.calc = bench.model.calculator()
    assert np.allclose(atoms.get_forces(), expected.forces[0], atol=_BATCH), "other forces"
    stress = atoms.get_stress(voigt=False)
    assert np.allclose(stress, expected.stresses[0], atol=_BATCH), "another stress"


def _load(bench: _Bench) -> None:
    expected = bench.model.evaluate(bench.test)
    elsewhere = bench.directory / "elsewhere"
    shutil.copytree(bench.model_directory, elsewhere)
    for place in (bench.model_directory, elsewhere):
        with bench.kind.load(place, n_workers=1) as again:
            assert again.sha256 == bench.model.sha256, "another hash"
            assert again.kind == bench.kind.name, "another kind"
            found = again.evaluate(bench.test)
        assert np.array_equal(found.energies, expected.energies), "other energies"


def _damage(bench: _Bench) -> None:
    record = json.loads((bench.model_directory / MARKER).read_text(encoding="utf-8"))
    assert record["files"], "no file decides a prediction"
    for name in record["files"]:
        place = bench.directory / f"damaged-{name}"
        _ = bench.model
        shutil.copytree(bench.model_directory, place)
        content = bytearray((place / name).read_bytes())
        content[len(content) // 2] ^= 1
        (place / name).write_bytes(content)
        _refuses(ModelError, partial(bench.kind.load, place, n_workers=1))


def _found_again(bench: _Bench) -> None:
    before = bench.model.sha256
    with bench.fit("model") as again:
        assert again.sha256 == before, "another model"
    _refuses(InputError, lambda: bench.fit("model", bench.train[:-1]))
    with bench.kind.load(bench.model_directory, n_workers=1) as again:
        assert again.sha256 == before, "the earlier model is lost"


def _reproducible(bench: _Bench) -> None:
    if bench.kind.reproducible:
        with bench.fit("second") as second:
            assert second.sha256 == bench.model.sha256, "the same fit gives other files"


def _refusals(bench: _Bench) -> None:
    first = bench.train[0]
    broken = replace(first.label, forces=np.full((16, 3), 1.0))
    object.__setattr__(broken, "forces", np.full((16, 3), np.nan))
    _refuses(InputError, lambda: bench.fit("none", []))
    _refuses(InputError, lambda: bench.fit("nan", [replace(first, label=broken)]))
    _refuses(ConfigError, lambda: bench.kind.read({"no_such_setting": 1}))
    strange, nowhere, flat = (bench.test[0].copy() for _ in range(3))
    strange.symbols[0] = "Xe"
    nowhere.positions[0] = np.nan
    flat.set_cell(np.zeros((3, 3)))
    _refuses(ModelError, lambda: bench.one(strange))
    _refuses(InputError, lambda: bench.one(nowhere))
    _refuses(InputError, lambda: bench.one(flat))


def _refuses(error: type[SschaMlpError], action: Callable[[], Any]) -> None:
    """Require a sentence of the error family."""
    try:
        action()
    except error as err:
        text = str(err)
        if not text.strip() or "\n" in text:
            raise AssertionError(f"no sentence: {err!r}") from err
    else:
        raise AssertionError(f"{error.__name__} was not raised")


def _interrupt(bench: _Bench) -> None:
    def stop(done: int, total: int) -> None:
        del done, total
        raise KeyboardInterrupt

    place = bench.directory / "interrupted"
    with contextlib.suppress(KeyboardInterrupt):
        bench.fit("interrupted", progress=stop).close()
        raise AssertionError("the fit reports no progress, or goes on after Ctrl-C")
    assert not (place / MARKER).exists(), "a fit that was ended counts as finished"
    with bench.fit("interrupted") as again:
        assert len(again.evaluate(bench.test)) == len(bench.test)


def _presets(bench: _Bench) -> None:
    offered = bench.kind.presets(bench.test[0])
    assert offered, "no presets"
    for name, values in offered.items():
        bench.kind.read(values)
        bench.kind.read(bench.kind.trial_settings(values))
        assert json.loads(json.dumps(values)) == values, f"{name} are no plain values"


def _strays(bench: _Bench) -> None:
    empty = bench.directory / "empty"
    empty.mkdir()
    around = set(bench.directory.iterdir())
    with contextlib.chdir(empty), bench.fit("tidy") as model:
        model.evaluate(bench.test)
    assert not list(empty.iterdir()), "files lie in the working directory"
    new = set(bench.directory.iterdir()) - around
    assert new == {bench.directory / "tidy"}, "files lie beside the model"


_CHECKS: Final[Mapping[str, Callable[[_Bench], None]]] = {
    "forces": _forces,
    "stress": _stress,
    "translations": _translations,
    "rotations": _rotations,
    "permutations": _permutations,
    "batches": _batches,
    "inputs": _inputs,
    "uncertainty": _uncertainty,
    "calculator": _calculator,
    "load": _load,
    "damage": _damage,
    "found again": _found_again,
    "reproducible": _reproducible,
    "refusals": _refusals,
    "Ctrl-C": _interrupt,
    "presets": _presets,
    "stray files": _strays,
}
