"""Detectors: each turns the readings of one series into verdicts, pure and one reading at a time."""

from foreshock_server.rules.detectors.forecast_drop import ForecastDrop
from foreshock_server.rules.detectors.non_finite import NonFinite
from foreshock_server.rules.detectors.reading import Baseline, Detector, Forecast, Reading
from foreshock_server.rules.detectors.threshold import Threshold

__all__ = ["Baseline", "Detector", "Forecast", "ForecastDrop", "NonFinite", "Reading", "Threshold"]
