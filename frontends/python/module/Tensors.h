//===- Tensors.h - Memory of Python's arrays --------------------*- C++ -*-===//
// NumPy arrays and whatever speaks DLPack, borrowed for the time of a call.
//===----------------------------------------------------------------------===//
#pragma once

#include "compiler/Driver/Driver.h"

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

namespace tidegate::python {

/// The stream of tensors of which only type and shape matter.
constexpr int64_t kUnused = -1;

/// A tensor of someone else's, without a copy. Keeps its owner alive, so it must
/// be destroyed with the GIL held.
class Borrowed {
public:
  /// `stream`: the CUstream on which memory of the GPU is going to be used, 0 the default one; or kUnused.
  /// Errors: TypeError for what is no tensor, or has an element type that no program takes;
  ///         ValueError unless it is row-major, on the CPU or the first GPU, and writable if `written`.
  Borrowed(const std::string &name, pybind11::handle object, bool written, int64_t stream);
  Borrowed(Borrowed &&) = default;

  const TensorView &view() const { return memory; }

private:
  void borrowArray(const std::string &name, pybind11::array array, bool written);
  void borrowDlpack(const std::string &name, pybind11::handle object, int64_t stream);

  TensorView memory;
  pybind11::object owner; ///< The array, or the DLPack capsule.
};

/// The tensors of a call, by name.
class BorrowedTensors {
public:
  BorrowedTensors(const pybind11::dict &tensors, bool written, int64_t stream);

  const EntryProgram::Views &views() const { return all; }

private:
  std::vector<Borrowed> owners;
  EntryProgram::Views all;
};

/// An array that owns the tensor.
pybind11::array toArray(runtime::HostTensor tensor);
/// An array of memory that `owner` keeps.
pybind11::array arrayOn(runtime::HostSpan memory, const std::vector<int64_t> &shape, pybind11::handle owner);

} // namespace tidegate::python
