//===- Tensors.cpp - Memory of Python's arrays ------------------*- C++ -*-===//
// Source of the structures: the DLPack specification, version 0.8
// (github.com/dmlc/dlpack).
//===----------------------------------------------------------------------===//
#include "frontends/python/module/Tensors.h"

#include <cstring>
#include <optional>

namespace py = pybind11;
using namespace tidegate;
using namespace tidegate::python;
using runtime::Dtype;

namespace {

struct DlTensor {
  void *data;
  struct { int32_t type, id; } device;
  int32_t dimensions;
  struct { uint8_t code, bits; uint16_t lanes; } dtype;
  int64_t *shape, *strides; ///< Strides in elements; null: row-major.
  uint64_t byteOffset;
};
struct DlManagedTensor {
  DlTensor tensor;
  void *context;
  void (*deleter)(DlManagedTensor *);
};
enum { kDlCpu = 1, kDlCuda = 2, kDlCudaHost = 3, kDlCudaManaged = 13 };
/// How __dlpack__ is told the default stream of CUDA.
constexpr int64_t kDlDefaultStream = 1;
enum { kDlInt = 0, kDlFloat = 2, kDlBfloat = 4 };

std::string quoted(const std::string &name) { return "tensor '" + name + "'"; }

std::optional<Dtype> dtypeOfKind(char kind, int64_t bytes) {
  if (kind == 'f')
    return bytes == 4 ? std::optional(Dtype::F32) : bytes == 8 ? std::optional(Dtype::F64)
         : bytes == 2 ? std::optional(Dtype::F16) : std::nullopt;
  if (kind == 'i')
    return bytes == 4 ? std::optional(Dtype::I32) : bytes == 8 ? std::optional(Dtype::I64) : std::nullopt;
  return std::nullopt;
}

/// Strides in units of `unit` of a row-major tensor; dimensions of one element have any.
bool isRowMajor(const std::vector<int64_t> &shape, const int64_t *strides, int64_t unit) {
  int64_t expected = unit;
  for (size_t d = shape.size(); d-- > 0; expected *= shape[d]) {
    if (shape[d] == 0)
      return true;
    if (shape[d] != 1 && strides[d] != expected)
      return false;
  }
  return true;
}

[[noreturn]] void notRowMajor(const std::string &name) {
  throw py::value_error(quoted(name) + " is not row-major (C-contiguous)");
}

py::dtype numpyType(Dtype dtype) {
  switch (dtype) {
  case Dtype::F32: return py::dtype("float32");
  case Dtype::F64: return py::dtype("float64");
  case Dtype::F16: return py::dtype("float16");
  case Dtype::I32: return py::dtype("int32");
  case Dtype::I64: return py::dtype("int64");
  case Dtype::BF16: break;
  }
  throw py::type_error("NumPy has no type for bf16");
}

} // namespace

Borrowed::Borrowed(const std::string &name, py::handle object, bool written, int64_t stream) {
  if (py::isinstance<py::array>(object))
    borrowArray(name, py::reinterpret_borrow<py::array>(object), written);
  else if (py::hasattr(object, "__dlpack__"))
    borrowDlpack(name, object, stream);
  else
    throw py::type_error(quoted(name) + " is a " + std::string(py::str(py::type::of(object).attr("__name__"))) +
                         "; expected a NumPy array or an object with __dlpack__");
}

