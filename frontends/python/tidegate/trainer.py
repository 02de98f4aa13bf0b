"""Train a program's model, as `tidegate train` does."""

from __future__ import annotations

import json
import os
from typing import Any, Callable, Mapping

from . import _tidegate
from .model import Checkpoint, load
from .program import Program, command_options

Callback = Callable[[dict[str, Any]], Any]


class Trainer:
    """A training run. It has the options of `tidegate train` under the same names (`global_batch=64` is
    `--global-batch 64`, `data=[...]` gives several), writes the same files, and either goes on from the other's
    checkpoints.

        trainer = tidegate.Trainer("gla.tg", params={"D": 64}, data="text.txt", out="run", steps=100)
        result = trainer.train(callbacks=[print])

    program: a Program, a path, or a program's text.
    """

    def __init__(self, program: Program | str | os.PathLike[str], params: Mapping[str, Any] | None = None,
                 **options: Any):
        if isinstance(program, Program):
            if params is not None:
                raise TypeError("params: a Program has them already")
            compiled = {name: value for name, value in program._options.items() if value}
            options = {**compiled, **options}
        self.program = program if isinstance(program, Program) else Program(program, params)
        self.options = options

    def train(self, callbacks: list[Callback] | tuple[Callback, ...] = (), **options: Any) -> dict[str, Any]:
        """Runs to the end of the schedule and returns the result: final losses, speed, checkpoint.

        options: over the trainer's own, such as `resume="auto"`.
        callbacks: each is called with every record of metrics.jsonl as a dict: {"event": "begin", ...}, a step
            {"step", "loss", "lr", "grad_norm", "tokens_per_second", ...}, a held-out loss {"step",
            "held_out_loss", ...}, {"event": "end", ...}. One that returns False ends the run after the step, with
            a checkpoint; what one raises ends it so, too, and is raised.
        Errors: CompileError; ValueError for options; OSError. Ctrl-C saves a checkpoint and returns.
        """
        stopped, raised = [], []

        def record(text: str) -> None:
            fact = json.loads(text)
            for callback in () if raised else callbacks:
                try:
                    if callback(fact) is False:
                        stopped.append(True)
                except BaseException as error:  # Must not travel through the training loop.
                    raised.append(error)
                    return

        with self.program._as_file() as path:
            words = [path, *self.program._settings(), *command_options({**self.options, **options})]
            result = _tidegate.train(words, record, lambda: bool(stopped or raised))
        if raised:
            raise raised[0]
        return {} if result is None else json.loads(result)

    def load(self, path: str | os.PathLike[str] | None = None, **options: Any) -> Checkpoint:
        """The model of the newest checkpoint of the run (`out`), or of another path."""
        where = path if path is not None else self.options.get("out")
        if where is None:
            raise ValueError("path: expected one, since the trainer has no option `out`")
        return load(where, **options)
