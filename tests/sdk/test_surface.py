"""What is promised by name, and what importing it costs."""

from __future__ import annotations

import subprocess
import sys

import pytest

import foreshock


def test_all_is_sorted_and_complete() -> None:
    assert foreshock.__all__ == sorted(foreshock.__all__)
    for name in foreshock.__all__:
        assert getattr(foreshock, name) is not None
    public = {name for name in vars(foreshock) if not name.startswith("_")}
    modules = {name for name in public if type(getattr(foreshock, name)).__name__ == "module"}
    assert public - modules - {"annotations", "TYPE_CHECKING", "Any"} <= set(foreshock.__all__)


@pytest.mark.parametrize("heavy", ["torch", "numpy", "urllib3", "msgpack", "pandas"])
def test_importing_the_sdk_imports_nothing_heavy(heavy: str) -> None:
    code = f"import sys, foreshock; sys.exit({heavy!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_reaching_for_a_name_of_the_sdk_imports_no_torch() -> None:
    code = "import sys, foreshock; foreshock.describe; foreshock.init; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_importing_the_sdk_starts_no_thread() -> None:
    code = "import sys, threading, foreshock; sys.exit(threading.active_count() - 1)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_run_of_plain_numbers_never_imports_torch() -> None:
    code = (
        "import sys, foreshock\n"
        "from foreshock.testing import recording\n"
        "with recording() as recorded:\n"
        "    recorded.run.log(loss=1.0); recorded.run.step()\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nothing_of_ours"):
        foreshock.nothing_of_ours  # noqa: B018
