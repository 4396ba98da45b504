"""Derivations: each makes one reading out of those of several series, pure and in the order in which they were recorded."""

from typing import Annotated

from pydantic import BaseModel, Field

from foreshock_server.rules.derived.across import Across
from foreshock_server.rules.derived.derivation import Derivation, Made, Moment
from foreshock_server.rules.derived.pairs import Correlation, Divergence, Pairing, Ratio
from foreshock_server.rules.derived.reference import Reference

AnyDerivation = Annotated[Ratio | Divergence | Correlation | Across | Reference, Field(discriminator="kind")]
DERIVATIONS: dict[str, type[BaseModel]] = {  # by what packs write as `kind`
    "ratio": Ratio,
    "divergence": Divergence,
    "correlation": Correlation,
    "across": Across,
    "reference": Reference,
}

__all__ = [
    "DERIVATIONS",
    "Across",
    "AnyDerivation",
    "Correlation",
    "Derivation",
    "Divergence",
    "Made",
    "Moment",
    "Pairing",
    "Ratio",
    "Reference",
]
