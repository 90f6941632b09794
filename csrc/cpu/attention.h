// Sliding-window attention of spans of chunks, forward and backward. Compiled once per instruction set.
//
// A block of a chunk's queries sees all of its keys at once, so that the softmax needs one pass and no rescaling.
#pragma once

#include <sched.h>

#include "neighborhood.h"

namespace vil_mm {
namespace {

// What is packed at once fits in a core's second-level cache (at least 1 MiB), along with what it is multiplied by.
constexpr int64_t kStripBytes = 640 << 10, kBiasBytes = 256 << 10, kScoreBytes = 128 << 10;
constexpr int kMaxBlock = 64;
// Rows of chunks are cut into more tasks than the cache demands while there are at most this many in all. It does not
// depend on the number of threads, since results must not.
constexpr int64_t kFewTasks = 16;
// Global tokens, and two rectangles in at most two parts each.
constexpr int kMaxParts = 5;

// How the work is divided.
struct Plan {
  int64_t scores;  // the most columns that the matrix of scores can have
  int group;       // places of queries in a chunk whose biases are packed together
  int block;       // queries that are processed together
  int spans;       // parts of a row of chunks; the keys of a part are packed together
  int chunks;      // the most chunks in a span
  int64_t tasks;   // spans in all

  template <typename T>
  static Plan of(const Problem& problem, bool backward) {
    using Real = ComputeType<T>;
    const auto clamp = [](int64_t value, int64_t low, int64_t high) { return smaller(larger(value, low), high); };
    const int rectangles = num_rectangles(problem.neighbors);
    int64_t keys = 1, keys_per_chunk = 1, places = 1;
    for (int i = 0; i < rectangles; ++i) {
      keys += Strip<T>::max_keys(problem, i, 1);
      places += Strip<T>::places(problem, i);
      keys_per_chunk += Strip<T>::max_keys(problem, i, 2) - Strip<T>::max_keys(problem, i, 1);
    }
    const int64_t key_bytes = (backward ? 6 : 3) * round_up(problem.head_width, kLanes<Real>) * sizeof(Real);
    const int64_t columns = keys + round_up(problem.num_global, kLanes<Real>) + kMaxParts * kLanes<Real>;
    const int64_t chunks = 1 + larger<int64_t>(kStripBytes / key_bytes - keys, 0) / keys_per_chunk;
    const int64_t rows = problem.batch * problem.heads * problem.rows().chunks();
    const int row_chunks = problem.columns().chunks();
    const int spans = clamp(kFewTasks / larger<int64_t>(rows, 1), (row_chunks + chunks - 1) / chunks, row_chunks);
    return {columns,
            static_cast<int>(
                clamp(kBiasBytes / (places * int64_t(sizeof(Real))), kTileRows, problem.window * problem.window)),
            static_cast<int>(clamp(kScoreBytes / (columns * int64_t(sizeof(Real))), kTileRows, kMaxBlock)),
            spans,
            ceil_div(row_chunks, spans),
            rows * spans};
  }
};

// Walks through a task block by block. Derived has attend(parts, number, order, tokens, count), which processes a block
// of `count` queries given by their places in the group and their tokens.
template <typename T, typename Derived>
class Walker {
 protected:
  using Real = ComputeType<T>;
  using Operand = typename OperandOf<T>::type;

 public:
  Walker(const Inputs<T>& inputs, bool backward)
      : inputs_(inputs),
        problem_(inputs.problem),
        plan_(Plan::of<T>(problem_, backward)),
        rectangles_(num_rectangles(problem_.neighbors)),
        backward_(backward),
        strips_{{inputs, 0, plan_.chunks, plan_.group, backward},
                {inputs, rectangles_ - 1, rectangles_ == 2 ? plan_.chunks : 0, rectangles_ == 2 ? plan_.group : 0,
                 backward}},
        globals_(problem_.num_global, problem_.head_width, backward),
        global_bias_(1, problem_.num_global),
        queries_(kMaxBlock, ceil_div(problem_.head_width, kPacked<Operand>)),
        scores_(plan_.block, plan_.scores),
        order_(plan_.group),
        tokens_(plan_.group) {}

