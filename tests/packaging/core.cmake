# How the light core is consumed. Included by tests/CMakeLists.txt in both builds.
set(flags "")
if(GLINT_SANITIZE)
  set(flags "-fsanitize=${GLINT_SANITIZE}")
endif()
set(modes install subdirectory)
if(NOT GLINT_CORE_ONLY)
  set(modes alone install)
endif()
foreach(mode IN LISTS modes)
  add_test(NAME packaging/core_${mode} COMMAND "${CMAKE_COMMAND}"
    -DMODE=${mode} "-DSOURCE_DIR=${PROJECT_SOURCE_DIR}" "-DBUILD_DIR=${PROJECT_BINARY_DIR}"
    "-DWORK_DIR=${CMAKE_CURRENT_BINARY_DIR}/packaging_core/${mode}" "-DCC=${CMAKE_C_COMPILER}"
    "-DCXX=${CMAKE_CXX_COMPILER}" "-DFLAGS=${flags}" -P "${CMAKE_CURRENT_LIST_DIR}/check_core.cmake")
  set_tests_properties(packaging/core_${mode} PROPERTIES
    LABELS packaging TIMEOUT 1500 ENVIRONMENT "${GLINT_TEST_ENVIRONMENT}")
endforeach()
