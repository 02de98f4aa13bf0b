"""Shards of the trainer out of a streamed data set.

    python -m tidegate.data --dataset HuggingFaceFW/fineweb-edu --name sample-10BT --tokenizer tokenizer.json --out DIR
    python -m tidegate.data --files "parquet/*.parquet" --tokenizer tokenizer.json --out DIR

Reads with `datasets` as a stream, encodes with `tokenizers`, and writes the shards that docs/data.md describes, one
after the other. A trainer may run on the directory (`tidegate train ... --data DIR`) while it fills. After each
shard the position in the stream is kept in `progress.json`; the same command goes on from there.
"""

from __future__ import annotations

import argparse
import glob
import itertools
import json
import os
import sys
import time
from pathlib import Path
from typing import Any, Iterable

from . import _tidegate

_PROGRESS, _MANIFEST = "progress.json", "dataset.json"


class Encoder:
    """Texts to the ids of documents, many at once.

    A tokenizer.json is read by `tokenizers`, which uses all cores; `bytes` and SentencePiece models by Tidegate.
    """

    def __init__(self, spec: str):
        self.native = _tidegate.Tokenizer(spec)
        path = Path(spec, "tokenizer.json") if Path(spec).is_dir() else Path(spec)
        self.fast = None
        if path.name.endswith(".json"):
            from tokenizers import Tokenizer

            self.fast = Tokenizer.from_file(str(path))
            self.fast.no_truncation()
            self.fast.no_padding()

    def __call__(self, texts: list[str]) -> list[list[int]]:
        if self.fast:
            found = [encoding.ids for encoding in self.fast.encode_batch(texts, add_special_tokens=False)]
        else:
            found = [self.native.encode(text) for text in texts]
        return [self.native.prefix + ids + self.native.suffix for ids in found]


def _write_json(path: Path, value: Any) -> None:
    """All of it or nothing, and durable."""
    temporary = path.with_name("." + path.name + ".new")
    with open(temporary, "w") as file:
        json.dump(value, file, indent=1)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def prepare(stream: Any, out: str | os.PathLike[str], tokenizer: str, *, source: Any = None, field: str = "text",
            shard_tokens: int = 1 << 24, max_tokens: int | None = None, batch: int = 256,
            report: Any = None) -> dict[str, Any]:
    """Writes the documents of `stream` as shards of at least `shard_tokens` tokens into `out`; returns dataset.json.

    stream: an iterable data set of `datasets`, or any iterable of rows with state_dict() and load_state_dict().
    source: what the stream is, as JSON; another one in `out` is refused.
    max_tokens: ends after the document that reaches it.
    report: called after each shard with the description so far.
    Errors: ValueError when `out` holds a data set of other source or options; KeyError for a row without `field`.
    """
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    encode = Encoder(tokenizer)
    identity = {"source": source, "field": field, "shard_tokens": shard_tokens, "max_tokens": max_tokens,
                "tokenizer_hash": f"{encode.native.hash:016x}"}
    kept = {"identity": identity, "shards": [], "stream": None, "ended": False}
    if (folder / _PROGRESS).exists():
        kept = json.loads((folder / _PROGRESS).read_text())
        if kept["identity"] != identity:
            raise ValueError(f"'{out}' holds a data set of {kept['identity']}, but {identity} was asked for")
    elif (folder / _MANIFEST).exists() or (folder / _tidegate.shard_name(0)).exists():
        raise ValueError(f"'{out}' holds a data set that this command did not begin")
    shards: list[dict[str, Any]] = kept["shards"]

    def manifest() -> dict[str, Any]:
        return {"format": "tidegate-shards", "version": 1, "tokenizer": tokenizer,
                "tokenizer_hash": identity["tokenizer_hash"], "vocab": encode.native.vocab,
                **{name: sum(shard[name] for shard in shards) for name in ("tokens", "documents", "text_bytes")},
                "shards": shards}

    if kept["stream"] is not None and not kept["ended"]:
        stream.load_state_dict(kept["stream"])
    rows = iter(stream)
    total = sum(shard["tokens"] for shard in shards)
    while not kept["ended"]:
        name = _tidegate.shard_name(len(shards))
        writer = _tidegate.ShardWriter(str(folder / name), len(shards), encode.native.vocab, encode.native.hash)
        tokens, limit = 0, shard_tokens if max_tokens is None else min(shard_tokens, max_tokens - total)
        while tokens < limit:
            # A batch is encoded as a whole and belongs to one shard, so that the stream's position is the shard's.
            texts = [row[field] for row in itertools.islice(rows, batch)]
            if not texts:
                kept["ended"] = True
                break
            for text, ids in zip(texts, encode(texts)):
                if max_tokens is not None and total + tokens >= max_tokens:
                    break
                writer.add_document(ids, len(text.encode()))
                tokens += len(ids)
        if tokens:
            shards.append({"name": name, **writer.finish()})
            total += tokens
        kept["ended"] = kept["ended"] or (max_tokens is not None and total >= max_tokens)
        kept["stream"] = None if kept["ended"] else stream.state_dict()
        _write_json(folder / _PROGRESS, kept)
        if report:
            report(manifest())
    if not shards:
        raise ValueError("the data set has no documents")
    _write_json(folder / _MANIFEST, manifest())
    return manifest()


