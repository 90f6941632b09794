// Loads the keys that a block of queries of one chunk runs over, tile by tile, with their values.
#pragma once

#include "block.cuh"

namespace vil_mm {
namespace cuda {

template <typename T, int kWidth, int kColumns>
class KeyLoader {
 public:
  VIL_MM_DEVICE KeyLoader(const Keys& neighborhood, const TilePair<T, kWidth>& tiles, const TileNotes& notes,
                          const Inputs<T>& inputs, const BlockPlace& block, const bool& aligned)
      : keys_(of_head(inputs.k, block.batch, block.head)),
        values_(of_head(inputs.v, block.batch, block.head)),
        neighborhood_(neighborhood),
        tiles_(tiles),
        notes_(notes),
        inputs_(inputs),
        aligned_(aligned) {}

  VIL_MM_DEVICE int num_tiles() const { return ceil_div(neighborhood_.size(), kColumns); }

  // Starts to load a tile.
  VIL_MM_DEVICE void operator()(int tile, int stage) const {
    load_keys(tiles_.at(stage * kColumns), notes_.at(stage * kColumns), kColumns, keys_, values_,
              inputs_.problem.head_width, aligned_,
              [&](int column) { return neighborhood_.place(tile * kColumns + column); });
  }

 private:
  const HeadTokens<const T> keys_, values_;
  // These are references because copies would take up registers.
  const Keys& neighborhood_;
  const TilePair<T, kWidth>& tiles_;
  const TileNotes& notes_;
  const Inputs<T>& inputs_;
  const bool& aligned_;
};

}  // namespace cuda
}  // namespace vil_mm
