#include "data/pretokenize.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "data/utf8.h"
#include "tensor/error.h"

namespace r1 {

const char* const kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

namespace {

struct Part {
  size_t begin, end;
  bool match;
};

// The matches and the text between them, in order, covering the piece.
template <class Find>
void find_parts(std::string_view piece, Find&& find, std::vector<Part>& parts) {
  parts.clear();
  size_t done = 0, from = 0, begin = 0, end = 0;
  while (from <= piece.size() && find(from, begin, end)) {
    if (begin > done) parts.push_back({done, begin, false});
    parts.push_back({begin, end, true});
    done = end;
    from = end;
    if (begin == end)  // an empty match: go on after the next character
      from += from < piece.size() ? static_cast<size_t>(utf8_next(piece, from).bytes) : 1;
  }
  if (done < piece.size()) parts.push_back({done, piece.size(), false});
}

// Joins parts as the behaviour says; kRemoved only drops matches.
void join_parts(SplitBehavior behavior, std::vector<Part>& parts) {
  std::vector<Part> out;
  const auto append = [&](bool join, const Part& part) {
    if (join && !out.empty()) out.back().end = part.end;
    else out.push_back(part);
  };
  bool previous = false;
  switch (behavior) {
    case SplitBehavior::kIsolated:
      return;
    case SplitBehavior::kRemoved:
      std::erase_if(parts, [](const Part& p) { return p.match; });
      return;
    case SplitBehavior::kContiguous:
      for (const Part& part : parts) {
        append(part.match == previous, part);
        previous = part.match;
      }
      break;
    case SplitBehavior::kMergedWithPrevious:
      for (const Part& part : parts) {
        append(part.match && !previous, part);
        previous = part.match;
      }
      break;
    case SplitBehavior::kMergedWithNext:
      // The same from right to left: a match takes in the text that follows it.
      for (auto part = parts.rbegin(); part != parts.rend(); ++part) {
        if (part->match && !previous && !out.empty()) out.back().begin = part->begin;
        else out.push_back(*part);
        previous = part->match;
      }
      std::reverse(out.begin(), out.end());
      break;
  }
  parts = std::move(out);
}

}  // namespace

PreTokenizer::PreTokenizer(const std::vector<SplitRule>& rules, const std::string& where) {
  for (const SplitRule& rule : rules) {
    Step step{rule, nullptr};
    if (rule.kind == SplitRule::Kind::kRegex)
      step.regex = std::make_shared<const Regex>(rule.pattern, where);
    R1_CHECK(rule.kind != SplitRule::Kind::kLiteral || !rule.pattern.empty(),
             "{}: a Split pattern is empty", where);
    steps_.push_back(std::move(step));
  }
}

void PreTokenizer::split(std::string_view text, Pieces& pieces) const {
  pieces.views.clear();
  pieces.storage.clear();
  if (text.empty()) return;
  pieces.views.push_back(text);
  std::vector<std::string_view> next;
  std::vector<Part> parts;
  for (const Step& step : steps_) {
    next.clear();
    std::optional<Regex::Matcher> matcher;
    if (step.regex) matcher.emplace(*step.regex);
    for (const std::string_view piece : pieces.views) {
      if (step.rule.kind == SplitRule::Kind::kPrefixSpace) {
        if (piece.front() == ' ') next.push_back(piece);
        else next.push_back(pieces.storage.emplace_back(" ").append(piece));
        continue;
      }
      find_parts(
          piece,
          [&](size_t from, size_t& begin, size_t& end) {
            if (matcher) return matcher->find(piece, from, begin, end);
            begin = piece.find(step.rule.pattern, from);
            end = begin + step.rule.pattern.size();
            return begin != std::string_view::npos;
          },
          parts);
      if (step.rule.invert)
        for (Part& part : parts) part.match = !part.match;
      join_parts(step.rule.behavior, parts);
      for (const Part& part : parts)
        if (part.end > part.begin) next.push_back(piece.substr(part.begin, part.end - part.begin));
    }
    pieces.views.swap(next);
  }
}

}  // namespace r1
