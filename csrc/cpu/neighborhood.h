// The keys that a row of chunks attends to, packed so that each chunk's are contiguous.
//
// A strip holds one rectangle of the neighborhoods of several adjacent chunks, column by column: key (column, row) is
// at column * rows + row. So the keys of one chunk are contiguous, off-grid ones are left out, and nothing needs to be
// masked. Only where operands are pairs of keys, the columns of a chunk are followed by a hidden key of zeros if their
// keys are odd in number, so that all chunks begin with a pair.
#pragma once

#include <new>

#include "kernels.h"
#include "matmul.h"

namespace vil_mm {
namespace {

// Memory filled with zeros, freed with its owner.
template <typename Real>
class Buffer {
 public:
  explicit Buffer(int64_t count)
      : bytes_(count * sizeof(Real)), data_(static_cast<Real*>(::operator new(bytes_, kAlignment))) {
    clear();
  }
  ~Buffer() { ::operator delete(data_, kAlignment); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  void clear() { __builtin_memset(data_, 0, bytes_); }
  Real* data() const { return data_; }

 private:
  static constexpr std::align_val_t kAlignment{64};  // of the longest vectors, and of cache lines
  size_t bytes_;
  Real* data_;
};

// A matrix whose rows can be read and written in whole vectors, starting at any element.
template <typename Real>
class PaddedMatrix {
 public:
  PaddedMatrix(int64_t rows, int64_t columns)
      : stride_(round_up(columns, kLanes<Real>)), buffer_(round_up(rows, kLanes<Real>) * stride_ + kLanes<Real>) {}

  void clear() { buffer_.clear(); }
  operator Matrix<Real>() const { return {buffer_.data(), stride_}; }
  Matrix<Real> from(int64_t row, int64_t column) const { return {buffer_.data() + row * stride_ + column, stride_}; }

 private:
  int64_t stride_;
  Buffer<Real> buffer_;
};

// Keys and values as they are in memory, (keys, d), and as operands of products that sum over keys, (keys, d), and over
// widths, (d, keys); and their gradients in the backward.
template <typename T>
class PackedTokens {
  using Real = ComputeType<T>;
  using Operand = typename OperandOf<T>::type;
  static constexpr int kKeys = kPacked<Operand>;  // in an operand of sums over keys

 public:
  PackedTokens(int64_t keys, int64_t width, bool backward)
      : k(keys, ceil_div(width, kKeys)),
        v(keys, ceil_div(width, kKeys)),
        k_columns(ceil_div(width, kKeys), keys),
        v_columns(backward ? ceil_div(width, kKeys) : 0, keys),
        grad_k(backward ? keys : 0, width),
        grad_v(backward ? keys : 0, width),
        k_pairs(kKeys > 1 && backward ? ceil_div(keys, kKeys) : 0, width),
        v_pairs(kKeys > 1 ? ceil_div(keys, kKeys) : 0, width) {}

  PaddedMatrix<Operand> k, v, k_columns, v_columns;
  PaddedMatrix<Real> grad_k, grad_v;

  Matrix<Operand> k_rows(int64_t key) const { return kKeys > 1 ? k_pairs.from(key / kKeys, 0) : k.from(key, 0); }
  Matrix<Operand> v_rows(int64_t key) const { return kKeys > 1 ? v_pairs.from(key / kKeys, 0) : v.from(key, 0); }

  // To be called once keys and values are written.
  void turn(int64_t keys, int64_t width, bool backward) {
    const int64_t operands = ceil_div(width, kKeys);
    transpose<Operand>(keys, operands, k, k_columns);
    if constexpr (kKeys > 1) {
      pair(keys, width, v, v_pairs);
      if (backward) pair(keys, width, k, k_pairs);
    }
    if (!backward) return;
    transpose<Operand>(keys, operands, v, v_columns);
    grad_k.clear();
    grad_v.clear();
  }

 private:
  static void pair(int64_t keys, int64_t width, Matrix<Operand> source, Matrix<Operand> target) {
    for (int64_t i = 0; i < keys; i += kKeys) pair_rows(target.row(i / kKeys), source.row(i), source.row(i + 1), width);
  }

