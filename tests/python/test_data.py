"""`python -m tidegate.data`: shards from a stream, stopped and continued, while a trainer reads them."""

import json
import os
import subprocess
import sys

import pytest
from tidegate import data

from conftest import SMALL


class Rows:
    """A stream with a position, as `datasets` has."""

    def __init__(self, texts):
        self.texts, self.at = texts, 0

    def __iter__(self):
        while self.at < len(self.texts):
            self.at += 1
            yield {"text": self.texts[self.at - 1]}

    def state_dict(self):
        return {"at": self.at}

    def load_state_dict(self, state):
        self.at = state["at"]


TEXTS = [f"document {i} of the test, " * (1 + i % 7) for i in range(400)]


def ids_of(folder):
    """All tokens, by the command that reads what it wrote."""
    done = subprocess.run([sys.executable, "-m", "tidegate", "data", "check", str(folder)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return b"".join(path.read_bytes()[4096:] for path in sorted(folder.glob("*.tgs")))


def test_shards_hold_the_documents(tmp_path):
    facts = data.prepare(Rows(TEXTS), tmp_path / "out", "bytes", shard_tokens=10000, batch=16)
    assert facts["documents"] == 400
    assert facts["text_bytes"] == sum(map(len, TEXTS)) == facts["tokens"] - 400  # A BOS each.
    assert len(facts["shards"]) > 2
    assert json.loads((tmp_path / "out/dataset.json").read_text()) == facts
    ids_of(tmp_path / "out")


def test_a_stopped_command_goes_on(tmp_path):
    options = dict(shard_tokens=10000, batch=16)
    data.prepare(Rows(TEXTS), tmp_path / "whole", "bytes", **options)

    class Stop(Exception):
        pass

    def stop(facts):
        raise Stop

    stops = 0
    while True:
        try:
            data.prepare(Rows(TEXTS), tmp_path / "parts", "bytes", report=stop, **options)
            break
        except Stop:
            stops += 1
    assert stops > 2
    assert ids_of(tmp_path / "parts") == ids_of(tmp_path / "whole")
    assert (tmp_path / "parts/dataset.json").read_text() == (tmp_path / "whole/dataset.json").read_text()


def test_other_options_are_refused(tmp_path):
    data.prepare(Rows(TEXTS), tmp_path, "bytes", max_tokens=5000)
    with pytest.raises(ValueError, match="holds a data set of"):
        data.prepare(Rows(TEXTS), tmp_path, "bytes", max_tokens=6000)
    with pytest.raises(ValueError, match="no documents"):
        data.prepare(Rows([]), tmp_path / "empty", "bytes")
    with pytest.raises(KeyError):
        data.prepare(Rows(TEXTS), tmp_path / "field", "bytes", field="body")


def test_most_tokens(tmp_path):
    facts = data.prepare(Rows(TEXTS), tmp_path, "bytes", max_tokens=5000)
    assert 5000 <= facts["tokens"] < 5200


def test_a_trainer_reads_while_shards_arrive(tmp_path, examples):
    """The trainer starts on an empty directory and waits for what it needs."""
    folder = tmp_path / "shards"
    folder.mkdir()
    program = examples / "gla/gla.tg"
    trainer = subprocess.Popen(
        [sys.executable, "-m", "tidegate", "train", str(program), *(f"--set={n}={v}" for n, v in SMALL.items()),
         f"--data={folder}", f"--out={tmp_path / 'run'}", "--steps=20", "--batch=4", "--seq=64", "--threads=1"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    data.prepare(Rows(TEXTS), folder, "bytes", shard_tokens=3000, batch=8)
    out, errors = trainer.communicate(timeout=300)
    assert trainer.returncode == 0, errors
    assert json.loads(out.splitlines()[-1])["step"] == 20


@pytest.fixture(scope="module")
def parquet(tmp_path_factory):
    """Files as the hub has them for FineWeb-Edu: sample/NAME/000_0000N.parquet with text, id, url, score."""
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    folder = tmp_path_factory.mktemp("hub") / "sample" / "10BT"
    folder.mkdir(parents=True)
    for n in range(3):
        texts = TEXTS[n * 130:(n + 1) * 130]
        parquet.write_table(pyarrow.table({
            "text": texts, "id": [f"<urn:uuid:{i}>" for i in range(len(texts))],
            "url": ["http://example.org"] * len(texts), "language_score": [0.9] * len(texts),
            "int_score": [3] * len(texts)}), folder / f"{n:03}_00000.parquet", row_group_size=40)
    return folder


@pytest.fixture(scope="module")
def tokenizer_json(tmp_path_factory):
    tokenizers = pytest.importorskip("tokenizers")
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    tokenizer.train_from_iterator(TEXTS, tokenizers.trainers.BpeTrainer(
        vocab_size=300, special_tokens=["<s>"], initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False))
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    tokenizer.save(str(path))
    return path


def test_parquet_through_datasets(tmp_path, parquet, tokenizer_json, monkeypatch):
    """Stopped after every shard, equal to the whole, and to what the command line prepares of the same files."""
    pytest.importorskip("datasets")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))

    def run(out, **options):
        stream, source = data.open_stream(None, [str(parquet / "*.parquet")], None, "train")
        return data.prepare(stream, out, str(tokenizer_json), source=source, shard_tokens=2000, batch=16, **options)

    whole = run(tmp_path / "whole")
    assert whole["documents"] == 390 and len(whole["shards"]) > 3
    stops = 0
    while True:
        class Stop(Exception):
            pass

        def stop(facts):
            raise Stop

        try:
            run(tmp_path / "parts", report=stop)
            break
        except Stop:
            stops += 1
    assert stops > 3
    assert ids_of(tmp_path / "parts") == ids_of(tmp_path / "whole")

    done = subprocess.run([sys.executable, "-m", "tidegate", "data", "prepare", str(parquet), f"--out={tmp_path / 'own'}",
                           f"--tokenizer={tokenizer_json}"], capture_output=True, text=True,
                          env={**os.environ, "TIDEGATE_PYTHON": sys.executable})
    assert done.returncode == 0, done.stderr
    own = json.loads((tmp_path / "own/dataset.json").read_text())
    for key in ("tokens", "documents", "text_bytes", "tokenizer_hash", "vocab"):
        assert own[key] == whole[key]


def test_command(tmp_path, parquet, tokenizer_json, monkeypatch):
    pytest.importorskip("datasets")
    done = subprocess.run([sys.executable, "-m", "tidegate.data", "--files", str(parquet / "*.parquet"),
                           f"--tokenizer={tokenizer_json}", f"--out={tmp_path / 'out'}", "--max-tokens=3000"],
                          capture_output=True, text=True,
                          env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hf")})
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["tokens"] >= 3000
    assert subprocess.run([sys.executable, "-m", "tidegate.data", "--files", "none*.parquet", f"--out={tmp_path}"],
                          capture_output=True).returncode == 1
