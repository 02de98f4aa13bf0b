"""Compile a program and call what is in it."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Iterator, Mapping, Union

from . import _tidegate, arrays
from .errors import CompileError, NotFoundError

if TYPE_CHECKING:
    from .model import Model

Param = Union[bool, int, float, str]
_TEXT_NAME = "program.tg"


@dataclass(frozen=True)
class Weight:
    """A weight of the model; its name is the key under which it is found."""

    shape: tuple[int, ...]
    init: str
    decay: bool


def _value(text: str) -> Param:
    if text in ("true", "false"):
        return text == "true"
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            pass
    return text


def _text(value: Param) -> str:
    """A param as --set takes it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def compile(source: str | os.PathLike[str], params: Mapping[str, Param] | None = None, **options: Any) -> "Program":
    """The program of a file, or of a text.

    source: a path, or the text itself (anything with a line end or a brace).
    params: values of the program's `param`s, over their defaults.
    Options and errors: as `Program`.
    """
    return Program(source, params, **options)


class Program:
    """A program with its params.

    device: "cpu" or "cuda". For "cuda" tensors may lie on GPU 0, where they are used as they are, in order with the
        caller's stream; those in host memory are copied to the GPU and back.
    precision: "f32" or "f64", of everything floating; "bf16" (cuda) computes in bf16 on tensors of f32, or of bfloat16:
        rows of more than 32 numbers a token are then read, and written, where they lie; smaller ones are converted.
    form: "chunk", the derived chunk-parallel form of recurrences, or "token", as they are written.
    chunk: tokens of a chunk (0: the compiler's choice). threads: 0 is all cores.
    documents: rows hold several documents, told apart by `positions`.
    low_rank: "stored" or "fused"; see `tidegate help train`.

    Functions and layers are attributes: `program.gated_scan(q, k, v, a)`; `entry` finds those whose name is taken.
    Errors: CompileError, at the first look into the program; NotFoundError for a file that is not there.
    """

    def __init__(self, source: str | os.PathLike[str], params: Mapping[str, Param] | None = None, *,
                 device: str = "cpu", precision: str = "f32", form: str = "chunk", chunk: int = 0, threads: int = 0,
                 documents: bool = False, low_rank: str = "stored", files: Mapping[str, str] | None = None):
        is_text = isinstance(source, str) and ("\n" in source or "{" in source)
        self.path = _TEXT_NAME if is_text else os.fspath(source)
        given = {self.path: source} if is_text else dict(files or {})
        self._params = [(name, _text(value)) for name, value in (params or {}).items()]
        self._options = dict(device=device, precision=precision, form=form, chunk=chunk, threads=threads,
                             documents=documents, low_rank=low_rank)
        self._native = _tidegate.Program(self.path, self._params, list(given.items()), **self._options)
        self._entries: dict[str, Entry] | None = None
        self._given = given

    def with_options(self, **options: Any) -> "Program":
        """The same program compiled otherwise."""
        twin = object.__new__(Program)
        twin.__dict__.update(self.__dict__)
        twin._options = {**self._options, **options}
        twin._native = _tidegate.Program(self.path, self._params, list(self._given.items()), **twin._options)
        twin._entries = None
        return twin

    @property
    def precision(self) -> str:
        return self._options["precision"]

    @property
    def params(self) -> dict[str, Param]:
        """Every `param` with its value."""
        return {name: _value(text) for name, text in self._native.params()}

    @property
    def weights(self) -> dict[str, Weight]:
        """The model's weights by name, in the order of first use."""
        return {name: Weight(shape, init, decay) for name, shape, init, decay in self._native.weights()}

    @property
    def files(self) -> dict[str, str]:
        """The program's text: the main file and its imports."""
        return dict(self._native.files())

    @property
    def entries(self) -> dict[str, "Entry"]:
        """The program's functions, layers and model by name."""
        if self._entries is None:
            self._entries = {name: Entry(self, name, kind, tensors, sizes)
                             for name, kind, tensors, sizes in self._native.entries()}
        return self._entries

    def entry(self, name: str) -> "Entry":
        """Errors: NotFoundError."""
        try:
            return self.entries[name]
        except KeyError:
            raise NotFoundError(f"'{self.path}' has no fn, layer or model '{name}'; it has "
                                + (", ".join(self.entries) or "none")) from None

    def __getattr__(self, name: str) -> "Entry":
        if name.startswith("_"):
            raise AttributeError(name)
        try:
            return self.entry(name)
        except NotFoundError as error:
            raise AttributeError(str(error)) from None

    def emit(self, stage: str) -> str:
        """The model at one level of the compiler; see `stages()`."""
        return self._native.emit(stage)

    def plan(self, B: int, T: int, micro_batches: int = 1) -> dict[str, Any]:
        """Memory and work of a training step of `micro_batches` times B x T tokens."""
        return json.loads(self._native.plan(B, T, micro_batches))

    def verify(self, entry: str | None = None, **options: Any) -> dict[str, Any]:
        """The compiled forms against each other, gradients against finite differences; as `tidegate verify`.

        options: those of the command, `batch=1` for `--batch 1`.
        """
        if entry is not None:
            options["entry"] = entry
        with self._as_file() as path:
            return json.loads(_tidegate.verify([path, *self._settings(), *command_options(options)]))

    def model(self, seed: int | None = 42) -> "Model":
        """The compiled model with initial weights (None: all zero)."""
        from .model import Model

        return Model(self, seed)

    def _settings(self) -> list[str]:
        return [part for name, value in self._params for part in ("--set", f"{name}={value}")]

    @contextlib.contextmanager
    def _as_file(self) -> Iterator[str]:
        """A path of the program's text."""
        if not self._given:
            yield self.path
            return
        with tempfile.TemporaryDirectory() as folder:
            for path, text in self._given.items():
                target = Path(folder, path.lstrip("/"))
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(text)
            yield str(Path(folder, self.path.lstrip("/")))

    def __repr__(self) -> str:
        return f"<tidegate.Program {self.path!r}>"


