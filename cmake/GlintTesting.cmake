# Helpers for tests/CMakeLists.txt.

find_package(Catch2 REQUIRED)

# What every test runs with. One thread for libtorch: CTest runs as many tests at once as there are cores, and OpenMP
# threads that wait for each other on busy cores cost many times what they gain.
set(GLINT_TEST_ENVIRONMENT "OMP_NUM_THREADS=1")
if(CMAKE_CROSSCOMPILING AND WIN32)
  list(APPEND GLINT_TEST_ENVIRONMENT "WINEPREFIX=${PROJECT_BINARY_DIR}/wine" "WINEDEBUG=-all")
endif()
if(GLINT_SANITIZE)
  set(_support "${PROJECT_SOURCE_DIR}/tests/support")
  # What cannot be allocated is an error to tell, as without the sanitizer.
  list(APPEND GLINT_TEST_ENVIRONMENT
    "ASAN_OPTIONS=allocator_may_return_null=1"
    "LSAN_OPTIONS=suppressions=${_support}/lsan.supp:print_suppressions=0"
    "TSAN_OPTIONS=suppressions=${_support}/tsan.supp:second_deadlock_stack=1"
    "UBSAN_OPTIONS=print_stacktrace=1")
endif()

# glint_headers_alone(<target> <folder>): makes a header-only package usable when compiling for another system. Debian
# keeps its folder among the system's own headers, which are wrong there.
function(glint_headers_alone target folder)
  if(CMAKE_CROSSCOMPILING)
    set(alone "${PROJECT_BINARY_DIR}/headers")
    find_path(from "${folder}" PATHS /usr/include NO_CMAKE_FIND_ROOT_PATH REQUIRED NO_CACHE)
    file(MAKE_DIRECTORY "${alone}")
    file(CREATE_LINK "${from}/${folder}" "${alone}/${folder}" SYMBOLIC)
    set_target_properties(${target} PROPERTIES INTERFACE_INCLUDE_DIRECTORIES "${alone}")
  endif()
endfunction()

# glint_add_tests([TARGET program] [PREFIX prefix] <folder/name.tests.cpp>...): adds the files to glint_tests, or to
# another program, and one CTest test per file. Catch2's -# option tags every test case with its file's name, which lets
# one program run one file's cases.
function(glint_add_tests)
  cmake_parse_arguments(arg "" "TARGET;PREFIX" "" ${ARGN})
  if(NOT arg_TARGET)
    set(arg_TARGET glint_tests)
  endif()
  set(seen "")
  set(timeout 600)  # minutes only on a machine with much else to do
  if(GLINT_SANITIZE)
    set(timeout 1500)
  endif()
  foreach(file IN LISTS arg_UNPARSED_ARGUMENTS)
    get_filename_component(label "${file}" DIRECTORY)
    get_filename_component(stem "${file}" NAME)
    string(REGEX REPLACE "\\.cpp$" "" stem "${stem}")
    if(stem IN_LIST seen)
      message(FATAL_ERROR "tests/${file}: another test file is called ${stem}.cpp too; names must differ.")
    endif()
    list(APPEND seen "${stem}")
    string(REGEX REPLACE "\\.tests$" "" name "${stem}")
    target_sources(${arg_TARGET} PRIVATE "${file}")
    set(name "${arg_PREFIX}${label}/${name}")
    add_test(NAME "${name}" COMMAND ${arg_TARGET} "-#" "[#${stem}]" -w NoTests
             WORKING_DIRECTORY "${PROJECT_SOURCE_DIR}")
    set_tests_properties("${name}" PROPERTIES
      LABELS "${label}" TIMEOUT ${timeout} ENVIRONMENT "${GLINT_TEST_ENVIRONMENT}")
  endforeach()
endfunction()
