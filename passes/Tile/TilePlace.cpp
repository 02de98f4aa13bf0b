//===- TilePlace.cpp - Offsets in shared memory, and barriers ---*- C++ -*-===//
// Implements -tile-place. A value lives from its statement to the last one that
// reads it; loads of two stages and states that lie in shared memory live always.
// In front of all stands the work space of statements that need one.
//===----------------------------------------------------------------------===//
#include "passes/Tile/Passes.h"

#include "llvm/Support/MathExtras.h"

namespace tidegate::tile {
#define GEN_PASS_DEF_TILEPLACE
#include "passes/Tile/Passes.h.inc"
} // namespace tidegate::tile

using namespace mlir;
using namespace tidegate;
using namespace tidegate::tile;

namespace {
/// Matrix loads want 16 bytes; the swizzle repeats every 1024.
constexpr int64_t kAlignment = 1024, kRowAlignment = 16;

struct Piece {
  int64_t offset, bytes;
  unsigned last; ///< statement of the last read
  bool overlaps(const Piece &other) const {
    return offset < other.offset + other.bytes && other.offset < offset + bytes;
  }
};

class Placer {
public:
  explicit Placer(rec::ScanOp scan) : scan(scan), body(scan.getBody().front()) {}

  void run() {
    unsigned index = 0;
    for (Operation &op : body)
      order[&op] = index++;
    OpBuilder b(scan.getContext());
    reserve();
    placeAll();
    addBarriers();
    scan->setDiscardableAttr("tile.states", b.getDenseI64ArrayAttr(states));
    scan->setDiscardableAttr("tile.shared_bytes", b.getI64IntegerAttr(size));
  }

private:
  static PlaceAttr placeOf(OpResult value) {
    Operation *op = value.getOwner();
    if (auto load = dyn_cast<LoadOp>(op))
      return load.getPlace();
    if (auto stream = dyn_cast<StreamOp>(op))
      return stream.getPlace();
    if (auto compute = dyn_cast<ComputeOp>(op))
      return compute.placeOf(value.getResultNumber());
    return {};
  }
  static void setOffset(OpResult value, int64_t offset) {
    PlaceAttr old = placeOf(value);
    auto place = PlaceAttr::of(old.getSpace(), old.getElement(), old.getSwizzled(), offset);
    if (auto load = dyn_cast<LoadOp>(value.getOwner()))
      return load.setPlaceAttr(place);
    if (auto stream = dyn_cast<StreamOp>(value.getOwner()))
      return stream.setPlaceAttr(place);
    auto compute = cast<ComputeOp>(value.getOwner());
    SmallVector<Attribute> places(compute.getPlaces().getValue());
    places[value.getResultNumber()] = place;
    compute.setPlacesAttr(ArrayAttr::get(compute.getContext(), places));
  }

  unsigned lastReadOf(Value value) {
    unsigned last = 0;
    for (Operation *user : value.getUsers())
      last = std::max(last, order.lookup(body.findAncestorOpInBlock(*user)));
    return last;
  }

  /// Work space, then the states that do not fit registers: they live from step to step.
  void reserve() {
    const int64_t warps = cast<IntegerAttr>(scan->getDiscardableAttr("tile.warps")).getInt();
    size = 4 * 32 * warps;
    for (auto compute : body.getOps<ComputeOp>()) {
      Matrix m(cast<RankedTensorType>(compute.getResult(0).getType()));
      if (compute.getForm() == Form::Cumsum)
        size = std::max(size, 4 * 16 * m.paddedCols());
      if (compute.getForm() == Form::Solve) // 16 events and their anchor
        size = std::max(size, 4 * 17 * m.paddedCols());
      if (compute.getForm() == Form::Invert) // the inverse
        size = std::max(size, 4 * m.paddedRows() * m.paddedRows());
    }
    size = llvm::alignTo(size, kAlignment);
    for (Value state : scan.getBodyStates()) {
      auto type = cast<RankedTensorType>(state.getType());
      states.push_back(type.getRank() == 2 ? -1 : size);
      if (type.getRank() != 2)
        size += llvm::alignTo(type.getNumElements() * 4, kRowAlignment);
    }
    size = llvm::alignTo(size, kAlignment);
    live.push_back({0, size, ~0u});
  }

