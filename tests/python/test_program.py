"""Compile, look inside, call, differentiate."""

import numpy as np
import pytest
import tidegate

from conftest import SMALL
from naive import linear_attention

SCAN = """
param scale = 1
fn gated(q: [T, H, K], k: [T, H, K], v: [T, H, V], a: [T, H, K]) -> [T, H, V] {
  scan over t, h in H {
    state S: [K, V] = 0
    S = diag(a[t, h]) . S + outer(k[t, h], v[t, h])
    o[t, h] = scale * (q[t, h] . S)
  }
  return o
}
fn halves(x: [T, n]) -> [T, n], [T, n] { return x / 2, x * 2 }
"""


def inputs(rng, B=2, T=70, H=2, K=8, V=4, dtype=np.float64):
    q, k = (rng.normal(size=(B, T, H, K)).astype(dtype) for _ in range(2))
    return q, k, rng.normal(size=(B, T, H, V)).astype(dtype), rng.uniform(0.5, 1, (B, T, H, K)).astype(dtype)


def test_program_says_what_it_has(examples):
    program = tidegate.compile(examples / "gla/gla.tg", params=SMALL)
    assert program.params["D"] == 32 and program.params["rank"] == "full"
    assert program.entries["gated_scan"].tensors == ["q", "k", "v", "a"]
    assert program.entries["GLA"].kind == "model"
    assert program.weights["model.embeddings.weight"].shape == (259, 32)
    assert "scan" in program.files[str(examples / "gla/gla.tg")]
    assert "rec.scan" in program.emit("rec")
    assert set(tidegate.stages()) >= {"graph", "rec", "chunk"}
    assert program.plan(2, 64)["peak_bytes"] > 0


@pytest.mark.parametrize("precision,bound", [("f64", 1e-12), ("f32", 1e-5)])
@pytest.mark.parametrize("form", ["chunk", "token"])
def test_call_equals_a_loop(rng, precision, bound, form):
    q, k, v, a = inputs(rng)
    expected, _ = linear_attention(np, q, k, v, np.zeros((2, 2, 8, 4)), 0.5, decay=a)
    program = tidegate.compile(SCAN, params={"scale": 0.5}, precision=precision, form=form)
    dtype = np.float64 if precision == "f64" else np.float32
    o = program.gated(*(x.astype(dtype) for x in (q, k, v, a)))
    assert o.dtype == dtype
    assert np.abs(o - expected).max() <= bound * np.abs(expected).max()


def test_vjp_equals_differences(rng):
    q, k, v, a = inputs(rng, T=20)
    program = tidegate.compile(SCAN, precision="f64")
    do = rng.normal(size=v.shape)
    gradients = program.gated.vjp(do, q, k, v, a)
    assert list(gradients) == ["q", "k", "v", "a"]
    for name, x in zip("qkva", (q, k, v, a)):
        direction = rng.normal(size=x.shape)

        def value(step):
            moved = {n: y + (step * direction if n == name else 0) for n, y in zip("qkva", (q, k, v, a))}
            return (program.gated(**moved) * do).sum()

        h = 1e-3
        slope = (8 * (value(h) - value(-h)) - (value(2 * h) - value(-2 * h))) / (12 * h)
        assert (gradients[name] * direction).sum() == pytest.approx(slope, rel=1e-8)


def test_several_results_and_missing_cotangents():
    program = tidegate.compile(SCAN)
    x = np.ones((1, 3, 2), np.float32)
    half, twice = program.halves(x)
    assert (half == 0.5).all() and (twice == 2).all()
    assert (program.halves.vjp((None, x), x)["x"] == 2).all()


def test_layer_takes_weights_by_path(examples, rng):
    program = tidegate.compile(examples / "gla/gla.tg", params=SMALL, precision="f64")
    layer = program.entries["block"]
    x = rng.normal(size=(1, 5, 32))
    weights = {name: 0.1 * rng.normal(size=spec.shape) for path, spec in program.weights.items()
               if path.startswith("model.layers.0.") for name in [path.removeprefix("model.layers.0.")]}
    y = layer(x, weights=weights)
    assert y.shape == x.shape and np.isfinite(y).all()
    assert set(layer.vjp(y, x, weights=weights)) == {"x", *weights}


