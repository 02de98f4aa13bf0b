"""The operators of flash-linear-attention, by the same names, arguments and results.

    o, S = tidegate.fla.chunk_gla(q, k, v, g, initial_state=S0, output_final_state=True)

Queries, keys and values are (B, T, H, K) and (B, T, H, V); gates are logarithms of decays; `scale` is 1 / sqrt(K)
unless given; states are (N, H, K, V) for N sequences, of float32 (float64 for float64 inputs). With `cu_seqlens`
the one row holds N sequences. Inputs are torch tensors, with autograd, or NumPy arrays. The recurrences are the
`.tg` files beside this one; the `fused_recurrent_` forms run them token by token. What is not supported raises
NotImplementedError and says so; options that only choose among kernels are accepted (`cu_seqlens_cpu`,
`chunk_indices`, `safe_gate` beside a gate that is given, `disable_recompute`).
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any, Callable

import numpy as np

try:
    from torch.compiler import disable as _opaque
except ImportError:  # no PyTorch, or one without torch.compile
    _opaque = None

from .. import arrays
from ..program import Entry, Program

__all__ = ["chunk_delta_rule", "chunk_gated_delta_rule", "chunk_gla", "chunk_kda", "chunk_retention",
           "chunk_simple_gla", "fused_recurrent_delta_rule", "fused_recurrent_gated_delta_rule",
           "fused_recurrent_gdn", "fused_recurrent_gla", "fused_recurrent_kda", "fused_recurrent_retention",
           "fused_recurrent_simple_gla"]


@functools.lru_cache(maxsize=None)
def _compiled(file: str, name: str, params: tuple[tuple[str, Any], ...], **options: Any) -> Entry:
    return Program(Path(__file__).with_name(file + ".tg"), dict(params), **options).entry(name)


def _entry(file: str, name: str, lib: _Arrays, params: dict[str, Any], form: str = "chunk", chunk: int = 0) -> Entry:
    """A function of a program, for the device and the type of the tensors."""
    if lib.is_on_gpu:
        form = "chunk"  # The token form is the CPU's.
    return _compiled(file, name, tuple(sorted(params.items())), device="cuda" if lib.is_on_gpu else "cpu",
                     precision=lib.precision, form=form, chunk=chunk)


class _Arrays:
    """The few things that torch and NumPy spell differently."""

    def __init__(self, like: Any):
        self.is_torch = arrays.is_torch(like)
        if self.is_torch:
            import torch

            self.lib, self.like = torch, like
            self.is_double = like.dtype == torch.float64
        else:
            self.lib, self.like = np, like
            self.is_double = like.dtype == np.float64
        self.state_type = self.lib.float64 if self.is_double else self.lib.float32
        self.is_on_gpu = self.is_torch and like.is_cuda
        is_half = self.is_torch and like.dtype == self.lib.bfloat16
        self.precision = "f64" if self.is_double else "bf16" if is_half and self.is_on_gpu else "f32"

    def zeros(self, *shape: int) -> Any:
        where = {"device": self.like.device} if self.is_torch else {}
        return self.lib.zeros(shape, dtype=self.state_type, **where)

    def to(self, x: Any, dtype: Any) -> Any:
        return x.to(dtype) if self.is_torch else x.astype(dtype, copy=False)

    def flip(self, x: Any) -> Any:
        return self.lib.flip(x, (1,))

    def join(self, parts: list[Any], axis: int) -> Any:
        return self.lib.cat(parts, axis) if self.is_torch else np.concatenate(parts, axis)

    def spread(self, x: Any, *shape: int) -> Any:
        return x.expand(shape) if self.is_torch else np.broadcast_to(x, shape)

    def like_tokens(self, x: Any, tokens: Any) -> Any:
        """A number a head as one a token and head."""
        x = x if self.is_torch == arrays.is_torch(x) else self.lib.asarray(x)
        x = x.to(self.like.device) if self.is_torch else x
        return self.spread(self.to(x, self.state_type), *tokens.shape[:2], len(x))


def _refuse(**options: Any) -> None:
    for name, value in options.items():
        if value is not None and value is not False:
            raise NotImplementedError(f"tidegate.fla does not support `{name}`")


def _chunk_of(operator: str, others: dict[str, Any]) -> int:
    """The options that an operator has besides its own."""
    chunk = others.pop("chunk_size", None) or 0
    for name in ("cu_seqlens_cpu", "chunk_indices", "disable_recompute"):
        others.pop(name, None)
    _refuse(**{name: others.pop(name, None) for name in ("cp_context", "return_intermediate_states", "head_first")})
    if others:
        raise TypeError(f"{operator} got unknown options: {', '.join(others)}")
    return chunk


def _run(operator: str, file: str, name: str, tensors: dict[str, Any], *, scale: float | None, initial_state: Any,
         output_final_state: bool, cu_seqlens: Any, state_v_first: bool = False, reverse: bool = False,
         form: str = "chunk", chunk: int = 0, **params: Any) -> tuple[Any, Any]:
    """One call of a program's function: o (B, T, H, V) and the final state or None."""
    q, v = tensors["q"], tensors["v"]
    lib = _Arrays(q)
    B, T, H, K, V = *v.shape[:3], q.shape[-1], v.shape[-1]
    settings = {"scale": float(K**-0.5 if scale is None else scale), **params}
    entry = _entry(file, name, lib, settings, form, chunk)
    call = _caller_of(entry, lib)
    N = B
    if cu_seqlens is not None:
        if B != 1:
            raise ValueError(f"{operator}: with cu_seqlens the sequences are one row after the other, "
                             f"but the batch size is {B}")
        cuts = [int(cut) for cut in arrays.to_host(cu_seqlens)]
        positions = arrays.positions_of(cuts)
        if cuts[-1] != T:
            raise ValueError(f"{operator}: cu_seqlens ends at {cuts[-1]}, but there are {T} tokens")
        N = len(cuts) - 1
    if initial_state is not None and tuple(initial_state.shape) != ((N, H, V, K) if state_v_first else (N, H, K, V)):
        raise ValueError(f"{operator}: expected an initial state of shape "
                         f"{[N, H, V, K] if state_v_first else [N, H, K, V]}, but got {list(initial_state.shape)}")
    if initial_state is None:
        S0 = lib.zeros(N, H, K, V)
    else:
        S0 = lib.to(initial_state, lib.state_type)
        S0 = S0.swapaxes(-1, -2) if state_v_first else S0

    def one(part: dict[str, Any], state: Any, **more: Any) -> tuple[Any, Any]:
        part = {key: lib.flip(x) for key, x in part.items()} if reverse else part
        o, S = call({**part, "S0": state, **more})
        return (lib.flip(o) if reverse else o), S

    if cu_seqlens is None:
        o, S = one(tensors, S0)
    elif initial_state is None and not output_final_state and not reverse:
        # A scan restarts where a position is 0: all sequences at once.
        o, S = one(tensors, S0[:1], positions=positions)
    else:
        parts = [one({key: x[:, begin:end] for key, x in tensors.items()}, S0[n:n + 1])
                 for n, (begin, end) in enumerate(zip(cuts, cuts[1:]))]
        o, S = (lib.join(list(results), axis) for results, axis in zip(zip(*parts), (1, 0)))
    if not output_final_state:
        return o, None
    return o, S.swapaxes(-1, -2) if state_v_first else S


