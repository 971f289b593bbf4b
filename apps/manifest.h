// The manifest of a checkpoint: by it a half-written or damaged one is told from a whole one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace r1::apps {

// FOLDER/trainer/manifest.json: size and XXH64 of every file below FOLDER. To be written last,
// before the folder gets its final name; FOLDER/trainer exists.
void write_manifest(const std::string& folder);

// Throws Error naming the first file that is missing, cut or changed, or the manifest itself.
void check_manifest(const std::string& folder);

// The hash of github.com/Cyan4973/xxHash (doc/xxhash_spec.md), seed 0: `xxh64sum` prints the same.
std::uint64_t xxh64(std::span<const std::byte> bytes);

}  // namespace r1::apps
