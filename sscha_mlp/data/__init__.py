"""Labels, data sets and the files that hold them."""

from sscha_mlp.data.dataset import Dataset
from sscha_mlp.data.extxyz import read_configurations, read_extxyz, write_extxyz
from sscha_mlp.data.files import write_atomic, write_json_atomic
from sscha_mlp.data.labels import Label, LabelledConfiguration, configuration_key

__all__ = [
    "Dataset",
    "Label",
    "LabelledConfiguration",
    "configuration_key",
    "read_configurations",
    "read_extxyz",
    "write_atomic",
    "write_extxyz",
    "write_json_atomic",
]
