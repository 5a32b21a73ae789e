"""Labels that people compute by hand: what is asked for, in a directory with a manifest.

When a run needs labels of the reference ``files``, it writes ``offline/NNN/`` with one input for
each configuration, ``configurations.xyz`` with the exact configurations, and ``manifest.json``,
and ends with :class:`sscha_mlp.errors.WaitingForLabelsError`.  The outputs are read back by
:mod:`sscha_mlp.reference.importing`; the run then finds the labels in its store.
"""

import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NoReturn

from ase import Atoms

from sscha_mlp.calculators.files import UNITS, InputFormat, by_hand, write_inputs
from sscha_mlp.calculators.registry import Reference
from sscha_mlp.data.extxyz import read_configurations, write_extxyz
from sscha_mlp.data.files import make_directory, write_json_atomic
from sscha_mlp.data.labels import configuration_key
from sscha_mlp.errors import InputError, SschaMlpError, WaitingForLabelsError
from sscha_mlp.reference.store import LabelStore
from sscha_mlp.tables import Shown, Table

SCHEMA: Final = "sscha-mlp/offline/1"
MANIFEST: Final = "manifest.json"
CONFIGURATIONS: Final = "configurations.xyz"


@dataclass(frozen=True, eq=False)
class Request(Shown):
    """Labels that somebody was asked to compute.

    Parameters
    ----------
    directory
        Where the inputs are.
    reference
        Name of the reference.
    identity
        Identity of the reference, under which labels are stored.
    store
        The label store that waits for them.
    keys
        Content of each configuration, see :func:`sscha_mlp.data.labels.configuration_key`.
    """

    directory: Path
    reference: str
    identity: str
    store: Path
    keys: tuple[str, ...]

    def configurations(self) -> tuple[Atoms, ...]:
        """Read the configurations, in the order of the keys.

        Raises
        ------
        InputError
            If the file is missing, or is not the one that was written.
        """
        path = self.directory / CONFIGURATIONS
        frames = read_configurations(path)
        if tuple(configuration_key(atoms) for atoms in frames) != self.keys:
            raise InputError(
                f"{path} does not hold the configurations of {MANIFEST} beside it; restore it, or "
                f"remove {self.directory} and run the same command again, which writes it anew."
            )
        return frames

    def table(self) -> Table:
        """Return how many labels are asked of whom, and where the inputs are."""
        rows = (
            ("labels", str(len(self.keys))),
            ("reference", self.reference),
            ("inputs in", str(self.directory)),
            ("outputs go into", str(self.store)),
        )
        return Table("Labels to compute by hand", rows)


def is_offline(reference: Reference) -> bool:
    """Whether the labels of a reference are computed by hand."""
    return reference.factory is by_hand


def ask_for_labels(
    configurations: Sequence[Atoms],
    reference: Reference,
    store: LabelStore | None,
    directory: Path | None = None,
) -> NoReturn:
    """Write inputs for configurations, unless they were written before, and say so.

    Parameters
    ----------
    configurations
        Without label, each once.
    store
        Where the labels are to come.
    directory
        Holds ``000``, ``001``, ...; ``offline`` beside the store by default.

    Raises
    ------
    WaitingForLabelsError
        Always, once the inputs are there.
    InputError
        If there is no store, or a manifest is damaged.
    SschaMlpError
        If the inputs cannot be written.
    """
    if store is None:
        raise InputError(
            f"The reference {reference.name!r} labels by hand, and needs a label store to find "
            "the labels in; give one."
        )
    place = directory or store.path.parent / "offline"
    keys = [configuration_key(atoms) for atoms in configurations]
    request = _asked_before(place, keys, reference) or _write(
        place, configurations, keys, reference, store
    )
    n = len(keys)
    raise WaitingForLabelsError(
        f"waiting for {n} label{'s' if n > 1 else ''}; the inputs are in {request.directory}. "
        f"Compute them, put the outputs there, run sscha-mlp label import {request.directory}, "
        "and then the same command again.",
        directory=str(request.directory),
        n_waiting=n,
    )


def requests_in(place: Path) -> list[Request]:
    """Return what was asked for in ``NNN`` directories, in their order.

    Raises
    ------
    InputError
        If a manifest is damaged.
    """
    return [read_request(path.parent) for path in sorted(place.glob(f"[0-9]*/{MANIFEST}"))]


def read_request(directory: Path) -> Request:
    """Read a manifest.

    Raises
    ------
    InputError
        If it is missing, damaged, or of another kind.
    """
    path = directory / MANIFEST
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["schema"] != SCHEMA:
            raise InputError(f"{path} has the schema {content['schema']!r}, not {SCHEMA!r}.")
        return Request(
            directory,
            str(content["reference"]),
            str(content["identity"]),
            Path(content["store"]),
            tuple(str(one["key"]) for one in content["configurations"]),
        )
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as err:
        raise InputError(
            f"{path} cannot be read ({type(err).__name__}: {err}); give a directory that a run has "
            f"written, such as RUN/offline/000. If the file is damaged, remove {directory} and run "
            "the same command again."
        ) from err


def _asked_before(place: Path, keys: Sequence[str], reference: Reference) -> Request | None:
    for request in requests_in(place):
        if request.identity == reference.identity and set(keys) <= set(request.keys):
            return request
    return None


def _write(
    place: Path,
    configurations: Sequence[Atoms],
    keys: Sequence[str],
    reference: Reference,
    store: LabelStore,
) -> Request:
    """Write a directory under another name and move it: it is whole or not there."""
    make_directory(place)
    draft = Path(tempfile.mkdtemp(prefix=".draft-", dir=place))
    try:
        names = write_inputs(draft, configurations, dict(reference.parameters))
        write_extxyz(draft / CONFIGURATIONS, configurations)
        write_json_atomic(
            draft / MANIFEST, _manifest(configurations, keys, names, reference, store)
        )
        draft.chmod(0o755)
        number = 1 + max((int(p.name) for p in place.glob("[0-9][0-9][0-9]")), default=-1)
        directory = place / f"{number:03d}"
        draft.rename(directory)
    except OSError as err:
        raise SschaMlpError(
            f"The inputs cannot be written to {place} ({err.strerror or err}); free some space or "
            "check the permissions, and run the same command again."
        ) from err
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return read_request(directory)


def _manifest(
    configurations: Sequence[Atoms],
    keys: Sequence[str],
    names: Sequence[str],
    reference: Reference,
    store: LabelStore,
) -> dict[str, Any]:
    kind = InputFormat(reference.parameters.get("format", "extxyz"))
    return {
        "schema": SCHEMA,
        "reference": reference.name,
        "identity": reference.identity,
        "format": str(kind),
        "units": UNITS[kind],
        "store": str(store.path.resolve()),
        "configurations": [
            {
                "index": i,
                "input": name,
                "key": key,
                "formula": atoms.get_chemical_formula(),
            }
            for i, (atoms, key, name) in enumerate(zip(configurations, keys, names, strict=True))
        ],
    }
