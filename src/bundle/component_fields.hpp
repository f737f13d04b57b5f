// The fields of model.json that describe files.
#pragma once

#include "io/json_fields.hpp"

#include <glint/bundle/manifest.hpp>

namespace glint::detail {

void components(FieldReader& v, std::map<std::string, Component>& out);
void components(FieldLister& v, std::map<std::string, Component>&);
void adapters(FieldReader& v, std::map<std::string, AdapterEntry>& out);
void adapters(FieldLister& v, std::map<std::string, AdapterEntry>&);

}  // namespace glint::detail
