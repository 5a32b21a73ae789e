"""Bundled files are found in a checkout and in an installed package."""

import pytest

from sscha_mlp import resources
from sscha_mlp.errors import InputError


@pytest.fixture
def fake_package(tmp_path, monkeypatch):
    package = tmp_path / "sscha_mlp"
    package.mkdir()
    monkeypatch.setattr(resources, "_PACKAGE", package)
    return package


def fill(directory):
    directory.mkdir()
    (directory / "crystal.cif").write_text("data_")
    return directory


def test_the_checkout_has_a_data_directory():
    assert resources.bundled_directory().is_dir()


def test_an_installed_package_carries_the_files(fake_package):
    inside = fill(fake_package / "_data")
    assert resources.bundled_file("crystal.cif") == inside / "crystal.cif"


def test_a_checkout_has_them_beside_the_package(fake_package):
    beside = fill(fake_package.parent / "data")
    (fake_package.parent / "pyproject.toml").write_text("")
    assert resources.bundled_file("crystal.cif") == beside / "crystal.cif"


def test_a_data_directory_beside_an_installed_package_is_not_ours(fake_package):
    fill(fake_package.parent / "data")
    with pytest.raises(InputError, match="Install the package again"):
        resources.bundled_directory()


@pytest.mark.parametrize("name", ["nonsense.cif", "../sscha_mlp", "../secret.txt"])
def test_an_unknown_name_lists_what_there_is(name, fake_package):
    fill(fake_package / "_data")
    (fake_package / "secret.txt").write_text("")
    with pytest.raises(InputError, match=r"there are: crystal\.cif"):
        resources.bundled_file(name)
