"""tidegate.fla against loops in float64: values, states, packed sequences, gradients, refusals."""

import itertools

import numpy as np
import pytest
from tidegate import fla

from naive import GROUPED, OPERATORS, linear_attention, loop, numbers, unit


def call(name, x, **options):
    return getattr(fla, name)(*(x[key] for key in OPERATORS[name][0]), **options)


def near(a, b, bound=1e-10):
    assert a.shape == b.shape
    assert np.abs(np.asarray(a) - np.asarray(b)).max() <= bound * max(1, np.abs(np.asarray(b)).max())


@pytest.mark.parametrize("name", OPERATORS)
def test_values_and_states(rng, name):
    """Every length runs on one compiled program."""
    for T in (1, 17, 64, 65, 130):
        x = numbers(rng, T=T)
        o, S = call(name, x)
        near(o, loop(np, name, x, np.zeros((2, 2, 8, 6)))[0])
        assert S is None
        S0 = rng.normal(size=(2, 2, 8, 6))
        expected, final = loop(np, name, x, S0)
        o, S = call(name, x, initial_state=S0, output_final_state=True)
        near(o, expected)
        near(S, final)


@pytest.mark.parametrize("name", ["chunk_gla", "chunk_kda"])
@pytest.mark.parametrize("K,V", [(4, 4), (5, 3), (16, 24)])
def test_widths_and_scale(rng, name, K, V):
    x = numbers(rng, T=40, K=K, V=V)
    o, _ = call(name, x, scale=0.7)
    near(o, loop(np, name, x, np.zeros((2, 2, K, V)), scale=0.7)[0])


@pytest.mark.parametrize("name", OPERATORS)
def test_packed_sequences(rng, name):
    x = numbers(rng, B=1, T=70)
    cuts = [0, 1, 20, 70]
    S0 = rng.normal(size=(3, 2, 8, 6))
    o, S = call(name, x, cu_seqlens=np.array(cuts), initial_state=S0, output_final_state=True)
    plain, _ = call(name, x, cu_seqlens=cuts)
    for n, (begin, end) in enumerate(zip(cuts, cuts[1:])):
        part = {key: value[:, begin:end] for key, value in x.items()}
        expected, final = loop(np, name, part, S0[n:n + 1])
        near(o[:, begin:end], expected)
        near(S[n:n + 1], final)
        near(plain[:, begin:end], loop(np, name, part, np.zeros((1, 2, 8, 6)))[0])


@pytest.mark.parametrize("name", GROUPED)
def test_grouped_values(rng, name):
    x = numbers(rng, HV=6)
    o, _ = call(name, x)
    near(o, loop(np, name, x, np.zeros((2, 6, 8, 6)))[0])


@pytest.mark.parametrize("name", ["chunk_delta_rule", "chunk_gated_delta_rule", "chunk_kda"])
def test_norm_in_the_kernel(rng, name):
    x = numbers(rng)
    x["k"] = 3 * x["k"]
    o, _ = call(name, x, use_qk_l2norm_in_kernel=True)
    normed = {**x, "q": unit(np, x["q"]), "k": unit(np, x["k"])}
    near(o, loop(np, name, normed, np.zeros((2, 2, 8, 6)))[0])


@pytest.mark.parametrize("name", ["chunk_gated_delta_rule", "chunk_kda"])
@pytest.mark.parametrize("negative", [False, True])
def test_sigmoid_in_the_kernel(rng, name, negative):
    x = numbers(rng)
    raw = rng.normal(size=x["beta"].shape)
    o, _ = call(name, {**x, "beta": raw}, use_beta_sigmoid_in_kernel=True, allow_neg_eigval=negative)
    x["beta"] = (2 if negative else 1) / (1 + np.exp(-raw))
    near(o, loop(np, name, x, np.zeros((2, 2, 8, 6)))[0])


@pytest.mark.parametrize("lower_bound", [None, -5.0])
@pytest.mark.parametrize("bias", [False, True])
def test_gate_in_the_kernel(rng, lower_bound, bias):
    x = numbers(rng)
    A_log, dt_bias = rng.normal(size=2), rng.normal(size=2 * 8) if bias else None
    raw = rng.normal(size=x["gk"].shape)
    o, _ = call("chunk_kda", {**x, "gk": raw}, use_gate_in_kernel=True, A_log=A_log, dt_bias=dt_bias,
                lower_bound=lower_bound, safe_gate=lower_bound is not None)
    raw = raw + (dt_bias.reshape(2, 8) if bias else 0)
    rate = np.exp(A_log)[:, None]
    x["gk"] = -rate * np.logaddexp(0, raw) if lower_bound is None else lower_bound / (1 + np.exp(-rate * raw))
    near(o, loop(np, "chunk_kda", x, np.zeros((2, 2, 8, 6)))[0])


