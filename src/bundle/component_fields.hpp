// The fields of model.json that describe files.
#pragma once

#include "io/json_fields.hpp"

#include <glint/bundle/manifest.hpp>

namespace glint::detail {

/// Reads a component's fields; its role decides which there are.
void component_fields(FieldReader& v, Component& component, std::string_view role);

void components(FieldReader& v, std::map<std::string, Component>& out);
void components(FieldLister& v, std::map<std::string, Component>&);
void adapters(FieldReader& v, std::map<std::string, AdapterEntry>& out);
void adapters(FieldLister& v, std::map<std::string, AdapterEntry>&);

}  // namespace glint::detail
