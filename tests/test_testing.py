"""The conformance kit: the kinds of the package and one from outside pass it, faults do not."""

from dataclasses import replace

import pytest
from toy_kind import KIND, ToyPotential

from sscha_mlp.potentials.registry import find_kind
from sscha_mlp.testing import check_potential

QUICK = {
    "mtp": {"level": 6, "cutoff": 4.0},
    "gap": {"cutoff": 3.6, "n_sparse": 20, "l_max": 2, "n_max": 3},
    "toy_kind:KIND": {},
}


@pytest.mark.parametrize("name", QUICK)
def test_a_kind_conforms(name, tmp_path):
    found = check_potential(find_kind(name), tmp_path, settings=QUICK[name])
    assert len(found.passed) == 17 and not found.failed


class Twisted(ToyPotential):
    """Forces that are not those of its energy, and a shift of the atoms it is given."""

    def evaluate(self, configurations, *, uncertainty=False):
        found = super().evaluate(configurations, uncertainty=uncertainty)
        for atoms in configurations:
            atoms.info["seen"] = True
        return replace(found, forces=tuple(1.01 * one for one in found.forces))


def test_faults_are_found_and_named(tmp_path):
    def load(directory, *, n_workers=1):
        model = KIND.load(directory, n_workers=n_workers)
        return Twisted(model.path, model.record, n_workers)

    def fit(train, *, directory, **options):
        KIND.fit(train, directory=directory, **options).close()
        return load(directory)

    twisted = replace(KIND, fit=fit, load=load, presets=lambda atoms: {"odd": {"cutoff": -1.0}})
    with pytest.raises(AssertionError) as caught:
        check_potential(twisted, tmp_path)
    text = str(caught.value)
    assert "'toy' does not conform: forces: " in text and "inputs: " in text
    assert "presets: ConfigError: TOY setting cutoff" in text
    for sound in ("stress: ", "rotations: ", "load: ", "refusals: "):
        assert sound not in text
