// Text for pages.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "model/json.h"

namespace zerostream {

// Text as HTML that shows it, also inside quoted attributes.
std::string escape_html(std::string_view text);

// JSON as it may stand inside a <script> element.
std::string script_json(const Json& json);

// "0.123", "12.3", "1,234": three significant figures or all digits before the point.
std::string show_figure(double number);
// "12", "1,234": a whole number.
std::string show_count(double number);
// "850 ms", "12.3 s", "2 min 05 s", "3 h 20 min".
std::string show_seconds(double seconds);

// A part of a whole, drawn as a piece of a bar with a row in the table below it.
struct BarPart {
  std::string name;
  double amount = 0;
  std::string shown;   // the amount, for people
  std::string colour;  // "--read": a variable of the page's style
};

// A bar of which `whole` is the full length, its parts from left to right, and a table of them;
// parts of nothing are left out. `rows`: more rows for the table, name and value.
std::string html_bar(const std::vector<BarPart>& parts, double whole,
                     const std::vector<std::pair<std::string, std::string>>& rows);

// A table of names and values.
std::string html_table(const std::vector<std::pair<std::string, std::string>>& rows);

}  // namespace zerostream
