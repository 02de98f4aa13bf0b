"""Recurrences as loops over tokens, in NumPy or torch: the oracle of tests. (B, T, H, ...) arrays of float64."""

import numpy as np


def _stack(lib, rows):
    return lib.stack(rows, 1)


def linear_attention(lib, q, k, v, S, scale, decay=None, value_decay=None, beta=None):
    """S = decay S, S += k (v - k S if beta else v) beta; o = scale q S.

    decay: (B, T, H, K) or (B, T, H), value_decay: (B, T, H, V), both factors; S: (B, H, K, V).
    Fewer heads of q and k than of v serve neighbours.
    """
    group = v.shape[2] // q.shape[2]
    heads = [h // group for h in range(v.shape[2])]
    q, k = q[:, :, heads], k[:, :, heads]
    outputs = []
    for t in range(q.shape[1]):
        if decay is not None:
            S = S * (decay[:, t, :, :, None] if len(decay.shape) == 4 else decay[:, t, :, None, None])
        if value_decay is not None:
            S = S * value_decay[:, t, :, None, :]
        new = v[:, t]
        if beta is not None:
            new = (new - lib.einsum("bhk,bhkv->bhv", k[:, t], S)) * beta[:, t, :, None]
        S = S + k[:, t, :, :, None] * new[:, :, None, :]
        outputs.append(scale * lib.einsum("bhk,bhkv->bhv", q[:, t], S))
    return _stack(lib, outputs), S


def unit(lib, x, eps=1e-6):
    return x / lib.sqrt((x * x).sum(-1)[..., None] + eps)


def numbers(rng, B=2, T=33, H=2, HV=2, K=8, V=6):
    """Tensors that suit every operator; log gates from 0 to strong."""
    q, k = (rng.normal(size=(B, T, H, K)) for _ in range(2))
    k = k / np.linalg.norm(k, axis=-1, keepdims=True)
    return {"q": q, "k": k, "v": rng.normal(size=(B, T, HV, V)), "gk": -rng.exponential(0.3, (B, T, HV, K)),
            "g": -rng.exponential(0.3, (B, T, HV)), "gv": -rng.exponential(0.3, (B, T, HV, V)),
            "beta": rng.uniform(0, 1, (B, T, HV))}


# Operator, names of its tensors in order, and what the loop takes of them (lib: NumPy or torch).
OPERATORS = {
    "chunk_gla": (("q", "k", "v", "gk"), lambda lib, x: {"decay": lib.exp(x["gk"])}),
    "fused_recurrent_gla": (("q", "k", "v", "gk"), lambda lib, x: {"decay": lib.exp(x["gk"])}),
    "chunk_simple_gla": (("q", "k", "v", "g"), lambda lib, x: {"decay": lib.exp(x["g"])}),
    "fused_recurrent_simple_gla": (("q", "k", "v", "g"), lambda lib, x: {"decay": lib.exp(x["g"])}),
    "chunk_delta_rule": (("q", "k", "v", "beta"), lambda lib, x: {"beta": x["beta"]}),
    "fused_recurrent_delta_rule": (("q", "k", "v", "beta"), lambda lib, x: {"beta": x["beta"]}),
    "chunk_gated_delta_rule": (("q", "k", "v", "g", "beta"),
                               lambda lib, x: {"decay": lib.exp(x["g"]), "beta": x["beta"]}),
    "chunk_kda": (("q", "k", "v", "gk", "beta"), lambda lib, x: {"decay": lib.exp(x["gk"]), "beta": x["beta"]}),
    "fused_recurrent_kda": (("q", "k", "v", "gk", "beta"),
                            lambda lib, x: {"decay": lib.exp(x["gk"]), "beta": x["beta"]}),
    "chunk_retention": (("q", "k", "v"), lambda lib, x: {"decay": retention(lib, x["q"])}),
    "fused_recurrent_retention": (("q", "k", "v"), lambda lib, x: {"decay": retention(lib, x["q"])}),
}
GROUPED = ["chunk_gated_delta_rule", "chunk_kda", "fused_recurrent_kda"]


def retention(lib, q):
    rates = 1 - 2.0 ** (-5 - np.arange(q.shape[2]))
    return lib.ones_like(q[..., 0]) * (rates if lib is np else lib.from_numpy(rates).to(q))


def loop(lib, name, x, S0, scale=None):
    """The operator's o and final state by the loop."""
    return linear_attention(lib, x["q"], x["k"], x["v"], S0, x["q"].shape[-1] ** -0.5 if scale is None else scale,
                            **OPERATORS[name][1](lib, x))