def open_stream(dataset: str | None, files: Iterable[str] | None, name: str | None, split: str) -> tuple[Any, Any]:
    """The stream of a data set of the hub, or of local Parquet or JSONL files, and what it is."""
    from datasets import load_dataset

    if not files:
        return load_dataset(dataset, name, split=split, streaming=True), {"dataset": dataset, "name": name, "split": split}
    paths = sorted(path for pattern in files for path in glob.glob(pattern))
    if not paths:
        raise FileNotFoundError(f"no file matches {list(files)}")
    kind = "parquet" if paths[0].endswith(".parquet") else "json"
    stream = load_dataset(kind, data_files={split: paths}, split=split, streaming=True)
    return stream, {"files": paths, "split": split}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tidegate.data", description=__doc__.split("\n\n")[0])
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--dataset", help="of the hub, such as HuggingFaceFW/fineweb-edu")
    which.add_argument("--files", nargs="+", metavar="PATTERN", help="local *.parquet, *.jsonl, *.json")
    parser.add_argument("--name", help="configuration of the data set, such as sample-10BT")
    parser.add_argument("--split", default="train")
    parser.add_argument("--field", default="text", help="column of the text")
    parser.add_argument("--tokenizer", default="bytes", help="tokenizer.json, SentencePiece *.model, or bytes")
    parser.add_argument("--out", required=True)
    parser.add_argument("--shard-tokens", type=int, default=1 << 24, help="least tokens of a shard (default 16M)")
    parser.add_argument("--max-tokens", type=int, help="end after so many (default: all)")
    options = parser.parse_args(arguments)
    started = time.monotonic()

    def report(facts: dict[str, Any]) -> None:
        print(f"{len(facts['shards'])} shards, {facts['tokens'] / 1e6:.1f} M tokens of "
              f"{facts['text_bytes'] / 1e6:.1f} MB, {time.monotonic() - started:.0f} s", file=sys.stderr)

    try:
        stream, source = open_stream(options.dataset, options.files, options.name, options.split)
        facts = prepare(stream, options.out, options.tokenizer, source=source, field=options.field,
                        shard_tokens=options.shard_tokens, max_tokens=options.max_tokens, report=report)
    except (ValueError, OSError, LookupError, ImportError) as error:
        print(f"tidegate.data: error: {error}", file=sys.stderr)
        return 1
    print(json.dumps({key: value for key, value in facts.items() if key != "shards"}
                     | {"shards": len(facts["shards"]), "out": str(options.out)}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