def test_gate_a_head_in_the_kernel(rng):
    x = numbers(rng)
    A_log, dt_bias, raw = rng.normal(size=2), rng.normal(size=2), rng.normal(size=x["g"].shape)
    o, _ = fla.chunk_gated_delta_rule(x["q"], x["k"], x["v"], raw, x["beta"], use_gate_in_kernel=True, A_log=A_log,
                                      dt_bias=dt_bias)
    x["g"] = -np.exp(A_log) * np.logaddexp(0, raw + dt_bias)
    near(o, loop(np, "chunk_gated_delta_rule", x, np.zeros((2, 2, 8, 6)))[0])


def test_gates_of_recurrent_forms(rng):
    x, S0 = numbers(rng), np.zeros((2, 2, 8, 6))
    scale = 8**-0.5
    o, _ = fla.fused_recurrent_gla(x["q"], x["k"], x["v"], x["gk"], x["gv"])
    near(o, linear_attention(np, x["q"], x["k"], x["v"], S0, scale, np.exp(x["gk"]), np.exp(x["gv"]))[0])
    o, _ = fla.fused_recurrent_gated_delta_rule(x["q"], x["k"], x["v"], g=x["g"], gk=x["gk"], beta=x["beta"])
    decay = np.exp(x["gk"] + x["g"][..., None])
    near(o, linear_attention(np, x["q"], x["k"], x["v"], S0, scale, decay, beta=x["beta"])[0])
    o, _ = fla.fused_recurrent_delta_rule(x["q"], x["k"], x["v"])
    near(o, linear_attention(np, x["q"], x["k"], x["v"], S0, scale, beta=np.ones((2, 33, 2)))[0])
    gamma = np.array([-0.1, -0.5])
    o, _ = fla.chunk_simple_gla(x["q"], x["k"], x["v"], g_gamma=gamma)
    near(o, linear_attention(np, x["q"], x["k"], x["v"], S0, scale, np.exp(gamma) * np.ones((2, 33, 2)))[0])
    o, _ = fla.chunk_simple_gla(x["q"], x["k"], x["v"])
    near(o, linear_attention(np, x["q"], x["k"], x["v"], S0, scale)[0])


def test_reverse_and_layout_of_the_state(rng):
    x, S0 = numbers(rng), rng.normal(size=(2, 2, 8, 6))
    o, S = call("fused_recurrent_gla", x, reverse=True, initial_state=S0.swapaxes(-1, -2), output_final_state=True,
                state_v_first=True)
    turned = {key: value[:, ::-1] for key, value in x.items()}
    expected, final = loop(np, "fused_recurrent_gla", turned, S0)
    near(o, expected[:, ::-1])
    near(S, final.swapaxes(-1, -2))


def test_float32_is_near(rng):
    x = numbers(rng, T=100)
    o, S = call("chunk_gla", {key: value.astype(np.float32) for key, value in x.items()}, output_final_state=True)
    assert o.dtype == S.dtype == np.float32
    near(o, loop(np, "chunk_gla", x, np.zeros((2, 2, 8, 6)))[0], 2e-6)


@pytest.mark.parametrize("name,S0,packed", list(itertools.product(OPERATORS, [False, True], [False, True])))
def test_gradients(rng, name, S0, packed):
    torch = pytest.importorskip("torch")
    x = numbers(rng, B=1 if packed else 2, T=40)
    cuts = [0, 7, 40]
    N = 2
    names = (*OPERATORS[name][0], *(["S0"] if S0 else []))
    x["S0"] = rng.normal(size=(N, 2, 8, 6))
    do, dS = torch.from_numpy(rng.normal(size=x["v"].shape)), torch.from_numpy(rng.normal(size=x["S0"].shape))

    def tensors():
        return {key: torch.tensor(value, requires_grad=True) for key, value in x.items()}

    own, other = tensors(), tensors()
    options = {"initial_state": own["S0"], "output_final_state": True} if S0 else {}
    o, S = call(name, own, **options, **({"cu_seqlens": torch.tensor(cuts)} if packed else {}))
    (o * do).sum().backward(retain_graph=S0)
    if S0:
        (S * dS).sum().backward()
    zero = torch.zeros_like(other["S0"])
    if packed:
        parts = [loop(torch, name, {key: value[:, begin:end] for key, value in other.items() if key != "S0"},
                      (other["S0"] if S0 else zero)[n:n + 1]) for n, (begin, end) in enumerate(zip(cuts, cuts[1:]))]
        expected, final = torch.cat([p[0] for p in parts], 1), torch.cat([p[1] for p in parts])
    else:
        expected, final = loop(torch, name, other, other["S0"] if S0 else zero)
    ((expected * do).sum() + ((final * dS).sum() if S0 else 0)).backward()
    near(o.detach(), expected.detach())
    for key in names:
        near(own[key].grad, other[key].grad, 1e-9)