  PaddedMatrix<Operand> k_pairs, v_pairs;
};

// Contiguous keys of a chunk. Where operands hold several keys, the first one begins one.
template <typename T>
struct Part {
  using Real = ComputeType<T>;
  using Operand = typename OperandOf<T>::type;
  int64_t count;   // keys
  int64_t offset;  // of their first column in the matrix of scores
  Matrix<Operand> k_rows, v_rows, k_columns, v_columns;
  Matrix<Real> grad_k, grad_v;
  Matrix<Real> bias, grad_bias;  // a row per query of the group, or one for all (row_stride 0), or null
  bool is_global = false;
};

// One rectangle of the neighborhoods of a row of chunks.
template <typename T>
class Strip {
  using Real = ComputeType<T>;
  using Operand = typename OperandOf<T>::type;
  static constexpr int kKeys = kPacked<Operand>;

 public:
  Strip(const Inputs<T>& inputs, int index, int max_chunks, int max_queries, bool backward)
      : inputs_(inputs),
        problem_(inputs.problem),
        offsets_(rectangle(problem_.neighbors, index)),
        backward_(backward),
        has_bias_(inputs.bias_table || problem_.mask == Mask::kExact || (kKeys > 1 && chunk_columns() > 1)),
        has_grad_bias_(backward && inputs.bias_table),
        side_(bias_side(problem_.window)),
        packed_(max_keys(problem_, index, max_chunks), problem_.head_width, backward),
        column_keys_(max_chunks ? (chunk_columns() + max_chunks - 1) * problem_.window : 0),
        table_(has_bias_ ? side_ * side_ + kLanes<Real> : 0),
        bias_(has_bias_ ? max_queries : 0, places(problem_, index)),
        grad_bias_(has_grad_bias_ ? max_queries : 0, places(problem_, index)),
        grad_table_(has_grad_bias_ ? side_ * side_ + kLanes<Real> : 0) {}

  // The most keys that `chunks` chunks side by side attend to, hidden ones included.
  static int64_t max_keys(const Problem& problem, int index, int chunks) {
    if (!chunks) return 0;
    const ChunkOffsets offsets = rectangle(problem.neighbors, index);
    const Axis columns = problem.columns();
    const int64_t reach_chunks = offsets.column_end - offsets.column_begin + chunks - 1;
    const int64_t reach = reach_chunks * columns.window;
    return max_rows(problem, offsets) * (columns.cyclic ? reach : smaller<int64_t>(reach, columns.length)) +
           (kKeys - 1) * reach_chunks;
  }

  // Places for the keys of one chunk: off-grid columns have some, off-grid rows do not.
  static int64_t places(const Problem& problem, int index) {
    const ChunkOffsets offsets = rectangle(problem.neighbors, index);
    const int64_t columns = offsets.column_end - offsets.column_begin;
    return (max_rows(problem, offsets) * problem.window + kKeys - 1) * columns;
  }

  // Moves to the chunks [begin, end) of a row of chunks.
  void set_span(int64_t batch, int64_t head, int chunk_row, int begin, int end) {
    batch_ = batch, head_ = head, chunk_row_ = chunk_row;
    rows_ = axis_keys(problem_.rows(), chunk_row + offsets_.row_begin, chunk_row + offsets_.row_end);
    columns_ = axis_keys(problem_.columns(), begin + offsets_.column_begin, end - 1 + offsets_.column_end);
    if (has_grad_bias_) grad_table_.clear();
    const int width = problem_.head_width;
    for (int i = 0; i < columns_.count; ++i)
      column_keys_.data()[i] = first_key(columns_.coordinate(i) - columns_.begin);
    const Matrix<Operand> packed_k = packed_.k, packed_v = packed_.v;
    for_each_key([&](int64_t key, int64_t token) {
      if (token < 0) {
        __builtin_memset(packed_k.row(key), 0, round_up(width, kKeys) / kKeys * sizeof(Operand));
        __builtin_memset(packed_v.row(key), 0, round_up(width, kKeys) / kKeys * sizeof(Operand));
      } else {
        const T* k = inputs_.k.at(batch_, head_, problem_.num_global + token);
        const T* v = inputs_.v.at(batch_, head_, problem_.num_global + token);
        for (int i = 0; i < width; i += 64 / sizeof(T)) {
          __builtin_prefetch(k + 8 * inputs_.k.token_stride + i);
          __builtin_prefetch(v + 8 * inputs_.v.token_stride + i);
        }
        load_row(packed_k.row(key), k, width);
        load_row(packed_v.row(key), v, width);
      }
    });
    const int64_t keys = columns_.count ? column_keys_.data()[columns_.count - 1] + rows_.count : 0;
    packed_.turn(round_up(keys, kKeys), width, backward_);
  }

