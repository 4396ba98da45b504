"""Every function that runs on the device, with example inputs: what the lint, the metadata and the compile tests iterate.

One module per area; each has FUNCTIONS, and is found by being here.
"""

from importlib import import_module
from pkgutil import iter_modules

from tests.sdk.device_functions.function import DeviceFunction

__all__ = ["DEVICE_FUNCTIONS", "DeviceFunction"]

DEVICE_FUNCTIONS: list[DeviceFunction] = [
    function
    for module in iter_modules(__path__)
    if module.name != "function"
    for function in import_module(f"{__name__}.{module.name}").FUNCTIONS
]