def _caller_of(entry: Entry, lib: _Arrays) -> Callable[[dict[str, Any]], tuple[Any, Any]]:
    if not lib.is_torch:
        dtype = lib.state_type

        def call(tensors: dict[str, Any]) -> tuple[Any, Any]:
            return entry(**{name: x if x.dtype.kind != "f" else lib.to(x, dtype) for name, x in tensors.items()})
        return call

    from .. import torch as bridge

    function = bridge.function(entry)

    def call_torch(tensors: dict[str, Any]) -> tuple[Any, Any]:
        o_type = tensors["q"].dtype
        tensors = {name: lib.lib.from_numpy(x) if isinstance(x, np.ndarray)
                   else x if lib.precision == "bf16" and x.dtype == lib.lib.bfloat16 else lib.to(x, lib.state_type)
                   for name, x in tensors.items()}
        o, S = function.as_compiled(**tensors)
        return lib.to(o, o_type), S
    return call_torch


def _gla(operator, form, q, k, v, gk, gv, scale, initial_state, output_final_state, state_v_first, cu_seqlens,
         reverse, others):
    chunk = _chunk_of(operator, others)
    tensors = {"q": q, "k": k, "v": v, "gk": gk}
    if gk is None:
        tensors["gk"] = _Arrays(q).zeros(*k.shape)
    if gv is not None:
        tensors["gv"] = gv
    return _run(operator, "gla", "gla" if gv is None else "gla_v", tensors, scale=scale, initial_state=initial_state,
                output_final_state=output_final_state, state_v_first=state_v_first, cu_seqlens=cu_seqlens,
                reverse=reverse, form=form, chunk=chunk)