def test_packed_documents_equal_separate_calls(rng):
    q, k, v, a = inputs(rng, B=1)
    program = tidegate.compile(SCAN, precision="f64")
    cuts = [0, 1, 30, 70]
    packed = program.gated(q, k, v, a, cu_seqlens=cuts)
    for begin, end in zip(cuts, cuts[1:]):
        alone = program.gated(*(x[:, begin:end] for x in (q, k, v, a)))
        assert np.abs(packed[:, begin:end] - alone).max() < 1e-12


def test_threads_call_one_entry_side_by_side(rng):
    from concurrent.futures import ThreadPoolExecutor

    tensors = inputs(rng)
    program = tidegate.compile(SCAN, precision="f64")
    expected = program.gated(*tensors)
    with ThreadPoolExecutor(4) as pool:
        assert all((o == expected).all() for o in pool.map(lambda _: program.gated(*tensors), range(16)))


def test_gil_is_free_while_kernels_run(rng):
    """Another thread takes steps in the middle of a call that takes long."""
    import threading
    import time

    tensors = inputs(rng, B=8, T=4000, H=4, K=32, V=32)
    program = tidegate.compile(SCAN, precision="f64", form="token")
    program.gated(*(x[:, :4] for x in tensors))
    done, steps = threading.Event(), []

    def watch():
        while not done.is_set():
            steps.append(time.monotonic())
            time.sleep(0.001)

    watcher = threading.Thread(target=watch)
    watcher.start()
    start = time.monotonic()
    program.gated(*tensors)
    end = time.monotonic()
    done.set()
    watcher.join()
    quarter = (end - start) / 4
    assert any(start + quarter < step < end - quarter for step in steps)


def test_compile_error_says_where_and_which_call(rng):
    program = tidegate.compile(SCAN.replace("outer(k[t, h], v[t, h])", "outer(k[t, h], k[t, h])"))
    q, k, v, a = inputs(rng, dtype=np.float32)
    with pytest.raises(tidegate.CompileError) as caught:
        program.gated(q, k, v, a)
    error = caught.value
    assert (error.file, error.line) == ("program.tg", 6) and error.column > 0
    assert "got 4 in [8, 4] and 8 in [8, 8]" in error.message and error.notes
    assert "program.tg:6:" in str(error)
    assert "gated(q: float32[2, 70, 2, 8]" in str(error) and f"{__file__}:" in str(error)


def test_inputs_that_disagree_show_the_signature_and_the_call(rng):
    q, k, v, a = inputs(rng, dtype=np.float32)
    program = tidegate.compile(SCAN)
    with pytest.raises(tidegate.CompileError) as caught:
        program.gated(q, k[..., :4], v, a)
    assert caught.value.line == 3 and "k: float32[2, 70, 2, 4]" in str(caught.value)
    with pytest.raises(ValueError, match=r"expected input 'k' as f32 \[2, 70, 2, 8\].*\[2, 69, 2, 8\](.|\n)*called at"):
        program.gated(q, k[:, 1:], v, a)


def test_bad_input_is_refused(rng):
    q, k, v, a = inputs(rng)
    program = tidegate.compile(SCAN)
    with pytest.raises(ValueError, match="expected input 'q' as f32"):
        program.gated(q, k, v, a)  # float64, and the program is f32
    with pytest.raises(TypeError, match="takes 4 tensors"):
        program.gated(q, k, v, a, a)
    with pytest.raises(TypeError, match="got two tensors 'q'"):
        program.gated(q, q=q)
    with pytest.raises(AttributeError, match="no fn, layer or model 'gates'; it has gated, halves"):
        program.gates
    with pytest.raises(ValueError, match="device: expected one of 'cpu', 'cuda', but got 'tpu'"):
        tidegate.compile(SCAN, device="tpu")
    with pytest.raises(ValueError, match="precision: expected one of 'f32', 'f64', 'bf16', but got 'f8'"):
        tidegate.compile(SCAN, precision="f8")
    with pytest.raises(tidegate.CompileError, match="nowhere.tg"):
        tidegate.compile("nowhere.tg").params
    with pytest.raises(tidegate.CompileError, match="no param|unknown param"):
        tidegate.compile(SCAN, params={"scael": 2}).params


def test_verify():
    report = tidegate.compile(SCAN).verify("gated", size=["H=2", "K=4", "V=3"], seq=20)
    assert report["holds"] is True
