"""The verb ``ensemble``: configurations of a dynamical matrix at a temperature."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Option

from sscha_mlp.cli import options

if TYPE_CHECKING:
    from sscha_mlp.crystal.dynamical_matrix import DynamicalMatrix


def ensemble(
    temperature: Annotated[
        float, Option(*options.TEMPERATURE, help="Temperature, in K; at least 0.")
    ],
    nuclei: options.Nuclei = None,
    dyn: Annotated[
        str | None,
        Option("--dyn", metavar="PREFIX", help="Quantum ESPRESSO dyn files PREFIX1, PREFIX2, ..."),
    ] = None,
    state: Annotated[
        Path | None,
        Option("--state", metavar="FILE.npz", help="State of a run, exact: RUN_DIR/states/*.npz."),
    ] = None,
    n_configs: Annotated[
        int, Option("--n", help="Number of configurations; even, as they come in pairs u, -u.")
    ] = 100,
    pairs: Annotated[
        bool, Option("--pairs/--no-pairs", help="Draw pairs u, -u, or every one by itself.")
    ] = True,
    sobol: Annotated[bool, Option("--sobol", help="Scrambled Sobol sequence.")] = False,
    seed: options.Seed = 0,
    out: Annotated[Path, Option("--out", help="Extended XYZ to write (Å).")] = Path("ensemble.xyz"),
    debug: options.Debug = False,
) -> None:
    """Draw displaced supercells of a dynamical matrix.

    Reads --dyn or --state and writes extended XYZ that the verb label takes.
    """
    del debug  # read by the command line itself
    import numpy as np

    from sscha_mlp.cli.screen import note
    from sscha_mlp.data.extxyz import write_extxyz
    from sscha_mlp.ensemble.sampling import sample

    drawn = sample(
        _read(dyn, state),
        temperature=temperature,
        n_configs=n_configs,
        rng=np.random.default_rng(seed),
        nuclei=nuclei or "quantum",
        antithetic=pairs,
        sampler="sobol" if sobol else "random",
    )
    frames = drawn.configurations()
    for frame, amplitude in zip(frames, drawn.displacement_rms, strict=True):
        frame.info = {"temperature": temperature, "displacement_rms": float(amplitude)}
    write_extxyz(out, frames)
    note(
        f"{len(frames)} configurations of {len(frames[0])} atoms at {temperature:g} K"
        f"{drawn.nuclei.remark}, rms displacement {float(np.mean(drawn.displacement_rms)):.3f} Å, "
        f"{drawn.rejected} rejected: {out}"
    )


def _read(dyn: str | None, state: Path | None) -> "DynamicalMatrix":
    from sscha_mlp.errors import ConfigError

    if (dyn is None) == (state is None):
        raise ConfigError("Give either --dyn PREFIX or --state FILE.npz.")
    if state is not None:
        from sscha_mlp.data.states import load_state

        return load_state(state)
    from sscha_mlp.data.dyn_files import read_dyn

    return read_dyn(str(dyn))
