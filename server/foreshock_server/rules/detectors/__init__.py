"""Detectors: each turns the readings of one series into verdicts, pure and one reading at a time."""

from typing import Annotated

from pydantic import BaseModel, Field

from foreshock_server.rules.detectors.absence import Absence
from foreshock_server.rules.detectors.band import Band
from foreshock_server.rules.detectors.change import Changed
from foreshock_server.rules.detectors.forecast_drop import ForecastDrop
from foreshock_server.rules.detectors.non_finite import NonFinite
from foreshock_server.rules.detectors.plateau import Plateau
from foreshock_server.rules.detectors.reading import Baseline, Detector, Forecast, Reading
from foreshock_server.rules.detectors.shift import Shift
from foreshock_server.rules.detectors.slope import Slope
from foreshock_server.rules.detectors.spike import Spike
from foreshock_server.rules.detectors.threshold import Threshold

AnyDetector = Annotated[
    Threshold | Band | Shift | ForecastDrop | Slope | Spike | Plateau | Changed | Absence | NonFinite,
    Field(discriminator="kind"),
]
KINDS: dict[str, type[BaseModel]] = {  # by what packs write as `kind`
    "threshold": Threshold,
    "band": Band,
    "drop": Shift,
    "rise": Shift,
    "forecast-drop": ForecastDrop,
    "slope": Slope,
    "spike": Spike,
    "plateau": Plateau,
    "change": Changed,
    "absence": Absence,
    "non-finite": NonFinite,
}

__all__ = [
    "KINDS",
    "Absence",
    "AnyDetector",
    "Band",
    "Baseline",
    "Changed",
    "Detector",
    "Forecast",
    "ForecastDrop",
    "NonFinite",
    "Plateau",
    "Reading",
    "Shift",
    "Slope",
    "Spike",
    "Threshold",
]