def chunk_gla(q, k, v, g, scale=None, initial_state=None, output_final_state=False, state_v_first=False,
              cu_seqlens=None, cu_seqlens_cpu=None, **others):
    """Gated linear attention; g is (B, T, H, K)."""
    return _gla("chunk_gla", "chunk", q, k, v, g, None, scale, initial_state, output_final_state, state_v_first,
                cu_seqlens, False, others)


def fused_recurrent_gla(q, k, v, gk=None, gv=None, scale=None, initial_state=None, output_final_state=False,
                        reverse=False, state_v_first=False, cu_seqlens=None, **others):
    """Gated linear attention; gk is (B, T, H, K), gv (B, T, H, V)."""
    return _gla("fused_recurrent_gla", "token", q, k, v, gk, gv, scale, initial_state, output_final_state,
                state_v_first, cu_seqlens, reverse, others)


def _simple_gla(operator, form, q, k, v, g, g_gamma, scale, initial_state, output_final_state, state_v_first,
                cu_seqlens, reverse, others):
    chunk = _chunk_of(operator, others)
    if g is not None and g_gamma is not None:
        raise NotImplementedError(f"{operator}: tidegate.fla does not support `g` and `g_gamma` together")
    lib = _Arrays(q)
    if g is None:
        g = lib.zeros(*q.shape[:3]) if g_gamma is None else lib.like_tokens(g_gamma, q)
    return _run(operator, "simple_gla", "simple_gla", {"q": q, "k": k, "v": v, "g": g}, scale=scale,
                initial_state=initial_state, output_final_state=output_final_state, state_v_first=state_v_first,
                cu_seqlens=cu_seqlens, reverse=reverse, form=form, chunk=chunk)


def chunk_simple_gla(q, k, v, g=None, g_gamma=None, scale=None, initial_state=None, output_final_state=False,
                     state_v_first=False, cu_seqlens=None, cu_seqlens_cpu=None, **others):
    """Linear attention with one gate a head: g (B, T, H), or g_gamma (H) for all tokens."""
    return _simple_gla("chunk_simple_gla", "chunk", q, k, v, g, g_gamma, scale, initial_state, output_final_state,
                       state_v_first, cu_seqlens, False, others)


def fused_recurrent_simple_gla(q, k, v, g=None, g_gamma=None, scale=None, initial_state=None,
                               output_final_state=False, reverse=False, state_v_first=False, cu_seqlens=None,
                               **others):
    """As chunk_simple_gla."""
    return _simple_gla("fused_recurrent_simple_gla", "token", q, k, v, g, g_gamma, scale, initial_state,
                       output_final_state, state_v_first, cu_seqlens, reverse, others)


def _retention_gates(q: Any) -> np.ndarray:
    return np.log(1 - 2.0 ** (-5 - np.arange(q.shape[2])))


def chunk_retention(q, k, v, scale=None, initial_state=None, output_final_state=False, cu_seqlens=None, **others):
    """Linear attention whose head i decays by 1 - 2^(-5 - i)."""
    return _simple_gla("chunk_retention", "chunk", q, k, v, None, _retention_gates(q), scale, initial_state,
                       output_final_state, False, cu_seqlens, False, others)


def fused_recurrent_retention(q, k, v, scale=None, initial_state=None, output_final_state=False, reverse=False,
                              state_v_first=False, cu_seqlens=None, **others):
    """As chunk_retention."""
    return _simple_gla("fused_recurrent_retention", "token", q, k, v, None, _retention_gates(q), scale, initial_state,
                       output_final_state, state_v_first, cu_seqlens, reverse, others)