  // Moves to a group of places of queries in each chunk of the span.
  void set_queries(int first, int count) {
    first_query_ = first, queries_ = count;
    if (has_grad_bias_) grad_bias_.clear();
    // what the biases depend on; most rows of chunks see keys at the same places
    const int row = chunk_row_ * problem_.window;
    const int64_t sources[] = {head_, first, count, rows_.begin - row, rows_.count, rows_.gap_begin - row, rows_.gap};
    if (!has_bias_ || !__builtin_memcmp(sources, bias_sources_, sizeof(sources))) return;
    __builtin_memcpy(bias_sources_, sources, sizeof(sources));
    fill_bias();
  }

  // Appends the keys of a chunk: two parts if hidden padding lies between them.
  int parts_of(int chunk, Part<T>* parts) const {
    const int begin_chunk = chunk + offsets_.column_begin;
    const AxisKeys keys = axis_keys(problem_.columns(), begin_chunk, chunk + offsets_.column_end);
    const int before_gap = keys.gap ? smaller(keys.count, keys.gap_begin - keys.begin) : keys.count;
    const int counts[] = {before_gap, keys.count - before_gap};
    int number = 0, done = 0;
    for (const int count : counts) {
      if (count <= 0 || !rows_.count) continue;
      const int column = keys.coordinate(done);
      const int64_t key = first_key(column - columns_.begin), last = first_key(column + count - 1 - columns_.begin);
      const int64_t place = first_key(column - begin_chunk * problem_.window);
      Part<T>& part = parts[number++];
      part = {last + rows_.count - key, 0, packed_.k_rows(key), packed_.v_rows(key)};
      part.k_columns = packed_.k_columns.from(0, key);
      if (backward_) {
        part.v_columns = packed_.v_columns.from(0, key);
        part.grad_k = packed_.grad_k.from(key, 0);
        part.grad_v = packed_.grad_v.from(key, 0);
      }
      if (has_bias_) part.bias = bias_.from(0, place);
      if (has_grad_bias_) part.grad_bias = grad_bias_.from(0, place);
      done += count;
    }
    return number;
  }

  // Adds the gradients of the group's biases to those of the span.
  void collect_table_gradient() {
    if (!has_grad_bias_) return;
    for_each_run([&](int64_t turned, int64_t query, int64_t place, int count) {
      add_vectors<Real>(grad_table_.data() + turned, grad_bias_.from(query, place).data, count);
    });
  }

  // Adds the span's gradients to those of the tokens that the keys were copied from, and of the table, or null.
  void add_gradients(const Tokens<Real>& grad_k, const Tokens<Real>& grad_v, Real* grad_table) const {
    const Matrix<Real> packed_k = packed_.grad_k, packed_v = packed_.grad_v;
    for_each_key([&](int64_t key, int64_t token) {
      if (token < 0) return;
      add_row<Real>(grad_k.at(batch_, head_, problem_.num_global + token), packed_k.row(key), problem_.head_width);
      add_row<Real>(grad_v.at(batch_, head_, problem_.num_global + token), packed_v.row(key), problem_.head_width);
    });
    if (!grad_table) return;
    for_each_turned([&](int64_t turned, int64_t index, bool seen) {
      if (seen) grad_table[index] += grad_table_.data()[turned];
    });
  }

 private:
  static int64_t max_rows(const Problem& problem, const ChunkOffsets& offsets) {
    const Axis rows = problem.rows();
    const int64_t reach = int64_t(offsets.row_end - offsets.row_begin) * rows.window;
    return rows.cyclic ? reach : smaller<int64_t>(reach, rows.length);
  }

  int chunk_columns() const { return offsets_.column_end - offsets_.column_begin; }

  // The first key of a column, or its place, if the first chunk begins with column 0.
  VIL_MM_INLINE int64_t first_key(int column) const {
    if constexpr (kKeys == 1) return int64_t(column) * rows_.count;
    const int64_t chunk_keys = int64_t(problem_.window) * rows_.count;
    return int64_t(column) * rows_.count + column / problem_.window * (round_up(chunk_keys, kKeys) - chunk_keys);
  }

