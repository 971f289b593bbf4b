// Byte-pair encoding of one piece of text (Sennrich et al. 2016, byte-level as in GPT-2): the
// adjacent pair of lowest rank is merged until no pair has a rank.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace r1 {

// (left, right) becomes result; the position in the list of merges is the rank.
struct BpeMerge {
  int32_t left = 0, right = 0, result = 0;
};

// Memory that encode() reuses from piece to piece; one per thread.
struct BpeScratch {
  struct Symbol {
    int32_t id, previous, next;
  };
  struct Candidate {
    uint32_t rank;
    int32_t position, result;
  };
  std::vector<Symbol> symbols;
  std::vector<Candidate> heap;
};

class Bpe {
 public:
  // byte_ids[b] is the token of the single byte b, or -1: such bytes are dropped without a sign,
  // as the tokenizers package does for a model without an unknown token. Of two merges of the
  // same pair the later one counts.
  Bpe(const std::array<int32_t, 256>& byte_ids, const std::vector<BpeMerge>& merges);

  // Appends the ids of the piece (at most 2^31 - 1 bytes). O(n log n) for n bytes.
  void encode(std::string_view piece, BpeScratch& scratch, std::vector<int32_t>& ids) const;

 private:
  struct Entry {
    uint64_t key = kEmpty;
    uint32_t rank = 0;
    int32_t result = 0;
  };
  static constexpr uint64_t kEmpty = ~uint64_t{0};

  const Entry* find(int32_t left, int32_t right) const;
  void push_pair(BpeScratch& scratch, int32_t position) const;

  std::array<int32_t, 256> byte_ids_;
  std::vector<Entry> table_;  // open addressing, linear probing, at most half full
  int shift_ = 63;            // the top bits of the hash are the slot
};

}  // namespace r1
