"""Programs in PyTorch: functions with autograd, and modules.

    gated_scan = tidegate.torch.function(program.gated_scan)
    o = gated_scan(q, k, v, a)                     # tensors; backward is the derived one

    mixer = tidegate.torch.Module(program.gla, x=(1, 1, 64))
    y = mixer(x)                                   # parameters have the names of the .tg paths

Tensors are read where they lie. The backward runs the forward again, so that only the inputs are kept. Both
directions are one opaque operator each, which `torch.compile` and FSDP2 leave as it is. Programs of precision bf16
take tensors of float32 and of bfloat16. A floating tensor of another type than the program's precision is converted,
and so are the results, back to the first tensor's type.
"""

from typing import Any, Mapping, Sequence

import torch

from . import _tidegate, arrays
from .program import Entry, Program

#: What a program takes and gives, by its precision.
_PRECISIONS = {"f32": torch.float32, "f64": torch.float64, "bf16": torch.float32}


class _Call:
    """An entry and the names of the tensors that it is called with."""

    def __init__(self, number: int, names: str):
        self.entry, self.sizes = _entries[number]
        self.names = names.split()

    def forward(self, tensors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        with self.entry._told((), dict(zip(self.names, tensors))) as inputs:
            return list(self.entry.run(inputs, self.sizes).values())

    def backward(self, tensors: Sequence[torch.Tensor], cotangents: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Of every tensor; zeros for those that are no floats."""
        found = self.entry.vjp(tuple(cotangents), sizes=self.sizes, **dict(zip(self.names, tensors)))
        return [found[name].to(tensor.dtype) if name in found else torch.zeros_like(tensor)
                for name, tensor in zip(self.names, tensors)]

    def shapes(self, tensors: Sequence[torch.Tensor]) -> list[tuple[list[Any], torch.dtype]]:
        """Of the results, for tensors without values, whose B and T may be symbols."""

        def known(tensor: torch.Tensor) -> torch.Tensor:
            shape = [getattr(getattr(size, "node", None), "hint", size) for size in tensor.shape]
            return torch.empty(shape, dtype=tensor.dtype, device="meta")

        compiled = self.entry.compiled({name: known(tensor) for name, tensor in zip(self.names, tensors)}, self.sizes)
        B = T = 1
        given = dict(zip(self.names, tensors))
        for name, shape, _ in compiled.inputs:
            for size, symbol in zip(given[name].shape, shape):
                B = size if symbol == "B" else B
                T = size if symbol == "T" else T
        return [([B if s == "B" else T if s == "T" else s for s in shape],
                 arrays.type_in_torch(dtype)) for _, shape, dtype in compiled.outputs]


# Operators take numbers and texts, not objects: an entry and its sizes by their place in this list, names of tensors
# with spaces between. Entries are put here when a Function is made, which no compiler traces.
_entries: list[tuple[Entry, dict[str, int]]] = []


def _number_of(entry: Entry, sizes: Mapping[str, int]) -> int:
    key = (entry, dict(sizes))
    if key not in _entries:
        _entries.append(key)
    return _entries.index(key)


if hasattr(torch.library, "custom_op"):

    @torch.library.custom_op("tidegate::call", mutates_args=())
    def _call(number: int, names: str, tensors: list[torch.Tensor]) -> list[torch.Tensor]:
        return _Call(number, names).forward(tensors)

    @_call.register_fake
    def _(number, names, tensors):
        return [tensors[0].new_empty(shape, dtype=dtype) for shape, dtype in _Call(number, names).shapes(tensors)]

    @torch.library.custom_op("tidegate::vjp", mutates_args=())
    def _vjp(number: int, names: str, tensors: list[torch.Tensor],
             cotangents: list[torch.Tensor]) -> list[torch.Tensor]:
        return _Call(number, names).backward(tensors, cotangents)

    @_vjp.register_fake
    def _(number, names, tensors, cotangents):
        return [torch.empty_like(tensor, memory_format=torch.contiguous_format) for tensor in tensors]

    def _keep(ctx, inputs, output):
        ctx.number, ctx.names, tensors = inputs
        ctx.shapes = [(result.shape, result.dtype, result.device) for result in output]
        ctx.save_for_backward(*tensors)

    def _backward(ctx, cotangents):
        seeds = [torch.zeros(shape, dtype=dtype, device=device) if seed is None else seed
                 for seed, (shape, dtype, device) in zip(cotangents, ctx.shapes)]
        found = torch.ops.tidegate.vjp(ctx.number, ctx.names, list(ctx.saved_tensors), seeds)
        return None, None, [gradient if tensor.is_floating_point() else None
                            for gradient, tensor in zip(found, ctx.saved_tensors)]

    _call.register_autograd(_backward, setup_context=_keep)

    def _apply(number: int, names: str, tensors: list[torch.Tensor]) -> list[torch.Tensor]:
        return torch.ops.tidegate.call(number, names, tensors)

else:  # Before PyTorch 2.4: autograd without torch.compile.

    class _Function(torch.autograd.Function):
        @staticmethod
        def forward(ctx, call, *tensors):
            ctx.call = call
            ctx.save_for_backward(*tensors)
            return tuple(call.forward(tensors))

        @staticmethod
        def backward(ctx, *cotangents):
            found = ctx.call.backward(ctx.saved_tensors, cotangents)
            return None, *(gradient if tensor.is_floating_point() else None
                           for gradient, tensor in zip(found, ctx.saved_tensors))

    def _apply(number: int, names: str, tensors: list[torch.Tensor]) -> list[torch.Tensor]:
        return list(_Function.apply(_Call(number, names), *tensors))


class Function:
    """A function of a program on tensors, with autograd. Arguments as those of `tidegate.Entry`."""

    def __init__(self, entry: Entry, sizes: Mapping[str, int] | None = None):
        self.entry = entry
        self._number = _number_of(entry, sizes or {})
        self._dtype = _PRECISIONS[entry.program.precision]

    def __call__(self, *tensors: torch.Tensor, weights: Mapping[str, torch.Tensor] | None = None,
                 **named: torch.Tensor) -> Any:
        given = self._named(tensors, {**named, **(weights or {})})
        first = next((tensor.dtype for tensor in given.values() if tensor.is_floating_point()), self._dtype)
        results = [result.to(first) if result.is_floating_point() else result for result in self._run(given)]
        return results[0] if len(results) == 1 else tuple(results)

    def as_compiled(self, **tensors: torch.Tensor) -> list[torch.Tensor]:
        """The results in the program's types."""
        return self._run(self._named((), tensors))

    def _named(self, tensors: Sequence[torch.Tensor], named: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        if len(tensors) > len(self.entry.tensors):
            raise TypeError(f"{self.entry.name} takes {len(self.entry.tensors)} tensors, but {len(tensors)} were given")
        given = {**dict(zip(self.entry.tensors, tensors)), **named}
        if "cu_seqlens" in given and "cu_seqlens" not in self.entry.tensors:
            given["positions"] = torch.from_numpy(arrays.positions_of(given.pop("cu_seqlens")))
        return given

    def _run(self, given: dict[str, torch.Tensor]) -> list[torch.Tensor]:
        return _apply(self._number, " ".join(given), [self._taken(tensor) for tensor in given.values()])

    def _taken(self, tensor: torch.Tensor) -> torch.Tensor:
        """A tensor in a type that the program takes."""
        if not tensor.is_floating_point() or (arrays.is_half(tensor) and self.entry.program.precision == "bf16"):
            return tensor
        return tensor.to(self._dtype)


def function(entry: Entry, sizes: Mapping[str, int] | None = None) -> Function:
    """`entry` on tensors, with autograd. sizes: compile-time arguments, and sizes no tensor tells."""
    return Function(entry, sizes)


class Module(torch.nn.Module):
    """A layer or the model of a program, with its weights as parameters, initialised as the program says.

    entry: a layer or model; of a Program, its model.
    seed: of the initial weights.
    shapes: of a layer's tensors by name, the batch in front, as in `x=(1, 1, 64)`: they tell the sizes that its
        declaration leaves open. B and T do not matter.
    """

    def __init__(self, entry: Entry | Program, seed: int = 42, sizes: Mapping[str, int] | None = None,
                 **shapes: Sequence[int]):
        super().__init__()
        if isinstance(entry, Program):
            entry = next((e for e in entry.entries.values() if e.kind == "model"), None)
            if entry is None:
                raise ValueError("the program has no model; pass one of its layers")
        if entry.kind == "model" and not shapes:
            shapes = {name: (1, 1) for name in entry.tensors}
        self._function = Function(entry, sizes)
        native = entry.program._native.entry(entry.name, {n: tuple(s) for n, s in shapes.items()}, dict(sizes or {}))
        self._names = [name for name, _, _ in native.inputs if name not in entry.tensors]
        inits = native.inits
        for name, shape, _ in native.inputs:
            if name in entry.tensors:
                continue
            weight = torch.empty(shape, dtype=self._function._dtype)
            _tidegate.initialise(inits[name], name, seed, weight.numpy())
            self._add(name, torch.nn.Parameter(weight))

    def _add(self, path: str, weight: torch.nn.Parameter) -> None:
        *parents, last = path.split(".")
        module: torch.nn.Module = self
        for part in parents:
            if part not in module._modules:
                module.add_module(part, torch.nn.Module())
            module = module._modules[part]
        module.register_parameter(last, weight)

    def _weight(self, path: str) -> torch.Tensor:
        module: torch.nn.Module = self
        *parents, last = path.split(".")
        for part in parents:
            module = module._modules[part]
        return module._parameters[last]

    def forward(self, *tensors: torch.Tensor, **named: torch.Tensor) -> Any:
        return self._function(*tensors, weights={name: self._weight(name) for name in self._names}, **named)

    def extra_repr(self) -> str:
        return f"{self._function.entry.name}({', '.join(self._function.entry.tensors)})"
