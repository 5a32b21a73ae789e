"""The verb ``efs``: energies, forces and stresses of a model, and how far they are from labels."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

from typer import Option

from sscha_mlp.cli import options
from sscha_mlp.cli.models import InputsArgument, ModelArgument, SpeciesOption

if TYPE_CHECKING:
    from ase import Atoms

    from sscha_mlp.cli.models import Inputs
    from sscha_mlp.potentials.protocol import Potential, Predictions
    from sscha_mlp.validation.statistics import ErrorStatistics

_SHOWN: Final = {"energy": "energy_error", "forces": "force_error", "stress": "stress_error"}
"""Label -> quantity in which its error is shown."""


def efs(
    model: ModelArgument,
    inputs: InputsArgument,
    out: Annotated[
        Path | None,
        Option(
            "--out",
            help="File to write, with energy (eV), forces (eV/Å) and stress of the model; its name "
            "says the format.",
        ),
    ] = None,
    species: SpeciesOption = None,
    workers: options.Workers = 0,
    executor: options.Executor = "processes",
    as_json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Compute energies, forces and stresses with a model; compare with labels where there are any.

    As calculate_efs and check_errors of MLIP.  Errors are reference - model; those of forces are
    per component, not per atom as in MLIP.
    """
    del debug  # read by the command line itself
    from sscha_mlp.cli import models
    from sscha_mlp.cli.screen import note
    from sscha_mlp.digits import configurations
    from sscha_mlp.errors import InputError
    from sscha_mlp.parallel import Machines
    from sscha_mlp.potentials.spread import spread

    models.refuse_to_replace(out, inputs)
    with (
        Machines(executor) as machines,
        models.load_model(
            model, species, n_workers=machines.local_workers(options.count_workers(workers))
        ) as potential,
    ):
        found = models.read_inputs(inputs, potential, species)
        reference = _labels(found)
        if out is None and not any(reference):
            raise InputError("The configurations have no labels to compare with: give --out FILE.")
        with spread(potential, machines, options.count_workers(workers)) as evaluating:
            predictions = evaluating.evaluate(found.frames)
        errors = _errors(found.frames, reference, predictions)
        written = None
        if out is not None:
            frames = computed(found.frames, predictions, potential)
            written = models.write_outputs(out, frames, potential, species)
    if as_json:
        models.print_json(
            models.model_json(model, potential)
            | {"n_configs": len(found.frames), **models.written_json(written)}
            | {"sign": "reference - model", "errors": _to_json(errors)}
        )
        return
    if errors:
        _print(errors)
    text = (
        f"{configurations(len(found.frames))} computed by the {potential.kind.upper()} in {model}"
    )
    note(text if written is None else f"{text}: {models.describe(written)}")


def computed(
    configurations: "Sequence[Atoms]", predictions: "Predictions", potential: "Potential"
) -> "list[Atoms]":
    """Return copies of configurations with the labels that a model gives them.

    ``EFS_by`` in their ``info`` names the model.
    """
    from ase.calculators.singlepoint import SinglePointCalculator
    from ase.stress import full_3x3_to_voigt_6_stress

    frames = []
    for index, atoms in enumerate(configurations):
        copy = atoms.copy()
        copy.arrays.pop("site_en", None)
        copy.info["EFS_by"] = f"{potential.kind}-{potential.sha256[:12]}"
        copy.calc = SinglePointCalculator(
            copy,
            energy=float(predictions.energies[index]),
            forces=predictions.forces[index],
            stress=full_3x3_to_voigt_6_stress(predictions.stresses[index]),
        )
        frames.append(copy)
    return frames


def _labels(inputs: "Inputs") -> list[dict[str, Any]]:
    """Return what is attached to each configuration of energy, forces and stress."""
    import numpy as np

    from sscha_mlp.data.attached import attached_labels
    from sscha_mlp.errors import InputError

    found = [attached_labels(atoms) for atoms in inputs.frames]
    for index, labels in enumerate(found):
        for name, value in labels.items():
            if not np.isfinite(value).all():
                raise InputError(
                    f"Configuration {inputs.places[index][1]} of {inputs.places[index][0]} has "
                    f"NaN or infinity in its {name}: label it again or leave it out."
                )
    return found


def _errors(
    frames: "Sequence[Atoms]", reference: Sequence[Mapping[str, Any]], predictions: "Predictions"
) -> "dict[str, ErrorStatistics]":
    """Return the errors of each quantity over the configurations that have a label of it."""
    import numpy as np

    from sscha_mlp.validation.statistics import error_statistics

    errors = {}
    for name in _SHOWN:
        pairs = [
            _pair(name, labels[name], predictions, index, len(atoms))
            for index, (atoms, labels) in enumerate(zip(frames, reference, strict=True))
            if name in labels
        ]
        if pairs:
            sizes = [len(one) for one, _ in pairs]
            errors[name] = error_statistics(
                np.concatenate([one for one, _ in pairs]),
                np.concatenate([other for _, other in pairs]),
                np.repeat(np.arange(len(pairs)), sizes),
                biased=np.tile(np.arange(6) < 3, len(pairs)) if name == "stress" else None,
            )
    return errors


def _pair(
    name: str, label: Any, predictions: "Predictions", index: int, n_atoms: int
) -> tuple[Any, Any]:
    """Return label and prediction of one configuration, as vectors of the same length."""
    import numpy as np
    from ase.stress import full_3x3_to_voigt_6_stress

    if name == "energy":
        return np.array([label / n_atoms]), predictions.energies[[index]] / n_atoms
    if name == "forces":
        return np.ravel(label), predictions.forces[index].ravel()
    return (
        full_3x3_to_voigt_6_stress(label),
        full_3x3_to_voigt_6_stress(predictions.stresses[index]),
    )


def _to_json(errors: "Mapping[str, ErrorStatistics]") -> dict[str, Any]:
    from sscha_mlp.quantities import QUANTITIES

    content = {}
    for name, one in errors.items():
        quantity = QUANTITIES[_SHOWN[name]]
        content[name] = one.to_json(factor=quantity.per_internal, unit=quantity.unit)
    return content


def _print(errors: "Mapping[str, ErrorStatistics]") -> None:
    from rich import box
    from rich.table import Table

    from sscha_mlp.cli.summary import output_console, print_trimmed
    from sscha_mlp.digits import fixed, significant, with_error
    from sscha_mlp.quantities import QUANTITIES

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("Error", no_wrap=True)
    for title in ("Configs", "RMSE", "MAE", "Largest", "Bias", "R²"):
        table.add_column(title, justify="right", no_wrap=True)
    for name, one in errors.items():
        quantity = QUANTITIES[_SHOWN[name]]
        factor = quantity.per_internal
        table.add_row(
            quantity.axis.replace(" error", ""),
            str(one.n_configs),
            *(significant(factor * value) for value in (one.rmse, one.mae, one.max_abs)),
            "" if name == "forces" else with_error(factor * one.bias, factor * one.bias_stderr),
            fixed(one.r2, 4),
        )
    print_trimmed(output_console(), table)
