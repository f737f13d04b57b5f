// What an emulated launch counted.
#pragma once

#include "tests/support/simt/fault.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <map>
#include <vector>

namespace glint::simt {

constexpr int kWarp = 32;

/// Warp-wide accesses to shared memory of one line of the source.
struct Conflicts {
  std::int64_t accesses = 0;
  std::int64_t passes = 0;  ///< times the banks were needed; without conflicts one per 128 bytes
  int worst = 0;            ///< most words of one bank in one pass: 1 = none, 2 = 2-way
};

struct Report {
  std::int64_t blocks = 0, barriers = 0, multiplies = 0, matrix_loads = 0, copies = 0;
  std::map<std::string, Conflicts> conflicts;  ///< by file:line

  int worst_conflict() const {
    int worst = 0;
    for (const auto& [site, c] : conflicts) worst = std::max(worst, c.worst);
    return worst;
  }
  void add(const Report& other) {
    blocks += other.blocks;
    barriers += other.barriers;
    multiplies += other.multiplies;
    matrix_loads += other.matrix_loads;
    copies += other.copies;
    for (const auto& [site, c] : other.conflicts) {
      Conflicts& mine = conflicts[site];
      mine.accesses += c.accesses;
      mine.passes += c.passes;
      mine.worst = std::max(mine.worst, c.worst);
    }
  }
};

/// Pairs up the accesses of a warp's lanes: the n-th of each lane at one place of the source is one
/// instruction.
class BankMeter {
 public:
  void note(const std::source_location& where, int lane, std::uint32_t at, std::uint32_t size) {
    Site& site = find(where);
    const std::size_t n = site.next[static_cast<std::size_t>(lane)]++;
    if (n >= site.instructions.size()) site.instructions.resize(n + 1);
    Instruction& i = site.instructions[n];
    i.at[static_cast<std::size_t>(lane)] = at;
    i.lanes |= 1u << lane;
    i.size = size;
  }
  /// Counts what was noted, at the latest when the block ends.
  void settle(Report& report) {
    for (Site& site : sites_) {
      if (site.instructions.empty()) continue;
      Conflicts& c = report.conflicts[text(site.where)];
      for (const Instruction& i : site.instructions) count(i, c);
      site.instructions.clear();
      site.next.fill(0);
    }
  }

 private:
  struct Instruction {
    std::array<std::uint32_t, kWarp> at;
    std::uint32_t lanes = 0, size = 0;
  };
  struct Site {
    std::source_location where;
    std::array<std::size_t, kWarp> next{};
    std::vector<Instruction> instructions;
  };

  Site& find(const std::source_location& where) {
    for (Site& s : sites_)
      if (s.where.line() == where.line() && s.where.column() == where.column() &&
          s.where.file_name() == where.file_name())
        return s;
    sites_.push_back(Site{where, {}, {}});
    return sites_.back();
  }
  /// The hardware serves 128 bytes at a time: 32 lanes of 4 bytes, 16 of 8, 8 of 16.
  static void count(const Instruction& i, Conflicts& c) {
    ++c.accesses;
    const int group = i.size <= 4 ? 32 : i.size == 8 ? 16 : 8;
    for (int first = 0; first < kWarp; first += group) {
      std::array<int, 32> held{};
      std::array<std::array<std::uint32_t, 32>, 32> words;  // of each bank, the first held[bank] are set
      int most = 0;
      for (int lane = first; lane < first + group; ++lane)
        for (std::uint32_t w = 0; (i.lanes >> lane & 1) && w < std::max(i.size, 4u) / 4; ++w) {
          const std::uint32_t word = i.at[static_cast<std::size_t>(lane)] / 4 + w;
          auto& bank = words[word % 32];
          int& n = held[word % 32];
          if (std::find(bank.begin(), bank.begin() + n, word) == bank.begin() + n)
            bank[static_cast<std::size_t>(n++)] = word;
          most = std::max(most, n);
        }
      c.passes += most;
      c.worst = std::max(c.worst, most);
    }
  }

  std::vector<Site> sites_;
};

}  // namespace glint::simt