def _delta(operator, name, form, q, k, v, beta, scale, initial_state, output_final_state, cu_seqlens, others, *,
           g=None, l2norm=False, sigmoid=False, negative=False, state_v_first=False, reverse=False):
    chunk = _chunk_of(operator, others)
    if q.shape[2] != k.shape[2] or v.shape[2] % q.shape[2]:
        raise ValueError(f"{operator}: expected as many heads of q as of k, and a multiple of them of v, but got "
                         f"{q.shape[2]}, {k.shape[2]} and {v.shape[2]}")
    if negative and not sigmoid:
        raise ValueError(f"{operator}: `allow_neg_eigval` needs `use_beta_sigmoid_in_kernel`")
    lib = _Arrays(q)
    if beta is None:
        beta = lib.zeros(*v.shape[:3]) + 1
    if len(beta.shape) != 3:
        raise NotImplementedError(f"{operator}: tidegate.fla does not support a `beta` of each value channel")
    tensors = {"q": q, "k": k, "v": v, "beta": beta}
    if g is not None:
        tensors["g"] = g
    return _run(operator, "delta", name, tensors, scale=scale, initial_state=initial_state,
                output_final_state=output_final_state, state_v_first=state_v_first, cu_seqlens=cu_seqlens,
                reverse=reverse, form=form, chunk=chunk, l2norm=bool(l2norm), beta_sigmoid=bool(sigmoid),
                beta_max=2 if negative else 1)


def chunk_delta_rule(q, k, v, beta, scale=None, initial_state=None, output_final_state=False,
                     use_qk_l2norm_in_kernel=False, cu_seqlens=None, cu_seqlens_cpu=None, **others):
    """The delta rule; beta is (B, T, H)."""
    return _delta("chunk_delta_rule", "delta_rule", "chunk", q, k, v, beta, scale, initial_state, output_final_state,
                  cu_seqlens, others, l2norm=use_qk_l2norm_in_kernel)


def fused_recurrent_delta_rule(q, k, v, beta=None, scale=None, initial_state=None, output_final_state=False,
                               use_qk_l2norm_in_kernel=False, cu_seqlens=None):
    """As chunk_delta_rule."""
    return _delta("fused_recurrent_delta_rule", "delta_rule", "token", q, k, v, beta, scale, initial_state,
                  output_final_state, cu_seqlens, {}, l2norm=use_qk_l2norm_in_kernel)


def _raw_gate(operator, g, v, A_log, dt_bias, lower_bound=None):
    """The log decay of a raw gate (B, T, HV) or (B, T, HV, K), by delta.tg's `gate`."""
    if A_log is None and lower_bound is None:
        raise ValueError(f"{operator}: `use_gate_in_kernel` needs `A_log`")
    lib = _Arrays(v)
    HV = v.shape[2]
    channels = g.shape[3] if len(g.shape) == 4 else 1
    raw = lib.to(g, lib.state_type).reshape(*g.shape[:3], channels)
    if dt_bias is not None:
        raw = raw + lib.to(dt_bias, lib.state_type).reshape(HV, channels)
    rate = lib.zeros(HV) if A_log is None else lib.to(A_log, lib.state_type).reshape(HV)
    rate = lib.spread(lib.lib.exp(rate)[:, None], *g.shape[:3], 1)
    params = {} if lower_bound is None else {"lower_bound": float(lower_bound)}
    entry = _entry("delta", "gate", lib, params)
    if not lib.is_torch:
        return entry(raw, rate).reshape(g.shape)
    from .. import torch as bridge

    return bridge.function(entry)(raw, rate).reshape(g.shape)


def _gated_delta(operator, form, q, k, v, g, gk, beta, scale, initial_state, output_final_state, l2norm, raw, A_log,
                 dt_bias, sigmoid, negative, state_v_first, cu_seqlens, others):
    lib = _Arrays(q)
    if raw:
        if g is None:
            raise ValueError(f"{operator}: `use_gate_in_kernel` needs `g`")
        g = _raw_gate(operator, g, v, A_log, dt_bias)
    if gk is not None:
        g = gk if g is None else gk + g[..., None]
    if g is None:
        g = lib.zeros(*v.shape[:3])
    return _delta(operator, "kda" if len(g.shape) == 4 else "gated_delta_rule", form, q, k, v, beta, scale,
                  initial_state, output_final_state, cu_seqlens, others, g=g, l2norm=l2norm, sigmoid=sigmoid,
                  negative=negative, state_v_first=state_v_first)


