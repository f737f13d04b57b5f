# Builds tests/packaging/consumer against glint. Run with cmake -P and:
#   MODE       install: installs BUILD_DIR first, then find_package, build, run
#              subdirectory: add_subdirectory(SOURCE_DIR); configures, and compiles one file of the consumer and one of
#              the library, since compiling all of the library again would take minutes
#   SOURCE_DIR, BUILD_DIR, WORK_DIR, TORCH_ROOT, CXX, FLAGS (sanitizers)
include("${CMAKE_CURRENT_LIST_DIR}/step.cmake")

file(REMOVE_RECURSE "${WORK_DIR}")
set(configure "${CMAKE_COMMAND}" -S "${SOURCE_DIR}/tests/packaging/consumer" -B "${WORK_DIR}/build" -G Ninja
    "-DCMAKE_CXX_COMPILER=${CXX}" "-DCMAKE_CXX_FLAGS=${FLAGS}")

if(MODE STREQUAL "install")
  step("install" "${CMAKE_COMMAND}" --install "${BUILD_DIR}" --prefix "${WORK_DIR}/prefix")
  # No hint about libtorch: the installed package knows the one it was built with.
  step("configure" ${configure} "-Dglint_ROOT=${WORK_DIR}/prefix")
  step("build" "${CMAKE_COMMAND}" --build "${WORK_DIR}/build")
  step("run" "${WORK_DIR}/build/consumer")
  message(STATUS "${output}")
  # The installed program starts, wherever the folder is moved to.
  step("program" "${WORK_DIR}/prefix/bin/glint" list)
  file(RENAME "${WORK_DIR}/prefix" "${WORK_DIR}/moved")
  step("moved program" "${WORK_DIR}/moved/bin/glint" list)
  step("moved program's run" "${WORK_DIR}/moved/bin/glint" generate "red apple" --steps 2 -o "${WORK_DIR}/apple.png")
else()
  step("configure" ${configure} "-DGLINT_SOURCE_DIR=${SOURCE_DIR}" "-DGLINT_TORCH_ROOT=${TORCH_ROOT}")
  step("build" "${CMAKE_COMMAND}" --build "${WORK_DIR}/build"
       --target CMakeFiles/consumer.dir/main.cpp.o --target glint/src/CMakeFiles/glint.dir/version.cpp.o)
  step("list targets" "${CMAKE_COMMAND}" --build "${WORK_DIR}/build" --target help)
  if(output MATCHES "glint_tests|glint_pch|glint_cli")
    message(FATAL_ERROR "glint as a subdirectory must add its library only: ${output}")
  endif()
endif()
file(REMOVE_RECURSE "${WORK_DIR}")
