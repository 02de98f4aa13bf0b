"""A compiled model with its weights: losses, training steps, decoding; and checkpoints of training runs."""

from __future__ import annotations

import json
import os
from typing import Any, Iterable, Iterator, Sequence

import numpy as np

from . import _tidegate
from .program import Program, Weight


def _ids(name: str, value: Any) -> np.ndarray:
    """B x T int32."""
    array = np.asarray(value)
    if array.ndim == 1:
        array = array[None]
    if array.ndim != 2 or array.dtype.kind not in "iu":
        raise ValueError(f"{name}: expected B x T integers, but got {array.dtype}{list(array.shape)}")
    return np.ascontiguousarray(array, np.int32)


class Model:
    """A program's model, compiled, with weights, gradients and AdamW moments of its own."""

    def __init__(self, program: Program, seed: int | None = 42):
        self.program = program
        self._native = _tidegate.Model(program._native)
        self._index = {name: i for i, (name, *_) in enumerate(self._native.parameters())}
        if seed is not None:
            self._native.initialise(seed)

    @property
    def vocab(self) -> int:
        return self._native.vocab

    @property
    def weights(self) -> dict[str, Weight]:
        return {name: Weight(shape, init, decay) for name, shape, init, decay in self._native.parameters()}

    def state_dict(self) -> dict[str, np.ndarray]:
        """The weights by name: arrays on the model's own memory. Writing to one changes the model."""
        return {name: self._native.array(i, "weight") for name, i in self._index.items()}

    def load_state_dict(self, tensors: dict[str, Any]) -> None:
        """Errors: ValueError unless these are exactly the model's weights, in their shapes."""
        own = self.state_dict()
        if own.keys() != tensors.keys():
            raise ValueError(f"missing weights: {sorted(own.keys() - tensors.keys())}; "
                             f"unknown: {sorted(tensors.keys() - own.keys())}")
        for name, target in own.items():
            given = np.asarray(tensors[name])
            if given.shape != target.shape:
                raise ValueError(f"weight '{name}': expected shape {list(target.shape)}, but got {list(given.shape)}")
            target[...] = given

    def load_weights(self, path: str | os.PathLike[str]) -> None:
        """From a safetensors file."""
        self._native.load_weights(os.fspath(path))

    def gradients(self) -> dict[str, np.ndarray]:
        """Of the last `loss_and_gradients`, by name; arrays on the model's own memory."""
        return {name: self._native.array(i, "gradient") for name, i in self._index.items()}

    def logits(self, ids: Any, positions: Any = None) -> np.ndarray:
        """ids: B x T. Returns B x T x vocab."""
        return self._native.logits(_ids("ids", ids), None if positions is None else _ids("positions", positions))

    def scores(self, ids: Any, labels: Any, positions: Any = None) -> tuple[np.ndarray, np.ndarray]:
        """Of each label (as in `loss`), B x T: its log-probability in nats, and whether it is the likeliest id, the
        first of equals; 0 and False for -100. Unlike `logits` this does not hold B x T x vocab numbers."""
        positions = None if positions is None else _ids("positions", positions)
        return self._native.scores(_ids("ids", ids), _ids("labels", labels), positions)

    def loss(self, ids: Any, labels: Any, positions: Any = None) -> float:
        """Mean nats of the labels: labels[b, t] is the token that comes after ids[b, t]; -100 does not count."""
        return self._loss(ids, labels, positions, False)

    def loss_and_gradients(self, ids: Any, labels: Any, positions: Any = None) -> float:
        """The loss; leaves the gradients of it in `gradients()`."""
        return self._loss(ids, labels, positions, True)

    def _loss(self, ids: Any, labels: Any, positions: Any, gradients: bool) -> float:
        positions = None if positions is None else _ids("positions", positions)
        return self._native.loss(_ids("ids", ids), _ids("labels", labels), positions, gradients)[0]

    def train_step(self, ids: Any, labels: Any, *, step: int, lr: float, beta1: float = 0.9, beta2: float = 0.95,
                   eps: float = 1e-15, weight_decay: float = 0.1, max_norm: float = 1.0,
                   positions: Any = None) -> dict[str, Any]:
        """One AdamW update. step: 1 for the first. Returns loss (before it), grad_norm (before clipping), skipped."""
        batch = (_ids("ids", ids), _ids("labels", labels), None if positions is None else _ids("positions", positions))
        loss, norm, skipped = self._native.train_step([batch], step=step, lr=lr, beta1=beta1, beta2=beta2, eps=eps,
                                                      weight_decay=weight_decay, max_norm=max_norm)
        return {"loss": loss, "grad_norm": norm, "skipped": skipped}

    def log_likelihoods(self, sequences: Sequence[Sequence[int]], scored: Sequence[int],
                        batch: int = 8) -> list[tuple[float, bool]]:
        """Of the last `scored[i]` tokens of each sequence, given those before: their summed log-likelihood, and
        whether each is the likeliest. `batch` is a matter of speed only."""
        return self._native.log_likelihoods([list(ids) for ids in sequences], list(scored), batch)

    def perplexity(self, ids: Sequence[int], seq: int, batch: int = 8) -> float:
        """exp of the mean nats over windows of `seq` tokens; see docs/evaluation.md."""
        nats, predicted = self._native.perplexity(np.asarray(ids, np.int32), batch, seq)
        return float(np.exp(nats / predicted))

    def decoder(self, batch: int = 1) -> "Decoder":
        """From the zero state."""
        return Decoder(self._native.decoder(batch), batch)

    def generate(self, prompt: Sequence[int], max_tokens: int, temperature: float = 0.8, top_p: float = 0.95,
                 seed: int = 0, stop: Iterable[int] = ()) -> Iterator[int]:
        """The tokens after a prompt, one at a time; ends before a token of `stop`. temperature 0: the likeliest."""
        if not len(prompt):
            raise ValueError("prompt: expected at least one token")
        stop = set(stop)
        decoder = self.decoder()
        logits = decoder.feed([list(prompt)])[0]
        for position in range(max_tokens):
            token = _tidegate.sample_token(logits, temperature, top_p, seed, position)
            if token in stop:
                return
            yield token
            logits = decoder.feed([[token]])[0]


