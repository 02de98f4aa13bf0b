//===- Plan.cpp - Sizes, work and memory of a plan --------------*- C++ -*-===//
#include "runtime/core/Plan.h"

#include <algorithm>
#include <numeric>

using namespace tidegate::runtime;

int64_t RowBlocks::rows(int64_t B, int64_t T) const {
  const int64_t least = (B * T + count - 1) / count;
  return std::min(B * T, (least + kMultiple - 1) / kMultiple * kMultiple);
}

int64_t RowBlocks::rowsOf(int64_t n, int64_t B, int64_t T) const {
  return std::clamp<int64_t>(B * T - n * rows(B, T), 0, rows(B, T));
}

int64_t RowBlocks::used(int64_t B, int64_t T) const { return B * T == 0 ? 0 : (B * T + rows(B, T) - 1) / rows(B, T); }

int64_t Extent::at(int64_t B, int64_t T, int64_t n) const {
  int64_t size = constant;
  for (int i = 0; i < batch; ++i)
    size *= B;
  for (int i = 0; i < tokens; ++i)
    size *= T;
  for (int64_t chunk : chunks)
    size *= (T + chunk - 1) / chunk;
  for (int64_t chunk : bounds)
    size *= (T + chunk - 1) / chunk + 1;
  for (int64_t count : blocks)
    size *= RowBlocks{count}.rowsOf(n, B, T);
  return size;
}

Extent Extent::operator*(const Extent &other) const {
  Extent product{constant * other.constant, batch + other.batch, tokens + other.tokens, chunks, bounds, blocks};
  product.chunks.insert(product.chunks.end(), other.chunks.begin(), other.chunks.end());
  product.bounds.insert(product.bounds.end(), other.bounds.begin(), other.bounds.end());
  product.blocks.insert(product.blocks.end(), other.blocks.begin(), other.blocks.end());
  return product;
}

std::string Extent::text() const {
  std::string words;
  auto word = [&](const std::string &w) { words += (words.empty() ? "" : " ") + w; };
  for (int i = 0; i < batch; ++i)
    word("B");
  for (int i = 0; i < tokens; ++i)
    word("T");
  for (int64_t chunk : chunks)
    word("T/" + std::to_string(chunk));
  for (int64_t chunk : bounds)
    word("(T/" + std::to_string(chunk) + "+1)");
  for (int64_t count : blocks)
    word("(B T/" + std::to_string(count) + ")");
  if (constant != 1 || words.empty())
    word(std::to_string(constant));
  return words;
}

double Product::flops(int64_t B, int64_t T, int64_t round) const {
  return 2.0 * double(count.at(B, T, round)) * double(m.at(B, T, round)) * double(n.at(B, T, round)) *
         double(k.at(B, T, round));
}

double Attention::pairs(int64_t B, int64_t T) const {
  const double full = double(std::min(T, window)); // tokens that see fewer than the window come first
  return double(batch.at(B, T)) * double(heads) * (full * (full + 1) / 2 + (double(T) - full) * double(window));
}

double Attention::flops(int64_t B, int64_t T) const { return pairs(B, T) * 2.0 * double(keyWidth + valueWidth); }

/// Five products: the scores are computed again.
double AttentionGrad::flops(int64_t B, int64_t T) const {
  return of.pairs(B, T) * 2.0 * double(3 * of.keyWidth + 2 * of.valueWidth);
}

int64_t View::offset(int64_t n, int64_t B, int64_t T) const {
  return ((perChunk ? n : 0) + (fromEnd ? (T + chunk - 1) / chunk : 0) + shift) * stride.at(B, T);
}

int64_t Loop::count(int64_t B, int64_t T) const {
  return blocks ? RowBlocks{blocks}.used(B, T) : isLast ? 1 : (T + chunk - 1) / chunk - 1;
}

std::vector<Turn> Plan::turns(int64_t B, int64_t T) const {
  std::vector<Turn> all;
  for (size_t first = 0; first < steps.size();) {
    size_t end = first + 1;
    while (steps[first].loop >= 0 && end < steps.size() && steps[end].loop == steps[first].loop)
      ++end;
    if (steps[first].loop < 0) {
      all.push_back({first, 0});
    } else {
      const Loop &loop = loops[steps[first].loop];
      const int64_t count = loop.count(B, T);
      for (int64_t i = 0; i < count; ++i)
        for (size_t step = first; step < end; ++step)
          all.push_back({step, loop.isLast ? (T + loop.chunk - 1) / loop.chunk - 1 : loop.isReverse ? count - 1 - i : i});
    }
    first = end;
  }
  return all;
}

double Plan::flops(int64_t B, int64_t T) const {
  double sum = 0;
  for (const Turn &turn : turns(B, T)) {
    const Step &step = steps[turn.step];
    if (auto *p = std::get_if<Product>(&step.what))
      sum += p->flops(B, T, turn.n);
    else if (auto *l = std::get_if<Launch>(&step.what))
      sum += l->flopsPerToken * double(B) * double(T);
    else if (auto *a = std::get_if<Attention>(&step.what))
      sum += a->flops(B, T);
    else if (auto *g = std::get_if<AttentionGrad>(&step.what))
      sum += g->flops(B, T);
  }
  return sum;
}

Layout tidegate::runtime::layoutOf(const Plan &plan, int64_t B, int64_t T) {
  constexpr int64_t kAlignment = 64;
  Layout layout;
  layout.offsets.assign(plan.buffers.size(), -1);
  std::vector<int64_t> bytes(plan.buffers.size(), 0);
  std::vector<int> order;
  for (size_t i = 0; i < plan.buffers.size(); ++i) {
    const Buffer &b = plan.buffers[i];
    if (b.isBound() || b.isView() || b.first < 0)
      continue;
    bytes[i] = (b.elements.at(B, T) * b.elementBytes + kAlignment - 1) / kAlignment * kAlignment;
    order.push_back(int(i));
  }
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return bytes[a] > bytes[b]; });

  std::vector<int> placed; // sorted by offset
  for (int i : order) {
    const Buffer &own = plan.buffers[i];
    int64_t offset = 0;
    for (int j : placed) {
      const Buffer &other = plan.buffers[j];
      if (other.last < own.first || own.last < other.first)
        continue;
      if (offset + bytes[i] <= layout.offsets[j])
        break;
      offset = std::max(offset, layout.offsets[j] + bytes[j]);
    }
    layout.offsets[i] = offset;
    layout.bytes = std::max(layout.bytes, offset + bytes[i]);
    placed.insert(std::upper_bound(placed.begin(), placed.end(), i,
                                   [&](int a, int b) { return layout.offsets[a] < layout.offsets[b]; }),
                  i);
  }
  return layout;
}

std::vector<void *> tidegate::runtime::addressesOf(const Plan &plan, const Layout &layout, std::byte *arena,
                                                   std::span<void *const> bindings) {
  std::vector<void *> addresses;
  for (size_t i = 0; i < plan.buffers.size(); ++i) {
    const Buffer &buffer = plan.buffers[i];
    addresses.push_back(buffer.isBound() ? bindings[buffer.binding] : arena + std::max<int64_t>(layout.offsets[i], 0));
  }
  return addresses;
}

void tidegate::runtime::placeViews(const Plan &plan, int64_t n, int64_t B, int64_t T, std::span<void *> addresses) {
  for (size_t i = 0; i < plan.buffers.size(); ++i)
    if (const Buffer &b = plan.buffers[i]; b.isView())
      addresses[i] = static_cast<std::byte *>(addresses[b.view.of]) + b.view.offset(n, B, T) * b.elementBytes;
}