void Borrowed::borrowArray(const std::string &name, py::array array, bool written) {
  // By attributes: older pybind11 reads NumPy 1's memory of a dtype, which NumPy 2 lays out otherwise.
  const auto itemsize = array.attr("itemsize").cast<int64_t>();
  std::optional<Dtype> dtype = dtypeOfKind(array.attr("dtype").attr("kind").cast<std::string>()[0], itemsize);
  if (!dtype || array.dtype().attr("isnative").cast<bool>() == false)
    throw py::type_error(quoted(name) + " is of type " + std::string(py::str(array.dtype())) +
                         "; expected float32, float64, int32 or int64");
  if (written && !array.writeable())
    throw py::value_error(quoted(name) + " is read-only");
  memory.dtype = *dtype;
  memory.shape.assign(array.shape(), array.shape() + array.ndim());
  std::vector<int64_t> strides(array.strides(), array.strides() + array.ndim());
  if (!isRowMajor(memory.shape, strides.data(), itemsize))
    notRowMajor(name);
  memory.data = const_cast<void *>(array.data());
  owner = std::move(array);
}

void Borrowed::borrowDlpack(const std::string &name, py::handle object, int64_t stream) {
  const auto [device, number] = object.attr("__dlpack_device__")().cast<std::pair<int, int>>();
  memory.isOnGpu = device == kDlCuda || device == kDlCudaManaged;
  if (!memory.isOnGpu && device != kDlCpu && device != kDlCudaHost)
    throw py::value_error(quoted(name) + " is on a device of DLPack type " + std::to_string(device) +
                          "; programs take tensors in host memory or on a CUDA device");
  if (memory.isOnGpu && number != 0)
    throw py::value_error(quoted(name) + " is on GPU " + std::to_string(number) +
                          "; programs run on GPU 0, the first that CUDA_VISIBLE_DEVICES shows");
  py::object capsule = memory.isOnGpu ? object.attr("__dlpack__")(py::arg("stream") = stream ? stream : kDlDefaultStream)
                                      : object.attr("__dlpack__")();
  auto *managed = static_cast<DlManagedTensor *>(PyCapsule_GetPointer(capsule.ptr(), "dltensor"));
  if (!managed)
    throw py::error_already_set();
  // The capsule, left under its name, frees the tensor when it goes.
  const DlTensor &tensor = managed->tensor;
  const char kind = tensor.dtype.code == kDlFloat ? 'f' : tensor.dtype.code == kDlInt ? 'i' : '?';
  std::optional<Dtype> dtype = dtypeOfKind(kind, tensor.dtype.bits / 8);
  if (tensor.dtype.code == kDlBfloat && tensor.dtype.bits == 16)
    dtype = Dtype::BF16;
  if (!dtype || tensor.dtype.lanes != 1)
    throw py::type_error(quoted(name) + " has an element type that no program takes (DLPack code " +
                         std::to_string(tensor.dtype.code) + ", " + std::to_string(tensor.dtype.bits) + " bits)");
  memory.dtype = *dtype;
  memory.shape.assign(tensor.shape, tensor.shape + tensor.dimensions);
  if (tensor.strides && !isRowMajor(memory.shape, tensor.strides, 1))
    notRowMajor(name);
  memory.data = static_cast<std::byte *>(tensor.data) + tensor.byteOffset;
  owner = std::move(capsule);
}

BorrowedTensors::BorrowedTensors(const py::dict &tensors, bool written, int64_t stream) {
  owners.reserve(tensors.size());
  for (auto [name, object] : tensors) {
    auto text = name.cast<std::string>();
    all.emplace(text, owners.emplace_back(text, object, written, stream).view());
  }
}

py::array python::toArray(runtime::HostTensor tensor) {
  auto *kept = new runtime::HostTensor(std::move(tensor));
  py::capsule owner(kept, [](void *pointer) { delete static_cast<runtime::HostTensor *>(pointer); });
  return arrayOn(kept->view(), kept->shape(), owner);
}

py::array python::arrayOn(runtime::HostSpan memory, const std::vector<int64_t> &shape, py::handle owner) {
  std::vector<int64_t> strides(shape.size());
  int64_t bytes = int64_t(runtime::dtypeSize(memory.dtype));
  for (size_t d = shape.size(); d-- > 0; bytes *= shape[d])
    strides[d] = bytes;
  return py::array(numpyType(memory.dtype), shape, strides, memory.data, owner);
}
