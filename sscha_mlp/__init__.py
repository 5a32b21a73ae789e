"""Phonons of real crystals at temperature: the SSCHA on machine-learned potentials, certified.

The public functions are attributes of this package and are imported when they are first used::

    import sscha_mlp as sm

    model = sm.fit("mtp", dataset.train, directory="models/000")
"""

from importlib import import_module
from inspect import isclass, isfunction
from typing import Any, Final

__version__ = "0.1.0"

_PUBLIC: Final[dict[str, str]] = {
    # crystals and dynamical matrices
    "read_structure": "sscha_mlp.crystal.structure_files",
    "Crystal": "sscha_mlp.crystal.structure",
    "Supercell": "sscha_mlp.crystal.supercell",
    "DynamicalMatrix": "sscha_mlp.crystal.dynamical_matrix",
    "harmonic": "sscha_mlp.campaign.harmonic_forces",
    "bundled_file": "sscha_mlp.resources",
    "find_space_group": "sscha_mlp.crystal.symmetry",
    "load_state": "sscha_mlp.data.states",
    "save_state": "sscha_mlp.data.states",
    "read_dyn": "sscha_mlp.data.dyn_files",
    "write_dyn": "sscha_mlp.data.dyn_files",
    # ensembles
    "sample": "sscha_mlp.ensemble.sampling",
    "Ensemble": "sscha_mlp.ensemble.sampling",
    "ensemble_figure": "sscha_mlp.report.phonons.ensemble_figure",
    # labels and data
    "get_reference": "sscha_mlp.calculators.registry",
    "Reference": "sscha_mlp.calculators.registry",
    "label": "sscha_mlp.reference.label",
    "label_ensemble": "sscha_mlp.reference.label",
    "labelled_configurations": "sscha_mlp.reference.label",
    "requests_in": "sscha_mlp.reference.offline",
    "import_labels": "sscha_mlp.reference.importing",
    "LabelStore": "sscha_mlp.reference.store",
    "Label": "sscha_mlp.data.labels",
    "LabelledConfiguration": "sscha_mlp.data.labels",
    "Dataset": "sscha_mlp.data.dataset",
    "read_extxyz": "sscha_mlp.data.extxyz",
    "write_extxyz": "sscha_mlp.data.extxyz",
    "read_any": "sscha_mlp.data.formats",
    "write_any": "sscha_mlp.data.formats",
    # potentials
    "fit": "sscha_mlp.potentials.registry",
    "load": "sscha_mlp.potentials.registry",
    "presets": "sscha_mlp.potentials.registry",
    "Predictions": "sscha_mlp.potentials.protocol",
    "select": "sscha_mlp.potentials.selection",
    "read_mtp": "sscha_mlp.potentials.mtp.files",
    "write_mtp": "sscha_mlp.potentials.mtp.files",
    # the SSCHA
    "Samples": "sscha_mlp.scha.estimators",
    "estimate": "sscha_mlp.scha.estimators",
    "minimise": "sscha_mlp.scha.minimiser",
    "relax": "sscha_mlp.scha.relaxation",
    "RelaxationSettings": "sscha_mlp.scha.relaxation",
    "relaxation_figure": "sscha_mlp.report.run.relaxation_figures",
    "relaxation_table": "sscha_mlp.report.run.relaxation_figures",
    "evaluate_ensemble": "sscha_mlp.scha.relaxation",
    "free_energy_hessian": "sscha_mlp.scha.hessian",
    # what it is worth
    "validate": "sscha_mlp.validation.metrics",
    "validation_figure": "sscha_mlp.report.validation.parity_page",
    "grade_figure": "sscha_mlp.report.validation.grade_figure",
    "DirectEvaluator": "sscha_mlp.validation.direct",
    "certify": "sscha_mlp.validation.certificate",
    "certificate_figure": "sscha_mlp.report.run.certificate_figures",
    "corrected_answer": "sscha_mlp.validation.answer",
    "Answer": "sscha_mlp.validation.answer",
    "frequencies": "sscha_mlp.validation.answer",
    "calibrate": "sscha_mlp.validation.calibration",
    "calibration_figure": "sscha_mlp.report.validation.calibration_page",
    # phonons
    "BornCharges": "sscha_mlp.crystal.born_charges",
    "read_born": "sscha_mlp.properties.born_files",
    "interpolate": "sscha_mlp.properties.interpolation",
    "interpolate_change": "sscha_mlp.properties.interpolation",
    "standard_path": "sscha_mlp.properties.paths",
    "dispersion": "sscha_mlp.properties.dispersion",
    "mesh_frequencies": "sscha_mlp.properties.mesh",
    "density_of_states": "sscha_mlp.properties.density_of_states",
    "thermodynamics": "sscha_mlp.properties.thermodynamics",
    "write_phonopy": "sscha_mlp.properties.phonopy_files",
    "run_phonons": "sscha_mlp.report.phonons.data",
    "write_phonons": "sscha_mlp.report.phonons.files",
    "phonon_figure": "sscha_mlp.report.phonons.figures",
    # soft modes
    "fit_soft_mode": "sscha_mlp.properties.soft_mode",
    "soft_mode_figure": "sscha_mlp.report.phonons.soft_mode_figure",
    # model against reference
    "compare_run": "sscha_mlp.studies.compare",
    "write_comparison": "sscha_mlp.report.compare.files",
    "comparison_figure": "sscha_mlp.report.compare.figures",
    "volume_figure": "sscha_mlp.report.compare.figures",
    "fit_equation_of_state": "sscha_mlp.properties.equation_of_state",
    "ElasticStrains": "sscha_mlp.properties.elastic",
    # points over temperature and pressure
    "Sweep": "sscha_mlp.studies.sweep.table",
    "load_sweep": "sscha_mlp.studies.sweep.table",
    "fit_expansion": "sscha_mlp.properties.expansion",
    "fit_isobar": "sscha_mlp.properties.gibbs",
    "fit_isotherm": "sscha_mlp.properties.isotherm",
    "run_sweep": "sscha_mlp.studies.sweep.driver",
    "SweepSettings": "sscha_mlp.studies.sweep.settings",
    "response_of_run": "sscha_mlp.studies.response",
    "size_rows": "sscha_mlp.studies.supercell_convergence",
    "sizes_page": "sscha_mlp.report.compare.supercell_convergence",
    "sweep_figure": "sscha_mlp.report.sweep.figures",
    "write_sweep_report": "sscha_mlp.report.sweep.files",
    "Phase": "sscha_mlp.properties.phase_tables",
    "compare_phases": "sscha_mlp.properties.phases",
    "phases": "sscha_mlp.report.sweep.phase_report",
    "write_phases": "sscha_mlp.report.sweep.phase_report",
    # errors
    "SschaMlpError": "sscha_mlp.errors",
    "InputError": "sscha_mlp.errors",
    "WaitingForLabelsError": "sscha_mlp.errors",
    # a whole run
    "Table": "sscha_mlp.tables",
    "NotebookObserver": "sscha_mlp.report.notebook",
    "hessian_of_run": "sscha_mlp.studies.hessian",
    "conductivity_of_run": "sscha_mlp.studies.conductivity.driver",
    "TransportRequest": "sscha_mlp.studies.conductivity.request",
    "conductivity_figure": "sscha_mlp.report.conductivity.figures",
    "third_order": "sscha_mlp.scha.third_order",
    "follow_hessian": "sscha_mlp.studies.follow",
    "run": "sscha_mlp.campaign.loop",
    "RunSettings": "sscha_mlp.run_files.settings",
    "result_table": "sscha_mlp.run_files.result_table",
    "sweep_table": "sscha_mlp.studies.sweep.table",
    "report_data": "sscha_mlp.report.run.collect",
    "write_run_report": "sscha_mlp.report.run.collect",
    "frequency_figure": "sscha_mlp.report.run.frequency_figures",
}
"""Public name -> module that defines it.  No name may be that of a room."""

__all__ = ["__version__", *_PUBLIC]  # noqa: PLE0604 - the keys are strings


def __getattr__(name: str) -> Any:
    """Import a public name at its first use (PEP 562): ``import sscha_mlp`` stays quick."""
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_PUBLIC[name]), name)
    types = import_module("sscha_mlp.argument_types")
    if isfunction(value):
        value = types.checked(value)
    elif isclass(value) and isfunction(vars(value).get("__init__")):
        value.__init__ = types.explained(value.__init__)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names."""
    return sorted(__all__)
