"""Arrays are read and written where they lie."""

import resource

import numpy as np
import pytest
import tidegate
from tidegate import _tidegate, arrays

PROGRAM = """
fn first(x: [T, n]) -> [n] {
  scan over t {
    state S: [n] = 0
    S = x[t]
  }
  return S
}
fn twice(x: [T, n]) -> [T, n] { return 2 * x }
"""


class Dlpack:
    """An array that only speaks DLPack, and counts."""

    def __init__(self, array):
        self.array, self.asked = array, 0
        self.shape, self.dtype = array.shape, array.dtype

    def __dlpack__(self, **options):
        self.asked += 1
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


@pytest.fixture
def entry():
    return tidegate.compile(PROGRAM).twice


def test_native_call_reads_and_writes_given_memory(entry):
    """The kernels get the addresses of the arrays: what is read and written is their memory."""
    x, y = np.ones((2, 3, 4), np.float32), np.zeros((2, 3, 4), np.float32)
    address = y.ctypes.data
    native = entry.compiled({"x": x})
    native.run({"x": x}, {native.outputs[0][0]: y})
    assert (y == 2).all() and y.ctypes.data == address
    x[:] = 5
    native.run({"x": x}, {native.outputs[0][0]: y})
    assert (y == 10).all()


def test_prepare_copies_only_what_does_not_lie_right():
    x = np.ones((2, 3, 4), np.float32)
    assert arrays.prepare("x", x) is x
    turned = arrays.prepare("x", x.transpose(0, 2, 1))
    assert turned.flags.c_contiguous and turned.shape == (2, 4, 3)
    ids = arrays.prepare("ids", np.array([[1, 2]]))
    assert ids.dtype == np.int32
    with pytest.raises(ValueError, match="do not fit into int32"):
        arrays.prepare("ids", np.array([[1 << 40]]))


def test_large_argument_does_not_raise_memory_use():
    """2 GB in, a few bytes out."""
    x = np.zeros((1, 1 << 19, 1024), np.float32)
    assert x.nbytes == 2 << 30
    entry = tidegate.compile("fn sums(x: [T, n]) -> [T, 1] { return sum(x) }").sums
    entry(x[:, :2])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    result = entry(x)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert result.shape == (1, 1 << 19, 1) and (result == 0).all()
    assert grown < 0.2e9  # Pages that are only read stay the one page of zeros; a copy would add 2 GB.


def test_dlpack_is_borrowed_and_given_back(entry):
    import sys

    array = np.full((1, 2, 3), 3, np.float32)
    tensor = Dlpack(array)
    count = sys.getrefcount(array)
    assert (entry(tensor) == 6).all()
    assert tensor.asked >= 1 and sys.getrefcount(array) == count


def test_what_is_no_tensor_is_refused(entry):
    with pytest.raises(TypeError, match="tensor 'x' is a str"):
        entry.compiled({"x": np.ones((1, 2, 3), np.float32)}).run({"x": "text"}, {})
    with pytest.raises(TypeError, match="complex64"):
        entry(np.ones((1, 2, 3), np.complex64))
    with pytest.raises(ValueError, match="expected input 'x' as f32"):
        entry(np.ones((1, 2, 3)))
    x = np.ones((1, 2, 3), np.float32)
    native = entry.compiled({"x": x})
    name = native.outputs[0][0]
    frozen = np.zeros_like(x)
    frozen.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        native.run({"x": x}, {name: frozen})
    with pytest.raises(ValueError, match="not row-major"):
        native.run({"x": np.ones((1, 3, 2), np.float32).transpose(0, 2, 1)}, {name: x})
    with pytest.raises(tidegate.NotFoundError, match="input 'x' is missing"):
        native.run({}, {name: x})


class OnDevice(Dlpack):
    """Says that it is elsewhere, and hears on which stream it is going to be used."""

    def __init__(self, array, device, number=0):
        super().__init__(array)
        self.device, self.streams = (device, number), []

    def __dlpack__(self, **options):
        self.streams.append(options.get("stream"))
        return self.array.__dlpack__()

    def __dlpack_device__(self):
        return self.device


def test_memory_of_a_gpu_is_refused_by_a_program_for_the_cpu(entry):
    x = OnDevice(np.ones((1, 2, 3), np.float32), 2)
    with pytest.raises(ValueError, match="input 'x' in host memory, since the program is compiled for the CPU"):
        entry(x)
    native = entry.compiled({"x": x})
    for stream, told in ((0, 1), (77, 77)):  # DLPack counts the default stream as 1.
        with pytest.raises(ValueError, match="host memory"):
            native.run({"x": x}, {}, stream)
        assert x.streams[-1] == told


def test_other_devices_are_refused_by_name(entry):
    x = np.ones((1, 2, 3), np.float32)
    with pytest.raises(ValueError, match="on GPU 1; programs run on GPU 0"):
        entry(OnDevice(x, 2, 1))
    with pytest.raises(ValueError, match="DLPack type 8; programs take"):
        entry(OnDevice(x, 8))


def test_version():
    assert _tidegate.version == tidegate.__version__