class Decoder:
    """Token by token: the recurrent state stays between calls, so a token costs the same at any length."""

    def __init__(self, native: _tidegate.Decoder, batch: int):
        self._native, self.batch = native, batch

    def feed(self, ids: Any, positions: Any = None) -> np.ndarray:
        """Feeds B x T more tokens. Returns the logits after the last: B x vocab."""
        return self._native.feed(_ids("ids", ids), None if positions is None else _ids("positions", positions))


class Checkpoint(Model):
    """The model of a training run's checkpoint, with its tokenizer."""

    def __init__(self, path: str | os.PathLike[str], *, tokenizer: str | None = None, **options: Any):
        self.path, text = _tidegate.find_checkpoint(os.fspath(path))
        self.record = json.loads(text)  #: run.json.
        program = self.record["program"]
        self.settings: dict[str, Any] = self.record["settings"]
        self.step: int = self.record["step"]
        super().__init__(Program(program["path"], dict(program["params"]), files=dict(program["files"]), **options),
                         seed=None)
        self._native.load_checkpoint(self.path)
        self.tokenizer = _tidegate.Tokenizer(tokenizer or self.settings.get("tokenizer") or "bytes")
        #: Bytes are trained on as they are; other texts begin with the tokenizer's prefix.
        self.prefix: list[int] = [] if self.tokenizer.hash == _tidegate.Tokenizer("bytes").hash else self.tokenizer.prefix


def load(path: str | os.PathLike[str], *, tokenizer: str | None = None, **options: Any) -> Checkpoint:
    """The newest usable checkpoint of a run's directory, or the checkpoint itself.

    tokenizer: instead of the run's. options: as `Program`.
    Errors: NotFoundError, CorruptError.
    """
    return Checkpoint(path, tokenizer=tokenizer, **options)