  // Attends in a span of a head of an image, both numbered in row-major order. Neighboring spans have the same image
  // and head in the forward, so that biases stay packed; other ones in the backward, so that they seldom wait for
  // each other's gradients.
  void run(int64_t task) {
    const int64_t heads = problem_.batch * problem_.heads, spans = plan_.tasks / heads;
    const int64_t head = backward_ ? task % heads : task / spans;
    span_ = backward_ ? task / heads : task % spans;
    batch_ = head % problem_.batch, head_ = head / problem_.batch;
    chunk_row_ = span_ / plan_.spans;
    const int chunk_columns = problem_.columns().chunks(), part = span_ % plan_.spans;
    const int first = part_begin(chunk_columns, plan_.spans, part);
    const int last = part_begin(chunk_columns, plan_.spans, part + 1);
    set_globals();
    for (int i = 0; i < rectangles_; ++i) strips_[i].set_span(batch_, head_, chunk_row_, first, last);
    // chunks of the last row may have fewer rows of queries
    const int query_rows = smaller(problem_.window, problem_.height - chunk_row_ * problem_.window);
    const int places = query_rows * problem_.window, groups = ceil_div(places, plan_.group);
    for (int group = 0; group < groups; ++group) {
      const int begin = part_begin(places, groups, group), end = part_begin(places, groups, group + 1);
      // on a map narrower than a chunk, a group may be empty
      if (begin / problem_.window == (end - 1) / problem_.window && begin % problem_.window >= problem_.width) continue;
      for (int i = 0; i < rectangles_; ++i) strips_[i].set_queries(begin, end - begin);
      for (int chunk = first; chunk < last; ++chunk) attend_chunk(chunk, begin, end);
      self().finish_group();
    }
  }

 protected:
  Derived& self() { return static_cast<Derived&>(*this); }

  void set_globals() {
    const int count = problem_.num_global, width = problem_.head_width;
    if (!count) return;
    for (int i = 0; i < count; ++i) {
      load_row(globals_.k.from(i, 0).data, inputs_.k.at(batch_, head_, i), width);
      load_row(globals_.v.from(i, 0).data, inputs_.v.at(batch_, head_, i), width);
    }
    globals_.turn(count, width, backward_);
    if (inputs_.global_bias) load_row(global_bias_.from(0, 0).data, inputs_.global_bias + head_ * count, count);
  }

  void attend_chunk(int chunk, int begin, int end) {
    const int window = problem_.window;
    int count = 0;
    for (int place = begin; place < end; ++place) {
      const int row = chunk_row_ * window + place / window, column = chunk * window + place % window;
      if (row >= problem_.height || column >= problem_.width) continue;
      order_.data()[count] = place - begin;
      tokens_.data()[count++] = int64_t(row) * problem_.width + column;
    }
    Part<T> parts[kMaxParts];
    int number = 0;
    if (problem_.num_global) {
      Part<T>& part = parts[number++];
      part = {problem_.num_global, 0,
              globals_.k_rows(0),  globals_.v_rows(0),
              globals_.k_columns,  globals_.v_columns,
              globals_.grad_k,     globals_.grad_v};
      part.is_global = true;
      if (inputs_.global_bias) part.bias = {global_bias_.from(0, 0).data, 0};
    }
    for (int i = 0; i < rectangles_; ++i) number += strips_[i].parts_of(chunk, parts + number);
    for (int i = 1; i < number; ++i) parts[i].offset = parts[i - 1].offset + round_up(parts[i - 1].count, kLanes<Real>);
    const int blocks = ceil_div(count, plan_.block);
    for (int block = 0; block < blocks; ++block) {
      const int first = part_begin(count, blocks, block), last = part_begin(count, blocks, block + 1);
      self().attend(parts, number, order_.data() + first, tokens_.data() + first, last - first);
    }
  }

