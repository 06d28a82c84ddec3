// What a run did, for scripts and for people.
#pragma once

#include <cstdint>
#include <string>

#include "model/json.h"
#include "offload/run_statistics.h"

namespace zerostream {

struct ReportFacts {
  Json model;   // path, store, type, dtype, ...
  Json config;  // as resolved
  RunStatistics statistics;
  int64_t rows_ok = 0, rows_failed = 0;  // written by this run
  int64_t rows_kept = 0;                 // of earlier runs
  bool stopped = false;                  // by a signal
  double total_seconds = 0;              // from start to end, loading included
  int64_t peak_resident_bytes = 0;
  Json score;               // ScoreTotals::json() of a scoring job; null: none
  Json predicted;           // of a run whose sizes were planned with rates; null: none
  double storage_rate = 0;  // bytes/s that reads had when they were probed; 0: they were not
  Json history;             // RunHistory::json(); null: none
  Json timeline;            // PassWindows::json(); null: none
};

// The report. Rates of nothing in no time are 0.
Json make_report(const ReportFacts& facts);

// A few lines about a report.
std::string summarise_report(const Json& report);

// Replaces the file's content. Throws IoError.
void write_report(const Json& report, const std::string& path);

}  // namespace zerostream
