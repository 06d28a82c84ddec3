// A report as a page to look at.
#pragma once

#include <string>

#include "model/json.h"

namespace zerostream {

// HTML that needs nothing else: no network, no other file. Figures and tables are there without
// scripts; a script draws the charts of what the report holds: the timeline of a few passes,
// tokens per second and rows over time. Nothing in the report can become markup or script.
//
// A report of an older version, which lacks parts, gives a page without them. Throws UsageError,
// naming `source`, for JSON that is no report.
std::string report_page(const Json& report, const std::string& source);

}  // namespace zerostream
