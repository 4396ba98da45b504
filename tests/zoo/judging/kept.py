"""Trainings that stay in a folder, so that rules that changed are tried on them without training again.

A training is made of its module, of what the modules of trainings share, and of the SDK: when any of these changed, it is trained anew.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import asdict
from functools import cache
from pathlib import Path

import tests.zoo.trainings as trainings
from tests.zoo.judging import trial
from tests.zoo.judging.service import Service
from tests.zoo.judging.trial import Ran, Training
from tests.zoo.trainings.pair import Pair, Setting

import foreshock


def tried(pair: Pair, setting: Setting, folder: Path) -> Ran:
    """As `try_out`, but what the folder has is only judged, as the rules now stand; what it has not is put there."""
    home = folder / "-".join((pair.name, setting.way, setting.size, str(setting.seed)))
    note, sources = home / "training.json", made_of(pair.name)
    found = json.loads(note.read_text()) if note.exists() else {}
    known = found.get("made_of") == sources
    if not known:
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(parents=True)
    with Service(home) as service:
        training = Training(**found["training"]) if known else trial.train(pair, setting, service)
        if not known:
            note.write_text(json.dumps({"made_of": sources, "training": asdict(training)}))
        return trial.judge(pair, setting, training, service)


@cache
def made_of(name: str) -> str:
    """What a training of this module depends on, as a hash."""
    home, sdk = Path(trainings.__path__[0]), Path(foreshock.__path__[0])
    files = [home / "pair.py", *_with_shared(home / f"{name}.py", home), *sorted(sdk.rglob("*.py"))]
    made = hashlib.sha256(repr(sorted(trial.EVERY.items())).encode())
    for one in files:
        made.update(one.name.encode() + b"\0" + one.read_bytes() + b"\0")
    return made.hexdigest()


def _with_shared(module: Path, home: Path) -> list[Path]:
    """This one, and what it names of the modules that trainings share, and what these name."""
    found = [module]
    for one in found:
        text = one.read_text()
        found += [two for two in sorted(home.glob("_[a-z]*.py")) if two.stem in text and two not in found]
    return found