  void placeAll() {
    auto take = [&](int64_t bytes, bool swizzled, unsigned last) {
      int64_t alignment = swizzled ? kAlignment : kRowAlignment, offset = 0;
      for (const Piece &p : live) { // sorted by offset: first fit
        if (offset + bytes <= p.offset)
          break;
        offset = llvm::alignTo(std::max(offset, p.offset + p.bytes), alignment);
      }
      Piece piece{offset, bytes, last};
      live.insert(llvm::upper_bound(live, piece, [](const Piece &a, const Piece &b) { return a.offset < b.offset; }),
                  piece);
      size = std::max(size, offset + bytes);
      return offset;
    };
    for (Operation &op : body) {
      unsigned at = order[&op];
      // A statement may not write over what it reads.
      llvm::erase_if(live, [&](const Piece &p) { return p.last < at; });
      for (OpResult value : op.getResults()) {
        PlaceAttr place = placeOf(value);
        if (!place || place.getSpace() != Space::Shared)
          continue;
        auto type = cast<RankedTensorType>(value.getType());
        int64_t bytes = bytesOf(value);
        unsigned last = std::max(lastReadOf(value), at);
        auto load = dyn_cast<LoadOp>(op);
        if (load && load.getStages() > 1) {
          bytes = stageBytes(type, place) * load.getStages();
          last = ~0u;
        }
        setOffset(value, take(bytes, place.getSwizzled(), last));
      }
    }
  }

  static int64_t bytesOf(OpResult value) {
    if (auto stream = dyn_cast<StreamOp>(value.getOwner()))
      return 2 * sliceBytes(stream);
    return sharedBytes(cast<RankedTensorType>(value.getType()), placeOf(value));
  }
  Piece pieceOf(OpResult value) { return {placeOf(value).getOffset(), bytesOf(value), 0}; }

  void addBarriers() {
    SmallVector<Piece> written, read;
    auto overlaps = [](ArrayRef<Piece> pieces, const Piece &with) {
      return llvm::any_of(pieces, [&](const Piece &p) { return p.overlaps(with); });
    };
    bool isLoading = false;
    for (Operation &op : llvm::make_early_inc_range(body)) {
      if (std::exchange(isLoading, isa<LoadOp>(op)) && !isLoading) { // loads side by side end with a barrier
        written.clear();
        read.clear();
      }
      SmallVector<Piece> reads, writes;
      op.walk([&](Operation *inner) {
        for (Value operand : inner->getOperands())
          if (auto result = dyn_cast<OpResult>(operand))
            if (result.getOwner()->getBlock() == &body)
              if (PlaceAttr place = placeOf(result); place && place.getSpace() == Space::Shared)
                reads.push_back(pieceOf(result));
      });
      // A stream writes where it is read, behind a barrier of its own; what it overwrites was read before.
      for (OpResult value : op.getResults())
        if (PlaceAttr place = placeOf(value); place && place.getSpace() == Space::Shared && !isa<StreamOp>(op))
          writes.push_back(pieceOf(value));
      bool hazard = llvm::any_of(reads, [&](const Piece &p) { return overlaps(written, p); }) ||
                    llvm::any_of(writes, [&](const Piece &p) { return overlaps(written, p) || overlaps(read, p); });
      if (hazard && !op.hasTrait<OpTrait::IsTerminator>()) {
        OpBuilder b(&op);
        BarrierOp::create(b, op.getLoc());
        written.clear();
        read.clear();
      }
      llvm::append_range(read, reads);
      llvm::append_range(written, writes);
    }
  }

  rec::ScanOp scan;
  Block &body;
  DenseMap<Operation *, unsigned> order;
  SmallVector<Piece> live; ///< Sorted by offset.
  SmallVector<int64_t> states; ///< Offsets; -1 in registers.
  int64_t size = 0;
};

struct TilePlacePass : tile::impl::TilePlaceBase<TilePlacePass> {
  void runOnOperation() override {
    getOperation().walk([](rec::ScanOp scan) { placeInSharedMemory(scan); });
  }
};
} // namespace

void tile::placeInSharedMemory(rec::ScanOp scan) { Placer(scan).run(); }
