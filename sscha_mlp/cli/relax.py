"""The verb ``relax``: the whole loop, from a structure to a certified result."""

from pathlib import Path

from sscha_mlp.cli import options
from sscha_mlp.cli.running import as_settings, default_run_directory, end, resolve, run_to_result


def relax(
    temperature: options.Temperature = None,
    pressure: options.Pressure = None,
    nuclei: options.Nuclei = None,
    mass: options.Masses = None,
    structure: options.Structure = None,
    dyn: options.DynStart = None,
    origin: options.FromRun = None,
    supercell: options.SupercellSize = None,
    reference: options.ReferenceName = None,
    model: options.ModelKind = None,
    cell: options.Cell = None,
    configs: options.Configurations = None,
    max_labels: options.MaxLabels = None,
    labels: options.Labels = None,
    symmetry: options.Symmetry = None,
    symmetrise: options.Symmetrise = None,
    engine: options.Engine = None,
    seed: options.RunSeed = None,
    workers: options.RunWorkers = None,
    executor: options.RunExecutor = None,
    model_executor: options.ModelExecutor = None,
    config: options.Config = None,
    label_store: options.SharedStore = None,
    run_dir: options.RunDir = None,
    trust: options.Trust = False,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Relax a crystal at a temperature and pressure, and certify the result.

    Labels configurations with the reference, fits a potential, relaxes cell and force constants
    by the SSCHA, and checks the answer on fresh labels of the reference.  The same command in the
    same directory goes on where it stopped; a finished run shows its result.

    Ends with status 0 when converged and certified, 1 when not, 2 for wrong input, 3 when
    labels are to be computed by hand (--reference files).
    """
    given = {
        "temperature": temperature,
        "pressure": pressure,
        "nuclei": nuclei,
        "masses": options.read_masses(mass) if mass else None,
        "structure": structure,
        "dyn": dyn,
        "origin": origin,
        "supercell": supercell,
        "reference": reference,
        "model": model,
        "cell": cell,
        "configs": configs,
        "max_labels": max_labels,
        "labels": labels,
        "symmetry": symmetry,
        "symmetrise": symmetrise,
        "engine": engine,
        "seed": seed,
        "workers": workers,
        "executor": executor,
        "model_executor": model_executor,
        "label_store": label_store,
    }
    settings = resolve(as_settings(given), config)
    directory = run_dir or Path(default_run_directory(settings))
    result = run_to_result(settings, directory, quiet=quiet, debug=debug, trust=trust)
    end(directory, result, as_json=as_json)
