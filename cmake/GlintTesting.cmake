# Helpers for tests/CMakeLists.txt.

find_package(Catch2 REQUIRED)

# glint_add_tests(<folder/name.tests.cpp>...): adds the files to glint_tests and one CTest test per file.
# Catch2's -# option tags every test case with its file's name, which lets one program run one file's cases.
function(glint_add_tests)
  set(seen "")
  foreach(file IN LISTS ARGN)
    get_filename_component(label "${file}" DIRECTORY)
    get_filename_component(stem "${file}" NAME)
    string(REGEX REPLACE "\\.cpp$" "" stem "${stem}")
    if(stem IN_LIST seen)
      message(FATAL_ERROR "tests/${file}: another test file is called ${stem}.cpp too; names must differ.")
    endif()
    list(APPEND seen "${stem}")
    string(REGEX REPLACE "\\.tests$" "" name "${stem}")
    target_sources(glint_tests PRIVATE "${file}")
    add_test(NAME "${label}/${name}" COMMAND glint_tests "-#" "[#${stem}]" -w NoTests
             WORKING_DIRECTORY "${PROJECT_SOURCE_DIR}")
    # One thread for libtorch: CTest runs as many tests at once as there are cores, and OpenMP threads that wait for
    # each other on busy cores cost many times what they gain.
    set_tests_properties("${label}/${name}" PROPERTIES LABELS "${label}" TIMEOUT 300 ENVIRONMENT "OMP_NUM_THREADS=1")
  endforeach()
endfunction()
