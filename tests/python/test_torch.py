"""tidegate.torch: autograd, modules, opaque operators."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import tidegate
import tidegate.fla
import tidegate.torch as bridge

from conftest import SMALL
from naive import linear_attention
from test_program import SCAN, inputs


def tensors(rng, dtype=torch.float64, **sizes):
    return [torch.tensor(x, dtype=dtype, requires_grad=True) for x in inputs(rng, **sizes)]


def reference(q, k, v, a):
    S = torch.zeros(q.shape[0], q.shape[2], q.shape[3], v.shape[3], dtype=q.dtype)
    return linear_attention(torch, q, k, v, S, 1, decay=a)[0]


def test_function_has_the_gradients_of_a_loop(rng):
    function = bridge.function(tidegate.compile(SCAN, precision="f64").gated)
    own = tensors(rng)
    other = [x.detach().clone().requires_grad_() for x in own]
    o, expected = function(*own), reference(*other)
    assert (o - expected).abs().max() < 1e-12
    o.square().sum().backward()
    expected.square().sum().backward()
    for a, b in zip(own, other):
        assert (a.grad - b.grad).abs().max() <= 1e-10 * b.grad.abs().max()


def test_gradcheck(rng):
    function = bridge.function(tidegate.compile(SCAN, precision="f64").gated)
    assert torch.autograd.gradcheck(function, tensors(rng, B=1, T=5, H=1, K=2, V=2))


def test_tensors_are_not_copied(rng):
    """The native call is given the very memory of the tensors."""
    entry = tidegate.compile(SCAN).gated
    given = []
    real = bridge.arrays.prepare

    def spy(name, value):
        result = real(name, value)
        given.append(result.data_ptr() == value.data_ptr())
        return result

    bridge.arrays.prepare = spy
    try:
        o = bridge.function(entry)(*tensors(rng, torch.float32))
        o.backward(torch.ones_like(o))
    finally:
        bridge.arrays.prepare = real
    assert len(given) >= 8 and all(given)


def test_no_gradient_where_none_is_asked(rng):
    function = bridge.function(tidegate.compile(SCAN, precision="f64").gated)
    q, k, v, a = tensors(rng)
    o = function(q.detach(), k, v.detach(), a.detach())
    o.sum().backward()
    assert k.grad is not None and q.grad is None
    assert not function(*(x.detach() for x in (q, k, v, a))).requires_grad


def test_half_precision_is_converted(rng):
    function = bridge.function(tidegate.compile(SCAN).gated)
    own = tensors(rng, torch.bfloat16)
    o = function(*own)
    exact = reference(*(x.detach().double() for x in own))
    assert o.dtype == torch.bfloat16
    assert (o.double() - exact).abs().max() <= 2.0**-8 * exact.abs().max()
    o.float().sum().backward()
    assert all(x.grad.dtype == torch.bfloat16 for x in own)


def test_module_has_the_paths_of_the_program(examples):
    program = tidegate.compile(examples / "gla/gla.tg", params=SMALL)
    module = bridge.Module(program)
    assert {name: tuple(x.shape) for name, x in module.state_dict().items()} == {
        name: weight.shape for name, weight in program.weights.items()}
    model = program.model(seed=42)
    for name, weight in model.state_dict().items():  # One seed, one initial value.
        assert (module.state_dict()[name].numpy() == weight).all()


def test_module_has_the_logits_and_gradients_of_the_model(examples, rng):
    program = tidegate.compile(examples / "gla/gla.tg", params=SMALL)
    module, model = bridge.Module(program), program.model(seed=42)
    ids = rng.integers(0, 259, (2, 33))
    logits = module(torch.tensor(ids[:, :-1]))
    assert np.abs(logits.detach().numpy() - model.logits(ids[:, :-1])).max() < 1e-5
    loss = torch.nn.functional.cross_entropy(logits.reshape(-1, 259), torch.tensor(ids[:, 1:]).reshape(-1))
    loss.backward()
    assert loss.item() == pytest.approx(model.loss_and_gradients(ids[:, :-1], ids[:, 1:]), rel=1e-5)
    for name, gradient in model.gradients().items():
        found = dict(module.named_parameters())[name].grad.numpy()
        assert np.abs(found - gradient).max() <= 1e-4 * max(np.abs(gradient).max(), 1e-3)


def test_layer_trains_inside_a_torch_model(examples, rng):
    """A mixer of the language in a PyTorch model learns to repeat what came two tokens ago."""
    torch.manual_seed(0)
    program = tidegate.compile(examples / "gla/gla.tg", params=SMALL)
    mixer = bridge.Module(program.gla, x=(1, 1, 32))
    assert "q_proj.weight" in mixer.state_dict()
    embed, head = torch.nn.Embedding(8, 32), torch.nn.Linear(32, 8)
    model = torch.nn.ModuleList([mixer, embed, head])
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(60):
        ids = torch.randint(0, 8, (8, 24))
        x = embed(ids)
        logits = head(x + mixer(x))
        loss = torch.nn.functional.cross_entropy(logits[:, 1:].reshape(-1, 8), ids[:, :-1].reshape(-1))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.75 * losses[0]


def test_errors_come_through(rng):
    function = bridge.function(tidegate.compile(SCAN).gated)
    q, k, v, a = tensors(rng, torch.float32)
    with pytest.raises(tidegate.CompileError, match="gated.q: float32"):
        function(q, k[..., :4], v, a)
    with pytest.raises(ValueError, match="no model"):
        bridge.Module(tidegate.compile(SCAN))


needs_custom_op = pytest.mark.skipif(not hasattr(torch.library, "custom_op"),
                                     reason=f"torch {torch.__version__} has no custom operators")


@needs_custom_op
def test_operators_pass_torchs_own_check(rng):
    entry = tidegate.compile(SCAN, precision="f64").gated
    function = bridge.function(entry)
    torch.library.opcheck(torch.ops.tidegate.call, (function._number, "q k v a", tensors(rng)))


@needs_custom_op
@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_torch_compile_keeps_one_graph(rng, backend):
    function = bridge.function(tidegate.compile(SCAN, precision="f64").gated)

    def layer(q, k, v, a):
        return torch.tanh(function(q * 2, k, v, a.sigmoid()))

    compiled = torch.compile(layer, backend=backend, fullgraph=True)
    own = tensors(rng)
    other = [x.detach().clone().requires_grad_() for x in own]
    o, expected = compiled(*own), layer(*other)
    assert (o - expected).abs().max() < 1e-12
    o.sum().backward()
    expected.sum().backward()
    for a, b in zip(own, other):
        assert (a.grad - b.grad).abs().max() <= 1e-12 * max(1, b.grad.abs().max())
    longer = compiled(*tensors(rng, T=90))
    assert longer.shape[1] == 90


@needs_custom_op
def test_torch_compile_leaves_operators_as_they_are(rng):
    """Those of tidegate.fla break the graph."""
    q, k, v, a = tensors(rng, torch.float32)

    def layer(q, k, v, g):
        return torch.tanh(tidegate.fla.chunk_gla(q * 2, k, v, g)[0])

    o, expected = torch.compile(layer, backend="aot_eager")(q, k, v, a.log()), layer(q, k, v, a.log())
    assert (o - expected).abs().max() < 1e-6
    o.sum().backward()
    assert q.grad.abs().max() > 0


@needs_custom_op
def test_module_inside_a_sharded_model(examples, rng, tmp_path):
    """FSDP2 on one CPU process: the same loss and gradients, parameters and state dict under the same names."""
    fsdp = pytest.importorskip("torch.distributed.fsdp")
    from torch.distributed.device_mesh import init_device_mesh

    program = tidegate.compile(examples / "gla/gla.tg", params=SMALL)
    plain, sharded = (bridge.Module(program.block, x=(1, 1, 32)) for _ in range(2))
    x = torch.randn(2, 17, 32)
    expected = plain(x)
    expected.square().mean().backward()
    torch.distributed.init_process_group("gloo", rank=0, world_size=1, init_method=f"file://{tmp_path / 'store'}")
    try:
        fsdp.fully_shard(sharded, mesh=init_device_mesh("cpu", (1,)))
        o = sharded(x)
        o.square().mean().backward()
        assert (o - expected).abs().max() == 0
        others = dict(plain.named_parameters())
        for name, weight in sharded.named_parameters():
            assert (weight.grad.full_tensor() - others[name].grad).abs().max() == 0
        assert sharded.state_dict().keys() == plain.state_dict().keys()
    finally:
        torch.distributed.destroy_process_group()
