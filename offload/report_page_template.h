// The page that reports are put into.
#pragma once

#include <string_view>

namespace zerostream {

// report_page.html, made part of the program by CMake. Has {{title}}, {{body}} and {{data}}.
extern const std::string_view kReportPageTemplate;

}  // namespace zerostream
