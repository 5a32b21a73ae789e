"""Who labels: the registry of reference calculators, the label store, and labelling itself."""

from sscha_mlp.calculators.registry import Reference, get_reference, reference_names
from sscha_mlp.reference.label import LabelFailure, LabelReport, label
from sscha_mlp.reference.store import LabelStore, StoredFailure

__all__ = [
    "LabelFailure",
    "LabelReport",
    "LabelStore",
    "Reference",
    "StoredFailure",
    "get_reference",
    "label",
    "reference_names",
]
