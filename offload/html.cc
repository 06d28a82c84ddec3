#include "offload/html.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace zerostream {
namespace {

std::string fixed(double number, int digits) {
  char text[400];
  std::snprintf(text, sizeof text, "%.*f", digits, number);
  return text;
}

std::string row(const std::string& name, const std::string& value) {
  std::string text = "<tr><th scope=\"row\">";
  text.append(name).append("</th><td class=\"number\">").append(value).append("</td></tr>\n");
  return text;
}

}  // namespace

std::string escape_html(std::string_view text) {
  std::string html;
  for (const char c : text) switch (c) {
      case '&':
        html += "&amp;";
        break;
      case '<':
        html += "&lt;";
        break;
      case '>':
        html += "&gt;";
        break;
      case '"':
        html += "&quot;";
        break;
      case '\'':
        html += "&#39;";
        break;
      default:
        html += c;
    }
  return html;
}

std::string script_json(const Json& json) {
  std::string script;
  for (const char c : json_text(json)) {
    if (c == '<')
      script += "\\u003c";
    else
      script += c;
  }
  return script;
}

std::string show_figure(double number) {
  const double size = std::abs(number);
  if (size < 99.95) return fixed(number, size == 0 ? 0 : size < 0.9995 ? 3 : size < 9.995 ? 2 : 1);
  return show_count(number);
}

std::string show_count(double number) {
  const std::string digits = fixed(std::abs(number), 0);
  std::string shown(number < 0 ? "-" : "");
  for (size_t i = 0; i < digits.size(); ++i) {
    if (i > 0 && (digits.size() - i) % 3 == 0) shown += ',';
    shown += digits[i];
  }
  return shown;
}

std::string show_seconds(double seconds) {
  char text[64];
  const double whole = std::round(std::clamp(seconds, 0.0, 1e12));
  const auto minutes = static_cast<long long>(whole) / 60;
  if (seconds < 1) {
    std::snprintf(text, sizeof text, "%.3g ms", 1000 * seconds);
  } else if (seconds < 100) {
    std::snprintf(text, sizeof text, "%.3g s", seconds);
  } else if (minutes < 60) {
    std::snprintf(text, sizeof text, "%lld min %02lld s", minutes,
                  static_cast<long long>(whole) % 60);
  } else {
    std::snprintf(text, sizeof text, "%lld h %02lld min", minutes / 60, minutes % 60);
  }
  return text;
}

std::string html_bar(const std::vector<BarPart>& parts, double whole,
                     const std::vector<std::pair<std::string, std::string>>& rows) {
  std::string bar = "<div class=\"bar\">", table = "<table>\n";
  for (const BarPart& part : parts) {
    if (part.amount <= 0) continue;
    const std::string colour = "style=\"background:var(" + part.colour + ")";
    const double share = whole > 0 ? 100 * part.amount / whole : 0;
    bar += "<i " + colour + ";width:" + fixed(share, 2) + "%\" title=\"" + escape_html(part.name) +
           "\"></i>";
    table +=
        row("<span class=\"key\" " + colour + "\"></span>" + escape_html(part.name),
            escape_html(part.shown) + " <span class=\"soft\">" + fixed(share, 0) + " %</span>");
  }
  for (const auto& [name, value] : rows) table += row(escape_html(name), escape_html(value));
  return bar + "</div>\n" + table + "</table>\n";
}

std::string html_table(const std::vector<std::pair<std::string, std::string>>& rows) {
  std::string table = "<table>\n";
  for (const auto& [name, value] : rows) table += row(escape_html(name), escape_html(value));
  return table + "</table>\n";
}

}  // namespace zerostream
