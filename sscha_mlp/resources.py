"""Files that the package ships: the bundled structures.

In a checkout (and an editable installation) they lie in ``data/`` in the repository root; a wheel
carries the same files as ``sscha_mlp/_data``.
"""

from pathlib import Path

from sscha_mlp.errors import InputError

_PACKAGE = Path(__file__).resolve().parent


def bundled_directory() -> Path:
    """Return the directory that holds the bundled files.

    Raises
    ------
    InputError
        If neither place has it: the installation is incomplete.
    """
    checkout = _PACKAGE.parent
    installed = _PACKAGE / "_data"
    if installed.is_dir():
        return installed
    if (checkout / "pyproject.toml").is_file() and (checkout / "data").is_dir():
        return checkout / "data"
    raise InputError(
        f"The files bundled with sscha-mlp are missing: neither {installed} nor "
        f"{checkout / 'data'} is there. Install the package again."
    )


def bundled_file(name: str) -> Path:
    """Return the path of the bundled file `name`, for example ``silicon.cif``.

    Raises
    ------
    InputError
        If there is no such file; the message lists those that there are.
    """
    directory = bundled_directory()
    path = directory / name
    if path.is_file() and path.resolve().is_relative_to(directory.resolve()):
        return path
    there = ", ".join(sorted(file.name for file in directory.iterdir() if file.is_file()))
    raise InputError(f"There is no bundled file {name!r} in {directory}; there are: {there}.")
