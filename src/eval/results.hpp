// The files of a finished evaluation: results.json, results.csv and report.html.
#pragma once

#include <glint/eval/evaluation.hpp>

#include <nlohmann/json.hpp>

#include <string>

namespace glint::detail {

/// Returns everything known about an evaluation. Keys whose values differ between runs of the same request
/// begin with "seconds".
nlohmann::ordered_json results_json(const EvalRequest& request, const nlohmann::ordered_json& identity,
                                    const EvalResult& result);

/// Returns one row per comparison.
std::string results_csv(const EvalResult& result);

/// Returns the report: one page that needs no other file.
std::string report_html(const EvalRequest& request, const nlohmann::ordered_json& identity,
                        const EvalResult& result);

}  // namespace glint::detail
