"""The stages one after the other from Python, as the documentation shows them."""

import numpy as np

import sscha_mlp as sm


def test_the_stages_work_from_python(finished_run, tmp_path):
    settings = {"cutoff": 3.6, "n_sparse": 20, "l_max": 2, "n_max": 4}
    dynamical_matrix = sm.load_state(finished_run / "states" / "start.npz")
    reference = sm.get_reference("emt")
    rng = np.random.default_rng(1)

    drawn = [
        sm.sample(dynamical_matrix, temperature=300.0, n_configs=12, rng=rng).configurations()
        for _ in range(2)
    ]
    train, test = (sm.labelled_configurations(one, sm.label(one, reference)) for one in drawn)
    dataset = sm.Dataset(train=train, test=test)
    with sm.fit("gap", dataset.train, directory=tmp_path / "model", settings=settings) as model:
        compared = sm.validate(model, dataset.test)
        steps = sm.relax(
            dynamical_matrix,
            model,
            temperature=300.0,
            rng=rng,
            settings=sm.RelaxationSettings(n_configs=20, max_populations=2),
        )
        first = next(steps)
        state = first.state
        ensemble = sm.sample(state, temperature=300.0, n_configs=12, rng=rng, antithetic=False)
        group = sm.find_space_group(state.supercell)
        by_model = sm.evaluate_ensemble(ensemble, model)
        certificate = sm.certify(by_model, by_model, group)

    assert compared.n_configs == 12 and compared.name == "test"
    assert first.index == 1 and not first.ended
    assert certificate.free_energy_shift.delta == 0.0
    with sm.load(tmp_path / "model") as again:
        assert again.sha256 == model.sha256