  // Computes the scores of a block with their biases. Beyond a part's keys, up to the next whole vector, they are
  // undefined.
  void score(const Part<T>* parts, int number, const int* order, const int64_t* tokens, int count) {
    const int width = problem_.head_width;
    for (int i = 0; i < count; ++i) load_row(queries_.from(i, 0).data, inputs_.q.at(batch_, head_, tokens[i]), width);
    for (int p = 0; p < number; ++p) {
      const Addend<Real> bias = {parts[p].bias.data, parts[p].bias.row_stride, order};
      multiply<Operand>(count, parts[p].count, width, queries_, parts[p].k_columns, scores_.from(0, parts[p].offset),
                        problem_.scale, bias);
    }
  }

  // e^(scores - log_sum). The change of base comes after the difference, which is 0 for the largest score however large
  // that is.
  static VIL_MM_INLINE Vector<Real> weight(Vector<Real> scores, Real log_sum) {
    return exp2<Real, ExponentialTerms<T>::value>(Real(kLog2E) * (scores - log_sum));
  }

  // Columns of the matrix of scores, up to whole vectors.
  static int64_t columns_of(const Part<T>* parts, int number) {
    return parts[number - 1].offset + round_up(parts[number - 1].count, kLanes<Real>);
  }

  // Overwrites what is beyond the keys of a part, up to the next whole vector.
  static void fill_tail(Real* row, int64_t count, Real value) {
    const int64_t whole = count / kLanes<Real> * kLanes<Real>;
    if (whole == count) return;
    // as a vector, since vectors cannot be loaded at once from where single elements were stored
    store(row + whole, first_lanes<Real>(count - whole) ? load(row + whole) : broadcast(value));
  }

  int64_t lse_index(int64_t token) const {
    return (batch_ * problem_.heads + head_) * problem_.height * problem_.width + token;
  }

  const Inputs<T>& inputs_;
  const Problem& problem_;
  const Plan plan_;
  const int rectangles_;
  const bool backward_;
  Strip<T> strips_[2];
  PackedTokens<T> globals_;
  PaddedMatrix<Real> global_bias_;
  PaddedMatrix<Operand> queries_;
  PaddedMatrix<Real> scores_;
  Buffer<int> order_;
  Buffer<int64_t> tokens_;
  int64_t batch_ = 0, head_ = 0, span_ = 0;
  int chunk_row_ = 0;
};

template <typename T>
class ForwardWalker : public Walker<T, ForwardWalker<T>> {
  using Base = Walker<T, ForwardWalker<T>>;
  using typename Base::Operand, typename Base::Real;

 public:
  static constexpr bool kIsBackward = false;

  explicit ForwardWalker(const Forward<T>& forward)
      : Base(forward.inputs, kIsBackward), forward_(forward), out_(kMaxBlock, this->problem_.head_width) {}

  void attend(const Part<T>* parts, int number, const int* order, const int64_t* tokens, int count) {
    constexpr int lanes = kLanes<Real>;
    const int width = this->problem_.head_width;
    this->score(parts, number, order, tokens, count);
    const int64_t columns = this->columns_of(parts, number);
    Real tops[kMaxBlock], sums[kMaxBlock];
    for (int i = 0; i < count; ++i) {
      Real* row = this->scores_.from(i, 0).data;
      for (int p = 0; p < number; ++p) this->fill_tail(row + parts[p].offset, parts[p].count, -Real(__builtin_inf()));
      Vector<Real> values = load(row);
      for (int64_t j = lanes; j < columns; j += lanes) values = larger_lanes<Real>(load(row + j), values);
      tops[i] = largest_lane<Real>(values);
    }
    for (int i = 0; i < count; ++i) {
      Real* row = this->scores_.from(i, 0).data;
      Vector<Real> sum{};
      for (int64_t j = 0; j < columns; j += lanes) {
        const Vector<Real> value = this->weight(load(row + j), tops[i]);
        store_operands(reinterpret_cast<Operand*>(row) + j / kPacked<Operand>, value);
        sum += value;
      }
      sums[i] = sum_lanes<Real>(sum);
    }
    for (int i = 0; i < count; ++i) {
      const double log_sum = sizeof(T) == 2 ? __builtin_logf(sums[i]) : __builtin_log(sums[i]);
      forward_.lse[this->lse_index(tokens[i])] = tops[i] + log_sum;
    }
    for (int p = 0; p < number; ++p) {
      const Matrix<Real> out = out_;
      multiply<Operand>(count, width, parts[p].count, as_operands<Operand, Real>(this->scores_, parts[p].offset),
                        parts[p].v_rows, out, 1, {p ? out.data : nullptr, out.row_stride});
    }
    for (int i = 0; i < count; ++i) {
      Real* row = out_.from(i, 0).data;
      for (int j = 0; j < width; j += lanes) store(row + j, load(row + j) / sums[i]);
      store_row<Real>(forward_.out.at(this->batch_, this->head_, tokens[i]), row, width, 1);
    }
  }
  void finish_group() {}

