#include "data/bpe.h"

#include <algorithm>
#include <limits>

#include "tensor/error.h"

namespace r1 {

namespace {

uint64_t pair_key(int32_t left, int32_t right) {
  return (static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32) | static_cast<uint32_t>(right);
}

uint64_t hash(uint64_t key) {
  key ^= key >> 32;
  return key * 0x9E3779B97F4A7C15u;  // Fibonacci hashing: the top bits are the best mixed
}

// Lowest rank first, then leftmost.
bool later(const BpeScratch::Candidate& a, const BpeScratch::Candidate& b) {
  return a.rank != b.rank ? a.rank > b.rank : a.position > b.position;
}

}  // namespace

Bpe::Bpe(const std::array<int32_t, 256>& byte_ids, const std::vector<BpeMerge>& merges)
    : byte_ids_(byte_ids) {
  R1_CHECK(merges.size() < std::numeric_limits<uint32_t>::max() / 4, "BPE: {} merges are too many",
           merges.size());
  int bits = 4;
  while ((size_t{1} << bits) < 2 * merges.size()) ++bits;
  shift_ = 64 - bits;
  table_.resize(size_t{1} << bits);
  const size_t mask = table_.size() - 1;
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    const uint64_t key = pair_key(merges[rank].left, merges[rank].right);
    size_t slot = hash(key) >> shift_;
    while (table_[slot].key != kEmpty && table_[slot].key != key) slot = (slot + 1) & mask;
    table_[slot] = {key, static_cast<uint32_t>(rank), merges[rank].result};
  }
}

const Bpe::Entry* Bpe::find(int32_t left, int32_t right) const {
  const uint64_t key = pair_key(left, right);
  const size_t mask = table_.size() - 1;
  for (size_t slot = hash(key) >> shift_;; slot = (slot + 1) & mask) {
    if (table_[slot].key == key) return &table_[slot];
    if (table_[slot].key == kEmpty) return nullptr;
  }
}

void Bpe::push_pair(BpeScratch& scratch, int32_t position) const {
  const auto& symbol = scratch.symbols[static_cast<size_t>(position)];
  if (symbol.next < 0) return;
  const Entry* entry = find(symbol.id, scratch.symbols[static_cast<size_t>(symbol.next)].id);
  if (entry == nullptr) return;
  scratch.heap.push_back({entry->rank, position, entry->result});
  std::push_heap(scratch.heap.begin(), scratch.heap.end(), later);
}

void Bpe::encode(std::string_view piece, BpeScratch& scratch, std::vector<int32_t>& ids) const {
  R1_CHECK(piece.size() <= static_cast<size_t>(std::numeric_limits<int32_t>::max()),
           "BPE: a piece of {} bytes is longer than 2^31 - 1", piece.size());
  auto& symbols = scratch.symbols;
  symbols.clear();
  scratch.heap.clear();
  for (const char c : piece) {
    const int32_t id = byte_ids_[static_cast<uint8_t>(c)];
    if (id < 0) continue;
    const auto position = static_cast<int32_t>(symbols.size());
    symbols.push_back({id, position - 1, position + 1});
  }
  if (symbols.empty()) return;
  symbols.back().next = -1;
  for (size_t i = 0; i + 1 < symbols.size(); ++i) {
    const Entry* entry = find(symbols[i].id, symbols[i + 1].id);
    if (entry != nullptr)
      scratch.heap.push_back({entry->rank, static_cast<int32_t>(i), entry->result});
  }
  std::make_heap(scratch.heap.begin(), scratch.heap.end(), later);
  while (!scratch.heap.empty()) {
    std::pop_heap(scratch.heap.begin(), scratch.heap.end(), later);
    const BpeScratch::Candidate top = scratch.heap.back();
    scratch.heap.pop_back();
    auto& left = symbols[static_cast<size_t>(top.position)];
    if (left.id < 0 || left.next < 0) continue;  // merged into its left neighbour meanwhile
    auto& right = symbols[static_cast<size_t>(left.next)];
    // A neighbour that has grown since makes another pair.
    const Entry* entry = find(left.id, right.id);
    if (entry == nullptr || entry->rank != top.rank) continue;
    left.id = top.result;
    left.next = right.next;
    right.id = -1;
    if (left.next >= 0) symbols[static_cast<size_t>(left.next)].previous = top.position;
    if (left.previous >= 0) push_pair(scratch, left.previous);
    push_pair(scratch, top.position);
  }
  for (int32_t i = 0; i >= 0; i = symbols[static_cast<size_t>(i)].next)
    ids.push_back(symbols[static_cast<size_t>(i)].id);
}

}  // namespace r1
