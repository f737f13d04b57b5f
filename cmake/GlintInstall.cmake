# Install rules: headers, library, program, bundled models, and what find_package(glint) reads.
include(CMakePackageConfigHelpers)

set(_config_dir "${CMAKE_INSTALL_LIBDIR}/cmake/glint")
get_filename_component(GLINT_TORCH_BUILT_WITH "${GLINT_TORCH_LIB_DIR}" DIRECTORY)

install(DIRECTORY "${PROJECT_SOURCE_DIR}/include/glint" DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}")
install(DIRECTORY "${PROJECT_SOURCE_DIR}/models" DESTINATION "${CMAKE_INSTALL_DATADIR}/glint")
install(TARGETS glint glint_ops EXPORT glintTargets)
if(TARGET glint_cli)
  install(TARGETS glint_cli)
endif()
install(EXPORT glintTargets NAMESPACE glint:: DESTINATION "${_config_dir}")

configure_package_config_file("${PROJECT_SOURCE_DIR}/cmake/glintConfig.cmake.in" "${PROJECT_BINARY_DIR}/glintConfig.cmake"
  INSTALL_DESTINATION "${_config_dir}")
write_basic_package_version_file("${PROJECT_BINARY_DIR}/glintConfigVersion.cmake" COMPATIBILITY SameMinorVersion)
install(FILES
  "${PROJECT_BINARY_DIR}/glintConfig.cmake"
  "${PROJECT_BINARY_DIR}/glintConfigVersion.cmake"
  "${PROJECT_SOURCE_DIR}/cmake/GlintTorch.cmake"
  "${PROJECT_SOURCE_DIR}/cmake/GlintWebp.cmake"
  DESTINATION "${_config_dir}")