 private:
  const Forward<T>& forward_;
  PaddedMatrix<Real> out_;
};

template <typename T>
class BackwardWalker : public Walker<T, BackwardWalker<T>> {
  using Base = Walker<T, BackwardWalker<T>>;
  using typename Base::Operand, typename Base::Real;

 public:
  static constexpr bool kIsBackward = true;

  explicit BackwardWalker(const Backward<T>& backward)
      : Base(backward.inputs, kIsBackward),
        backward_args_(backward),
        grad_out_(kMaxBlock, ceil_div(this->problem_.head_width, kPacked<Operand>)),
        query_pairs_(kPacked<Operand> > 1 ? kMaxBlock / 2 : 0, this->problem_.head_width),
        grad_out_pairs_(kPacked<Operand> > 1 ? kMaxBlock / 2 : 0, this->problem_.head_width),
        grad_q_(kMaxBlock, this->problem_.head_width),
        grad_scores_(this->plan_.block, this->plan_.scores),
        grad_global_bias_(this->problem_.num_global) {}

  // Spans of a head add to the same gradients. They take turns, so that the order of the sums is the same with any
  // number of threads. None waits for one that no thread has begun, since they are begun in order.
  void run(int64_t task) {
    grad_global_bias_.clear();
    Base::run(task);
    int64_t& turn = backward_args_.turns[head_index()];
    while (__atomic_load_n(&turn, __ATOMIC_ACQUIRE) != this->span_) sched_yield();
    add_gradients();
    __atomic_store_n(&turn, this->span_ + 1, __ATOMIC_RELEASE);
  }

  void attend(const Part<T>* parts, int number, const int* order, const int64_t* tokens, int count) {
    const int width = this->problem_.head_width;
    const Real scale = this->problem_.scale;
    this->score(parts, number, order, tokens, count);
    const Matrix<Operand> grad_out = grad_out_;
    const Matrix<Real> grad_q = grad_q_;
    for (int i = 0; i < count; ++i)
      load_row(grad_out.row(i), backward_args_.grad_out.at(this->batch_, this->head_, tokens[i]), width);
    for (int p = 0; p < number; ++p)
      multiply<Operand>(count, parts[p].count, width, grad_out, parts[p].v_columns,
                        grad_scores_.from(0, parts[p].offset), 1);
    for (int i = 0; i < count; ++i) differentiate_softmax(parts, number, i, order[i], tokens[i]);
    if constexpr (kPacked<Operand> > 1) pair_queries(parts, number, count);
    for (int p = 0; p < number; ++p) {
      const Part<T>& part = parts[p];
      const auto [weights, grad_scores, queries, grad_outs] = sums_over_queries(part.offset);
      multiply<Operand>(count, width, part.count, as_operands<Operand, Real>(grad_scores_, part.offset), part.k_rows,
                        grad_q, scale, {p ? grad_q.data : nullptr, grad_q.row_stride});
      multiply<Operand>(part.count, width, count, grad_scores, queries, part.grad_k, scale,
                        {part.grad_k.data, part.grad_k.row_stride});
      multiply<Operand>(part.count, width, count, weights, grad_outs, part.grad_v, 1,
                        {part.grad_v.data, part.grad_v.row_stride});
    }
    for (int i = 0; i < count; ++i)
      store_row<Real>(backward_args_.grad_q.at(this->batch_, this->head_, tokens[i]), grad_q.row(i), width, 1);
  }