def chunk_gated_delta_rule(q, k, v, g, beta, scale=None, initial_state=None, output_final_state=False,
                           use_qk_l2norm_in_kernel=False, use_beta_sigmoid_in_kernel=False, allow_neg_eigval=False,
                           state_v_first=False, cu_seqlens=None, cu_seqlens_cpu=None, chunk_indices=None,
                           cp_context=None, use_gate_in_kernel=False, A_log=None, dt_bias=None, **others):
    """The gated delta rule; g and beta are (B, T, HV), v is (B, T, HV, V) with HV a multiple of H.

    use_gate_in_kernel: g is raw, and the log decay is -exp(A_log) softplus(g + dt_bias).
    """
    _refuse(cp_context=cp_context)
    return _gated_delta("chunk_gated_delta_rule", "chunk", q, k, v, g, None, beta, scale, initial_state,
                        output_final_state, use_qk_l2norm_in_kernel, use_gate_in_kernel, A_log, dt_bias,
                        use_beta_sigmoid_in_kernel, allow_neg_eigval, state_v_first, cu_seqlens, others)


def fused_recurrent_gated_delta_rule(q, k, v, g=None, gk=None, gv=None, beta=None, scale=None, initial_state=None,
                                     output_final_state=False, use_qk_l2norm_in_kernel=False,
                                     use_gate_in_kernel=False, A_log=None, dt_bias=None,
                                     use_beta_sigmoid_in_kernel=False, allow_neg_eigval=False, state_v_first=False,
                                     cu_seqlens=None, **others):
    """As chunk_gated_delta_rule; gk (B, T, HV, K) is a gate a key channel."""
    _refuse(gv=gv)
    return _gated_delta("fused_recurrent_gated_delta_rule", "token", q, k, v, g, gk, beta, scale, initial_state,
                        output_final_state, use_qk_l2norm_in_kernel, use_gate_in_kernel, A_log, dt_bias,
                        use_beta_sigmoid_in_kernel, allow_neg_eigval, state_v_first, cu_seqlens, others)


fused_recurrent_gdn = fused_recurrent_gated_delta_rule


def _kda(operator, form, q, k, v, g, beta, scale, initial_state, output_final_state, l2norm, raw, A_log, dt_bias,
         sigmoid, negative, lower_bound, state_v_first, cu_seqlens, others):
    if raw:
        g = _raw_gate(operator, g, v, A_log, dt_bias, lower_bound)
    return _delta(operator, "kda", form, q, k, v, beta, scale, initial_state, output_final_state, cu_seqlens, others,
                  g=g, l2norm=l2norm, sigmoid=sigmoid, negative=negative, state_v_first=state_v_first)


def chunk_kda(q, k, v, g, beta, scale=None, initial_state=None, output_final_state=False,
              use_qk_l2norm_in_kernel=False, use_gate_in_kernel=False, use_beta_sigmoid_in_kernel=False,
              allow_neg_eigval=False, safe_gate=False, lower_bound=None, disable_recompute=False,
              return_intermediate_states=False, state_v_first=False, cu_seqlens=None, cu_seqlens_cpu=None,
              cp_context=None, A_log=None, dt_bias=None, **others):
    """Kimi delta attention; g is (B, T, HV, K), beta (B, T, HV), v (B, T, HV, V) with HV a multiple of H.

    use_gate_in_kernel: g is raw, and the log decay is -exp(A_log) softplus(g + dt_bias), or with `lower_bound`
        lower_bound sigmoid(exp(A_log) (g + dt_bias)).
    """
    _refuse(return_intermediate_states=return_intermediate_states, cp_context=cp_context)
    return _kda("chunk_kda", "chunk", q, k, v, g, beta, scale, initial_state, output_final_state,
                use_qk_l2norm_in_kernel, use_gate_in_kernel, A_log, dt_bias, use_beta_sigmoid_in_kernel,
                allow_neg_eigval, lower_bound, state_v_first, cu_seqlens, others)


def fused_recurrent_kda(q, k, v, g, beta, A_log=None, dt_bias=None, scale=None, initial_state=None,
                        output_final_state=False, use_qk_l2norm_in_kernel=False, use_gate_in_kernel=False,
                        use_beta_sigmoid_in_kernel=False, allow_neg_eigval=False, lower_bound=None,
                        state_v_first=False, cu_seqlens=None, **others):
    """As chunk_kda."""
    return _kda("fused_recurrent_kda", "token", q, k, v, g, beta, scale, initial_state, output_final_state,
                use_qk_l2norm_in_kernel, use_gate_in_kernel, A_log, dt_bias, use_beta_sigmoid_in_kernel,
                allow_neg_eigval, lower_bound, state_v_first, cu_seqlens, others)


if _opaque:  # torch.compile leaves the operators as they are, between two graphs.
    for _name in __all__:
        globals()[_name] = _opaque(globals()[_name])
