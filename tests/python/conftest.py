"""What several tests need."""

import os
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]

# Two tests side by side must not fight for cores.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def examples():
    return ROOT / "examples"


@pytest.fixture(scope="session")
def text_file(tmp_path_factory):
    """Two hundred kilobytes that a small model learns something of."""
    words = "the of a state gate key value reads writes decays and then".split()
    rng = np.random.default_rng(1)
    text = " ".join(words[i] for i in rng.integers(0, len(words), 40000))
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text(text)
    return path


SMALL = {"D": 32, "L": 1, "H": 2, "vocab": 259}


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory, examples, text_file):
    """A run of a tiny model on bytes."""
    import tidegate

    out = tmp_path_factory.mktemp("run") / "gla"
    trainer = tidegate.Trainer(examples / "gla/gla.tg", params=SMALL, data=text_file, out=out, steps=30, batch=4,
                               seq=64, lr=1e-2, held_out_max=4096)
    trainer.train()
    return out
