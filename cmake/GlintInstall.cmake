# Install rules: headers, libraries, program, bundled models, and what find_package(glint) reads. The light core is a
# component of its own, `core`, and all there is with GLINT_CORE_ONLY.
include(CMakePackageConfigHelpers)

set(_config_dir "${CMAKE_INSTALL_LIBDIR}/cmake/glint")

install(DIRECTORY "${PROJECT_SOURCE_DIR}/include/glint" DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}" COMPONENT core)
install(TARGETS glint_core EXPORT glintCoreTargets
  ARCHIVE COMPONENT core LIBRARY COMPONENT core RUNTIME COMPONENT core)
if(GLINT_C)
  install(TARGETS glint_c_core EXPORT glintCoreTargets
    ARCHIVE COMPONENT core LIBRARY COMPONENT core RUNTIME COMPONENT core)
endif()
install(EXPORT glintCoreTargets NAMESPACE glint:: DESTINATION "${_config_dir}" COMPONENT core)

configure_package_config_file("${PROJECT_SOURCE_DIR}/cmake/glintConfig.cmake.in" "${PROJECT_BINARY_DIR}/glintConfig.cmake"
  INSTALL_DESTINATION "${_config_dir}")
write_basic_package_version_file("${PROJECT_BINARY_DIR}/glintConfigVersion.cmake" COMPATIBILITY SameMinorVersion)
install(FILES "${PROJECT_BINARY_DIR}/glintConfig.cmake" "${PROJECT_BINARY_DIR}/glintConfigVersion.cmake"
  DESTINATION "${_config_dir}" COMPONENT core)

# glint_pkg_config(<file> <library> <description> [<flag>]): what pkg-config reads.
function(glint_pkg_config file library description)
  set(GLINT_PC_NAME ${file})
  set(GLINT_PC_LIBRARY ${library})
  set(GLINT_PC_DESCRIPTION "${description}")
  set(GLINT_PC_CFLAGS "${ARGN}")
  configure_file("${PROJECT_SOURCE_DIR}/cmake/glint-core.pc.in" "${PROJECT_BINARY_DIR}/${file}.pc" @ONLY)
  install(FILES "${PROJECT_BINARY_DIR}/${file}.pc" DESTINATION "${CMAKE_INSTALL_LIBDIR}/pkgconfig" COMPONENT core)
endfunction()
glint_pkg_config(glint-core glint_core "Better sampling for diffusion and flow models, without libtorch" -DGLINT_CORE_ONLY)
if(GLINT_C)
  glint_pkg_config(glint-c-core glint_c_core "The C interface of glint's light core")
endif()

# Packages: cpack -G DEB or TGZ in the build folder. Both may be unpacked anywhere.
set(CPACK_PACKAGE_NAME glint)
set(CPACK_PACKAGE_VENDOR "the glint contributors")
set(CPACK_PACKAGE_CONTACT "the glint contributors <maintainers@glint.invalid>")
set(CPACK_PACKAGE_VERSION ${PROJECT_VERSION})
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "${PROJECT_DESCRIPTION}")
set(CPACK_RESOURCE_FILE_LICENSE "${PROJECT_SOURCE_DIR}/LICENSE")
set(CPACK_GENERATOR "DEB;TGZ")
set(CPACK_STRIP_FILES ON)
set(CPACK_DEBIAN_PACKAGE_SECTION libdevel)
if(GLINT_CORE_ONLY)
  set(CPACK_PACKAGE_NAME glint-core)
  set(CPACK_DEBIAN_PACKAGE_DEPENDS "libstdc++6 (>= 12)")
  include(CPack)
  return()
endif()
include(CPack)

install(DIRECTORY "${PROJECT_SOURCE_DIR}/models" DESTINATION "${CMAKE_INSTALL_DATADIR}/glint")
install(TARGETS glint glint_ops EXPORT glintTargets)
if(TARGET glint_cli)
  install(TARGETS glint_cli)
  install(TARGETS glint_program LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}")
endif()
if(GLINT_C)
  install(TARGETS glint_c EXPORT glintTargets)
endif()
install(EXPORT glintTargets NAMESPACE glint:: DESTINATION "${_config_dir}")

# Where the package looks for libtorch first: where it was when this was built.
get_filename_component(GLINT_TORCH_BUILT_WITH "${GLINT_TORCH_LIB_DIR}" DIRECTORY)
configure_file("${PROJECT_SOURCE_DIR}/cmake/glintFull.cmake.in" "${PROJECT_BINARY_DIR}/glintFull.cmake" @ONLY)
install(FILES
  "${PROJECT_BINARY_DIR}/glintFull.cmake"
  "${PROJECT_SOURCE_DIR}/cmake/GlintTorch.cmake"
  "${PROJECT_SOURCE_DIR}/cmake/GlintWebp.cmake"
  DESTINATION "${_config_dir}")