  // Turns a row of scores into weights, and the weights' gradients into the scores', which are also the biases'.
  void differentiate_softmax(const Part<T>* parts, int number, int row, int place, int64_t token) {
    constexpr int lanes = kLanes<Real>;
    Real *weights = this->scores_.from(row, 0).data, *grads = grad_scores_.from(row, 0).data;
    // in two pieces, since rounding to one would be too coarse: the weights would not add up to 1
    const double exact_lse = backward_args_.lse[this->lse_index(token)];
    const Real lse = exact_lse, rest = __builtin_exp(lse - exact_lse);
    // from the weights rather than the output, so that rounding errors cancel where one key has all the weight
    Vector<Real> mean{};
    for (int p = 0; p < number; ++p) {
      Real *weight = weights + parts[p].offset, *grad = grads + parts[p].offset;
      this->fill_tail(weight, parts[p].count, -Real(__builtin_inf()));
      this->fill_tail(grad, parts[p].count, 0);
      for (int64_t j = 0; j < parts[p].count; j += lanes) {
        const Vector<Real> value = rest * this->weight(load(weight + j), lse);
        store(weight + j, value);
        mean += value * load(grad + j);
      }
    }
    const Real mean_grad = sum_lanes<Real>(mean);
    for (int p = 0; p < number; ++p) {
      const Real* weight = weights + parts[p].offset;
      Real* grad = grads + parts[p].offset;
      Real* grad_bias = parts[p].grad_bias.data ? parts[p].grad_bias.row(place) : nullptr;
      for (int64_t j = 0; j < parts[p].count; j += lanes) {
        const Vector<Real> value = load(weight + j) * (load(grad + j) - mean_grad);
        store(grad + j, value);
      }
      // not beyond the keys, where a mean of NaN leaves NaN
      if (grad_bias) add_vectors<Real>(grad_bias, grad, parts[p].count);
      if (parts[p].is_global)
        for (int64_t j = 0; j < parts[p].count; ++j) grad_global_bias_.data()[j] += grad[j];
    }
  }

  // Operands of products that sum over queries; the first two are transposed.
  struct SumsOverQueries {
    Matrix<Operand> weights, grad_scores, queries, grad_out;
  };

  SumsOverQueries sums_over_queries(int64_t offset) {
    const Matrix<Real> weights = this->scores_.from(0, offset), grad_scores = grad_scores_.from(0, offset);
    if constexpr (kPacked<Operand> > 1) {
      // of every two rows of scores, the first now holds pairs of weights, the second pairs of their gradients
      Operand* data = reinterpret_cast<Operand*>(weights.data);
      const int64_t stride = weights.row_stride;
      return {{data, 1, 2 * stride}, {data + stride, 1, 2 * stride}, query_pairs_, grad_out_pairs_};
    } else {
      return {{weights.data, 1, weights.row_stride},
              {grad_scores.data, 1, grad_scores.row_stride},
              this->queries_,
              grad_out_};
    }
  }

