#include <glint/catalog/build_context.hpp>
#include <glint/model/model.hpp>

#ifndef GLINT_CORE_ONLY
#include <glint/bundle/bundle.hpp>
#endif

namespace glint {

std::shared_ptr<const Model> BuildContext::model_for(std::string_view owner,
                                                     const std::string& component) const {
#ifdef GLINT_CORE_ONLY
  fail(ErrorCode::InvalidArgument, "{}: needs a model bundle for '{}', and the light core has none", owner,
       component);
#else
  return bundle_for(owner).model(component);
#endif
}

}  // namespace glint