def command_options(options: Mapping[str, Any]) -> list[str]:
    """`batch=1, dry_run=True, data=["a", "b"]` as `--batch=1 --dry-run --data=a --data=b`; None and False are left out."""
    words = []
    for name, value in options.items():
        option = "--" + name.replace("_", "-")
        for item in value if isinstance(value, (list, tuple)) else [value]:
            if item is True:
                words.append(option)
            elif item is not None and item is not False:
                words.append(f"{option}={os.fspath(item) if isinstance(item, os.PathLike) else item}")
    return words


def _caller() -> str:
    """Where the package was called from."""
    ours = (os.path.dirname(__file__) + os.sep, contextlib.__file__)
    frame = sys._getframe(1)
    while frame.f_back and frame.f_code.co_filename.startswith(ours):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


class Entry:
    """A function, layer or model of a program. It is compiled when it is called, once for each choice of the sizes
    that its declaration leaves open; B and T may differ from call to call.

    Tensors are NumPy arrays, torch tensors, or anything with `__dlpack__`, with the batch in front. They are read
    where they lie (see `tidegate.arrays`). Results are torch tensors if the first tensor is one, else NumPy arrays.
    """

    def __init__(self, program: Program, name: str, kind: str, tensors: list[str], sizes: list[str]):
        self.program, self.name, self.kind = program, name, kind
        self.tensors = tensors  #: Names of its tensor arguments.
        self.sizes = sizes  #: Sizes and compile-time arguments that its declaration leaves open.
        self._compiled: list[tuple[bool, dict[str, int], set[str], _tidegate.Entry]] = []

    def __call__(self, *tensors: Any, weights: Mapping[str, Any] | None = None,
                 sizes: Mapping[str, int] | None = None, **named: Any) -> Any:
        """The result, or a tuple of the results.

        weights: of a layer or model, by name. sizes: compile-time arguments, and sizes no tensor tells.
        positions (B x T) or cu_seqlens (0, ..., T of one row): which documents the rows hold.
        """
        with self._told(tensors, {**(weights or {}), **named}) as inputs:
            outputs = self.run(inputs, sizes)
        results = tuple(outputs.values())
        return results[0] if len(results) == 1 else results

    def vjp(self, cotangents: Any, *tensors: Any, weights: Mapping[str, Any] | None = None,
            sizes: Mapping[str, int] | None = None, **named: Any) -> dict[str, Any]:
        """Vector-Jacobian products: the gradient of each floating tensor and weight, by name.

        cotangents: of the result, a tuple for several, or a mapping by their names; None is zero.
        """
        with self._told(tensors, {**(weights or {}), **named}) as inputs:
            compiled = self.compiled(inputs, sizes)
            inputs = self._converted(compiled, inputs)
            seeds = self._seeds(compiled, cotangents)
            B, T = compiled.sizes(inputs)
            like = next(iter(inputs.values()))
            gradients = {name: arrays.empty(like, _shape(shape, B, T), dtype)
                         for name, shape, dtype in compiled.inputs if not dtype.startswith("i")}
            compiled.vjp(inputs, seeds, gradients, arrays.stream_of(inputs.values()))
        return gradients

    def run(self, inputs: Mapping[str, Any], sizes: Mapping[str, int] | None = None) -> dict[str, Any]:
        """The results by name, of inputs by name that are prepared (`arrays.prepare`)."""
        compiled = self.compiled(inputs, sizes)
        inputs = self._converted(compiled, inputs)
        outputs = self._outputs(compiled, inputs)
        compiled.run(inputs, outputs, arrays.stream_of(inputs.values()))
        return outputs

    def compiled(self, inputs: Mapping[str, Any], sizes: Mapping[str, int] | None = None) -> _tidegate.Entry:
        """The native entry for tensors of these shapes and types."""
        sizes = dict(sizes or {})
        documents = "positions" in inputs and "positions" not in self.tensors
        half = {name for name, x in inputs.items() if arrays.is_half(x)} if self.program.precision == "bf16" else set()
        for had_documents, had_sizes, had_half, entry in self._compiled:
            if (had_documents, had_sizes, had_half) == (documents, sizes, half) and _fits(entry, inputs):
                return entry
        program = self.program.with_options(documents=True) if documents else self.program
        shapes = {name: arrays.shape_of(tensor) for name, tensor in inputs.items()}
        entry = program._native.entry(self.name, shapes, sizes, half)
        self._compiled.append((documents, sizes, half, entry))
        return entry

    def _converted(self, compiled: _tidegate.Entry, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        """Inputs of bfloat16 in float where a program of that precision takes them so: few numbers a token, weights."""
        if self.program.precision != "bf16":
            return inputs
        wants = {name: dtype for name, _, dtype in compiled.inputs}
        return {name: x.float() if arrays.is_half(x) and wants.get(name) == "f32" else x for name, x in inputs.items()}

    @contextlib.contextmanager
    def _told(self, tensors: tuple[Any, ...], named: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """The inputs by name; errors say which Python call they come from."""
        given = dict(named)
        if len(tensors) > len(self.tensors):
            raise TypeError(f"{self.name} takes {len(self.tensors)} tensors ({', '.join(self.tensors)}), "
                            f"but {len(tensors)} were given")
        for name, tensor in zip(self.tensors, tensors):
            if name in given:
                raise TypeError(f"{self.name} got two tensors '{name}'")
            given[name] = tensor
        try:
            if "cu_seqlens" in given and "cu_seqlens" not in self.tensors:
                given["positions"] = arrays.positions_of(given.pop("cu_seqlens"))
            if "positions" in given and "positions" not in self.tensors:
                given["positions"] = arrays.to_host(given["positions"])  # They are checked there.
            yield {name: arrays.prepare(name, tensor) for name, tensor in given.items()}
        except (CompileError, NotFoundError, ValueError, TypeError) as error:
            told = ", ".join(f"{name}: {arrays.describe(tensor)}" for name, tensor in given.items())
            call = f"{self.name}({told}), called at {_caller()}"
            if isinstance(error, CompileError):
                error.call = call
                raise
            raise type(error)(f"{error}\nin {call}") from None

    @staticmethod
    def _outputs(compiled: _tidegate.Entry, inputs: Mapping[str, Any]) -> dict[str, Any]:
        B, T = compiled.sizes(inputs)
        like = next(iter(inputs.values()))
        return {name: arrays.empty(like, _shape(shape, B, T), dtype) for name, shape, dtype in compiled.outputs}

    @staticmethod
    def _seeds(compiled: _tidegate.Entry, cotangents: Any) -> dict[str, Any]:
        if not isinstance(cotangents, Mapping):
            names = [name for name, _, _ in compiled.outputs]
            several = cotangents if isinstance(cotangents, tuple) else (cotangents,)
            if len(several) > len(names):
                raise ValueError(f"expected at most {len(names)} cotangents, but got {len(several)}")
            cotangents = dict(zip(names, several))
        return {name: arrays.prepare(name, seed) for name, seed in cotangents.items() if seed is not None}

    def __repr__(self) -> str:
        return f"<tidegate {self.kind} {self.name}({', '.join(self.tensors)})>"


def _shape(shape: tuple[Any, ...], B: int, T: int) -> list[int]:
    return [B if size == "B" else T if size == "T" else size for size in shape]


def _fits(entry: _tidegate.Entry, inputs: Mapping[str, Any]) -> bool:
    """Whether the entry was compiled for tensors of these names and static sizes."""
    specs = entry.inputs
    if len(specs) != len(inputs):
        return False
    for name, shape, _ in specs:
        if name not in inputs:
            return False
        given = arrays.shape_of(inputs[name])
        if len(given) != len(shape) or any(isinstance(want, int) and want != has for want, has in zip(shape, given)):
            return False
    return True


def stages() -> dict[str, str]:
    """The levels that `Program.emit` prints, each with a line of help."""
    return dict(_tidegate.stages())