  // Makes operands of these products from what was computed of two queries at a time, in place.
  void pair_queries(const Part<T>* parts, int number, int count) {
    constexpr int lanes = kLanes<Real>;
    const int width = this->problem_.head_width;
    const int64_t columns = this->columns_of(parts, number);
    const Matrix<Operand> queries = this->queries_, grad_out = grad_out_;
    const Matrix<Operand> query_pairs = query_pairs_, grad_out_pairs = grad_out_pairs_;
    for (int i = 0; i < count; i += 2) {
      const bool has_second = i + 1 < count;
      Real *weights = this->scores_.from(i, 0).data, *next_weights = this->scores_.from(i + 1, 0).data;
      Real *grads = grad_scores_.from(i, 0).data, *next_grads = grad_scores_.from(i + 1, 0).data;
      const auto operand = [](Real* row, int64_t j) { return reinterpret_cast<Operand*>(row) + j; };
      for (int64_t j = 0; j < columns; j += lanes) {
        const Vector<Real> next_weight = has_second ? load(next_weights + j) : Vector<Real>{};
        const Vector<Real> next_grad = has_second ? load(next_grads + j) : Vector<Real>{};
        const TwoRows<Operand> two_weights = {load(weights + j), next_weight}, two_grads = {load(grads + j), next_grad};
        two_weights.store_pairs(operand(weights, j));
        two_grads.store_pairs(operand(next_weights, j));
        two_grads.store_rows(operand(grads, j / 2), operand(next_grads, j / 2));
      }
      if (!has_second) {
        __builtin_memset(queries.row(i + 1), 0, ceil_div(width, 2) * sizeof(Operand));
        __builtin_memset(grad_out.row(i + 1), 0, ceil_div(width, 2) * sizeof(Operand));
      }
      pair_rows(query_pairs.row(i / 2), queries.row(i), queries.row(i + 1), width);
      pair_rows(grad_out_pairs.row(i / 2), grad_out.row(i), grad_out.row(i + 1), width);
    }
  }

  void finish_group() {
    for (int i = 0; i < this->rectangles_; ++i) this->strips_[i].collect_table_gradient();
  }

 private:
  int64_t head_index() const { return this->batch_ * this->problem_.heads + this->head_; }

  // Adds the span's gradients to those of its head.
  void add_gradients() {
    const int count = this->problem_.num_global, width = this->problem_.head_width;
    const int64_t side = bias_side(this->problem_.window);
    for (int i = 0; i < count; ++i) {
      add_row<Real>(backward_args_.grad_k.at(this->batch_, this->head_, i), this->globals_.grad_k.from(i, 0).data,
                    width);
      add_row<Real>(backward_args_.grad_v.at(this->batch_, this->head_, i), this->globals_.grad_v.from(i, 0).data,
                    width);
    }
    if (backward_args_.grad_global_bias)
      add_row<double>(backward_args_.grad_global_bias + head_index() * count, grad_global_bias_.data(), count);
    Real* table = backward_args_.grad_table ? backward_args_.grad_table + head_index() * side * side : nullptr;
    for (int i = 0; i < this->rectangles_; ++i)
      this->strips_[i].add_gradients(backward_args_.grad_k, backward_args_.grad_v, table);
  }

  const Backward<T>& backward_args_;
  PaddedMatrix<Operand> grad_out_, query_pairs_, grad_out_pairs_;
  PaddedMatrix<Real> grad_q_, grad_scores_;
  Buffer<double> grad_global_bias_;  // sums over many queries
};

template <typename Work, typename T, typename Arguments>
void run_tasks(const Arguments& arguments, Tasks& tasks) {
  const int64_t count = Plan::of<T>(arguments.inputs.problem, Work::kIsBackward).tasks;
  if (tasks.begun() >= count) return;
  Work work(arguments);  // allocates; a task that has begun must not fail, since others may wait for it
  for (int64_t task = tasks.take(); task < count; task = tasks.take()) work.run(task);
}

}  // namespace

namespace VIL_MM_ISA {

#define VIL_MM_DEFINE_KERNELS(T)                                                                                \
  void forward(const Forward<T>& arguments, Tasks& tasks) { run_tasks<ForwardWalker<T>, T>(arguments, tasks); } \
  void backward(const Backward<T>& arguments, Tasks& tasks) { run_tasks<BackwardWalker<T>, T>(arguments, tasks); }
#if !VIL_MM_MULTIPLIES_BFLOAT16
VIL_MM_DEFINE_KERNELS(float)
VIL_MM_DEFINE_KERNELS(double)
VIL_MM_DEFINE_KERNELS(c10::Half)
#endif
VIL_MM_DEFINE_KERNELS(c10::BFloat16)
#undef VIL_MM_DEFINE_KERNELS

}  // namespace VIL_MM_ISA
}  // namespace vil_mm
