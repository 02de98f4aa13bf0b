"""Arrays in and out: NumPy arrays and torch tensors alike, without a copy where the memory already fits.

Programs take row-major tensors: of f32 or f64 as they are compiled, of int32 for ids; those of precision bf16 also
torch's bfloat16. A tensor that lies otherwise is copied into row-major order, and int64 ids become int32; a floating
tensor of another type is an error, since a silent conversion would hide what it costs.
"""

from __future__ import annotations

import sys
from typing import Any, Iterable, Sequence

import numpy as np

#: The numpy type of a program's type.
DTYPES = {"f32": np.float32, "f64": np.float64, "i32": np.int32, "i64": np.int64, "f16": np.float16}


def type_in_torch(dtype: str) -> Any:
    """The torch type of a program's type."""
    import torch

    return torch.bfloat16 if dtype == "bf16" else getattr(torch, np.dtype(DTYPES[dtype]).name)


def is_half(value: Any) -> bool:
    """Whether it is a torch tensor of bfloat16, for which NumPy has no type."""
    return is_torch(value) and type_in_torch("bf16") == value.dtype


def is_torch(value: Any) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def shape_of(value: Any) -> tuple[int, ...]:
    return tuple(int(size) for size in value.shape)


def _narrow(name: str, low: int, high: int) -> None:
    info = np.iinfo(np.int32)
    if low < info.min or high > info.max:
        raise ValueError(f"tensor '{name}' holds integers that do not fit into int32: {low} to {high}")


def prepare(name: str, value: Any) -> Any:
    """`value` as the compiler takes it: itself unless it must be copied."""
    if is_torch(value):
        import torch

        value = value.detach()
        if value.dtype == torch.int64:
            if value.numel():
                _narrow(name, int(value.min()), int(value.max()))
            value = value.to(torch.int32)
        return value.contiguous()
    if isinstance(value, (bool, int, float, list, tuple)):
        value = np.asarray(value)
    if isinstance(value, (np.ndarray, np.generic)):
        value = np.asarray(value)
        if value.dtype == np.int64:
            if value.size:
                _narrow(name, int(value.min()), int(value.max()))
            value = value.astype(np.int32)
        return value if value.flags.c_contiguous else np.ascontiguousarray(value)
    return value  # Whatever else speaks DLPack.


def stream_of(tensors: Iterable[Any]) -> int:
    """The handle of the caller's CUDA stream: torch's current one if a tensor is torch's and on a GPU, else the default."""
    for tensor in tensors:
        if is_torch(tensor) and tensor.is_cuda:
            import torch

            return torch.cuda.current_stream(tensor.device).cuda_stream
    return 0


def to_host(value: Any) -> Any:
    """A torch tensor on the CPU; anything else as it is."""
    return value.cpu() if is_torch(value) else value


def empty(like: Any, shape: Sequence[int], dtype: str) -> Any:
    """A new tensor of `like`'s library: torch's on its device, else NumPy's."""
    if is_torch(like):
        import torch

        return torch.empty(tuple(shape), dtype=type_in_torch(dtype), device=like.device)
    return np.empty(tuple(shape), DTYPES[dtype])


def describe(value: Any) -> str:
    """`float32[2, 3]`, for messages."""
    if not hasattr(value, "shape"):
        return type(value).__name__
    return f"{str(value.dtype).removeprefix('torch.')}{list(shape_of(value))}"


def positions_of(cu_seqlens: Any) -> np.ndarray:
    """The position of each token in its document, 1 x T int32, of boundaries 0, ..., T of one row."""
    cuts = np.asarray(to_host(cu_seqlens), np.int64)
    if cuts.ndim != 1 or len(cuts) < 2 or cuts[0] != 0 or (np.diff(cuts) < 1).any():
        raise ValueError(f"cu_seqlens: expected rising boundaries from 0 to T, but got {cuts.tolist()}")
    starts = np.repeat(cuts[:-1], np.diff(cuts))
    return (np.arange(cuts[-1]) - starts).astype(np.int32)[None]