def test_gradients_of_the_gate(rng):
    torch = pytest.importorskip("torch")
    x = {key: torch.tensor(value) for key, value in numbers(rng).items()}
    x["gk"] = torch.tensor(rng.normal(size=(2, 33, 2, 8)))
    leaves = [torch.tensor(rng.normal(size=n), requires_grad=True) for n in (2, 16)]
    o, _ = call("chunk_kda", x, use_gate_in_kernel=True, A_log=leaves[0], dt_bias=leaves[1])
    found = torch.autograd.grad(o.square().sum(), leaves)
    gate = -leaves[0].exp()[:, None] * torch.nn.functional.softplus(x["gk"] + leaves[1].view(2, 8))
    o, _ = loop(torch, "chunk_kda", {**x, "gk": gate}, torch.zeros(2, 2, 8, 6, dtype=torch.float64))
    for a, b in zip(found, torch.autograd.grad(o.square().sum(), leaves)):
        near(a, b, 1e-9)


def test_half_precision_comes_back(rng):
    torch = pytest.importorskip("torch")
    x = numbers(rng)
    o, S = call("chunk_gla", {key: torch.tensor(value, dtype=torch.bfloat16) for key, value in x.items()},
                output_final_state=True)
    assert o.dtype == torch.bfloat16 and S.dtype == torch.float32
    near(o.float(), loop(np, "chunk_gla", x, np.zeros((2, 2, 8, 6)))[0], 2e-2)


def test_what_is_not_supported_says_so(rng):
    x = numbers(rng)
    q, k, v = x["q"], x["k"], x["v"]
    with pytest.raises(NotImplementedError, match="`cp_context`"):
        fla.chunk_kda(q, k, v, x["gk"], x["beta"], cp_context=object())
    with pytest.raises(NotImplementedError, match="`return_intermediate_states`"):
        fla.chunk_kda(q, k, v, x["gk"], x["beta"], return_intermediate_states=True)
    with pytest.raises(NotImplementedError, match="`gv`"):
        fla.fused_recurrent_gated_delta_rule(q, k, v, g=x["g"], gv=x["gv"], beta=x["beta"])
    with pytest.raises(NotImplementedError, match="`head_first`"):
        fla.chunk_gla(q, k, v, x["gk"], head_first=True)
    with pytest.raises(NotImplementedError, match="`beta` of each value channel"):
        fla.fused_recurrent_delta_rule(q, k, v, v)
    with pytest.raises(NotImplementedError, match="`g` and `g_gamma` together"):
        fla.chunk_simple_gla(q, k, v, x["g"], np.zeros(2))
    with pytest.raises(TypeError, match="unknown options: colour"):
        fla.chunk_gla(q, k, v, x["gk"], colour="red")
    with pytest.raises(ValueError, match="the batch size is 2"):
        fla.chunk_gla(q, k, v, x["gk"], cu_seqlens=[0, 33])
    with pytest.raises(ValueError, match=r"expected an initial state of shape \[2, 2, 8, 6\]"):
        fla.chunk_gla(q, k, v, x["gk"], initial_state=np.zeros((1, 2, 8, 6)))
    with pytest.raises(ValueError, match="needs `use_beta_sigmoid_in_kernel`"):
        fla.chunk_kda(q, k, v, x["gk"], x["beta"], allow_neg_eigval=True)
    with pytest.raises(ValueError, match="a multiple of them of v"):
        fla.chunk_gated_delta_rule(q, k, v[:, :, :1], x["g"], x["beta"])