  // Visits (key, token of the grid, or -1 for a key of zeros), in the order of memory.
  template <typename Visit>
  VIL_MM_INLINE void for_each_key(Visit visit) const {
    const Axis columns = problem_.columns(), rows = problem_.rows();
    const int64_t* column_keys = column_keys_.data();
    for (int i = 0; i < rows_.count; ++i) {
      const int row = rows.real(rows_.coordinate(i));
      for (int j = 0; j < columns_.count; ++j) {
        const int column = columns.real(columns_.coordinate(j));
        const bool on_grid = row >= 0 && column >= 0;
        visit(column_keys[j] + i, on_grid ? int64_t(row) * problem_.width + column : -1);
      }
    }
    if constexpr (kKeys == 1) return;
    for (int j = 0; j < columns_.count; ++j) {
      const int64_t end = column_keys[j] + rows_.count;
      if (end % kKeys && (j + 1 == columns_.count || column_keys[j + 1] != end)) visit(end, -1);
    }
  }

  // The table is rearranged so that the biases of a column of keys are contiguous: column distances ascend, then key
  // rows. Visits (place in the rearranged table, row of the table, whether the mask shows the key) for the distances
  // that the rectangle has.
  template <typename Visit>
  VIL_MM_INLINE void for_each_turned(Visit visit) const {
    const int window = problem_.window, reach = 2 * window - 1;
    const bool exact = problem_.mask == Mask::kExact;
    for (int columns = 1 - offsets_.column_end * window; columns < (1 - offsets_.column_begin) * window; ++columns) {
      for (int rows = 1 - offsets_.row_end * window; rows < (1 - offsets_.row_begin) * window; ++rows) {
        const bool seen = !exact || (within_window(rows, window) && within_window(columns, window));
        visit((columns + reach) * side_ + reach - rows, bias_index(rows, columns, window), seen);
      }
    }
  }

  // Visits (place in the rearranged table, query of the group, place of the first key, keys) for contiguous keys of a
  // column.
  template <typename Visit>
  VIL_MM_INLINE void for_each_run(Visit visit) const {
    const int window = problem_.window, columns = (offsets_.column_end - offsets_.column_begin) * window;
    const int before_gap = smaller(larger(rows_.gap_begin - rows_.begin, 0), rows_.count);
    const int counts[] = {before_gap, rows_.count - before_gap};
    for (int query = 0; query < queries_; ++query) {
      const int query_row = chunk_row_ * window + (first_query_ + query) / window;
      const int query_column = (first_query_ + query) % window - offsets_.column_begin * window;
      for (int column = 0; column < columns; ++column) {
        int done = 0;
        for (const int count : counts) {
          if (!count) continue;
          const int64_t turned = (query_column - column + 2 * window - 1) * side_ + 2 * window - 1;
          visit(turned + rows_.coordinate(done) - query_row, query, first_key(column) + done, count);
          done += count;
        }
      }
    }
  }

  // Fills in the bias of each query of the group for each place of the rectangle; -inf hides a key.
  void fill_bias() {
    if (table_head_ != head_) {
      const Real* table = inputs_.bias_table ? inputs_.bias_table + head_ * side_ * side_ : nullptr;
      for_each_turned([&](int64_t turned, int64_t index, bool seen) {
        const Real value = table ? table[index] : 0;
        table_.data()[turned] = seen ? value : -Real(__builtin_inf());
      });
      table_head_ = head_;
    }
    // what is written beyond a run is overwritten by the next one
    for_each_run([&](int64_t turned, int64_t query, int64_t place, int count) {
      copy_vectors<Real>(bias_.from(query, place).data, table_.data() + turned, count);
    });
    // hidden keys between chunks
    for (int column = problem_.window; column < chunk_columns() * problem_.window; column += problem_.window) {
      const int64_t end = first_key(column - 1) + rows_.count;
      if (end == first_key(column)) break;
      for (int query = 0; query < queries_; ++query) *bias_.from(query, end).data = -Real(__builtin_inf());
    }
  }

  const Inputs<T>& inputs_;
  const Problem& problem_;
  const ChunkOffsets offsets_;
  const bool backward_, has_bias_, has_grad_bias_;
  const int64_t side_;
  PackedTokens<T> packed_;
  Buffer<int64_t> column_keys_;  // the first of each column
  Buffer<Real> table_;           // of table_head_, rearranged
  PaddedMatrix<Real> bias_, grad_bias_;
  Buffer<Real> grad_table_;  // rearranged
  int64_t table_head_ = -1, batch_ = 0, head_ = 0, bias_sources_[7] = {-1};
  int chunk_row_ = 0, first_query_ = 0, queries_ = 0;
  AxisKeys rows_{}, columns_{};
};

}  // namespace
}  // namespace vil_mm
