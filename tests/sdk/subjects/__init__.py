"""Everything that is measured of rows, as the properties need it. One module per area, each with SUBJECTS, found by being here."""

from importlib import import_module
from pkgutil import iter_modules

from tests.sdk.subjects.subject import Subject

__all__ = ["SUBJECTS", "Subject"]

SUBJECTS: list[Subject] = [
    subject
    for module in iter_modules(__path__)
    if module.name != "subject"
    for subject in import_module(f"{__name__}.{module.name}").SUBJECTS
]
