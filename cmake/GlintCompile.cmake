# How every target of glint is compiled: warnings, sanitizers, the shared precompiled header, ccache.

set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

# ccache can only reuse objects that include a precompiled header if it may ignore macros defined inside it.
find_program(GLINT_CCACHE ccache)
mark_as_advanced(GLINT_CCACHE)
if(GLINT_CCACHE AND PROJECT_IS_TOP_LEVEL AND NOT DEFINED CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CXX_COMPILER_LAUNCHER
      "${CMAKE_COMMAND}" -E env CCACHE_SLOPPINESS=pch_defines,time_macros "${GLINT_CCACHE}")
endif()

add_library(glint_flags INTERFACE)
# -fPIC everywhere, programs too: a precompiled header is accepted only by files with the same setting.
target_compile_options(glint_flags INTERFACE -fPIC)
if(GLINT_DEV)
  target_compile_options(glint_flags INTERFACE
    -Wall -Wextra -Wpedantic -Wshadow
    $<$<COMPILE_LANGUAGE:CXX>:-Wnon-virtual-dtor;-Woverloaded-virtual;-Wextra-semi>)
endif()
if(GLINT_FUZZ)
  target_compile_options(glint_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()
if(GLINT_WERROR)
  target_compile_options(glint_flags INTERFACE -Werror)
endif()
if(GLINT_SANITIZE)
  # A finding ends the program, so that a test cannot pass with one.
  # Not vptr: it needs the type information of every class with virtual functions, and libtorch exports not all of it.
  target_compile_options(glint_flags INTERFACE
    -fsanitize=${GLINT_SANITIZE} -fno-sanitize=vptr -fno-sanitize-recover=all -fno-omit-frame-pointer)
  target_compile_definitions(glint_flags INTERFACE _GLIBCXX_ASSERTIONS)
  # GCC reports values that its own instrumentation makes look uninitialized, in std::regex among others.
  target_compile_options(glint_flags INTERFACE $<$<COMPILE_LANG_AND_ID:CXX,GNU>:-Wno-maybe-uninitialized>)
  target_link_options(glint_flags INTERFACE -fsanitize=${GLINT_SANITIZE})
endif()

# One precompiled header, built once in glint_pch and reused by every target: parsing libtorch's headers is most of
# the compile time. It links what the other targets link, because a macro that differs (FMT_SHARED) makes it invalid.
if(GLINT_PCH)
  add_library(glint_pch OBJECT "${PROJECT_SOURCE_DIR}/cmake/pch.cpp")
  target_include_directories(glint_pch PRIVATE "${PROJECT_SOURCE_DIR}/include" "${PROJECT_SOURCE_DIR}")
  target_link_libraries(glint_pch PRIVATE glint_flags glint::torch fmt::fmt)
  set_target_properties(glint_pch PROPERTIES CXX_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN ON)
  # In angle brackets, so that CMake does not make absolute paths of them, which would be another header to ccache.
  target_precompile_headers(glint_pch PRIVATE "<cmake/pch.hpp>")
  if(GLINT_TESTS)
    target_precompile_headers(glint_pch PRIVATE "<tests/support/catch.hpp>")
  endif()
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    target_compile_options(glint_pch PRIVATE -fpch-preprocess)  # so that ccache sees the precompiled header
  endif()
endif()

# glint_target(<target> [NO_PCH]): applies all of the above to a target of this project. NO_PCH is for what does not
# see libtorch.
function(glint_target target)
  cmake_parse_arguments(PARSE_ARGV 1 arg "NO_PCH" "" "")
  target_link_libraries(${target} PRIVATE $<BUILD_INTERFACE:glint_flags>)
  set_target_properties(${target} PROPERTIES CXX_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN ON)
  if(GLINT_PCH AND NOT arg_NO_PCH)
    target_precompile_headers(${target} REUSE_FROM glint_pch)
    if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
      target_compile_options(${target} PRIVATE $<$<COMPILE_LANGUAGE:CXX>:-fpch-preprocess>)
    endif()
  endif()
endfunction()

# glint_unity(<target> [<macro>]): compiles the target's sources in groups of up to GLINT_UNITY neighbours of one
# folder. What every file costs before its own first line, 10 to 15 CPU seconds for templates and inline functions that
# most of them use, is paid once a group. Names in unnamed namespaces have to be unique in a folder, unless the files
# open `namespace <macro>` instead: it names a namespace for each file, and none (so an unnamed one) where files are
# compiled alone; then groups span folders. Files with settings of their own are compiled alone too: set those first.
function(glint_unity target)
  if(GLINT_UNITY LESS_EQUAL 1)
    if(ARGN)
      target_compile_definitions(${target} PRIVATE "${ARGN}=")
    endif()
    return()
  endif()
  # Not CMake's own unity builds: they include by absolute paths, so that a compiler cache could share nothing
  # between two checkouts.
  get_target_property(sources ${target} SOURCES)
  set(groups "")
  foreach(source IN LISTS sources)
    set(alone "")  # a file with settings of its own
    foreach(property IN ITEMS COMPILE_OPTIONS COMPILE_DEFINITIONS SKIP_PRECOMPILE_HEADERS SKIP_UNITY_BUILD_INCLUSION)
      get_source_file_property(value "${source}" ${property})
      if(value)
        set(alone TRUE)
      endif()
    endforeach()
    if(alone OR NOT source MATCHES "\\.cpp$")
      list(APPEND groups "${source}")
      continue()
    endif()
    get_filename_component(source "${source}" ABSOLUTE)
    get_filename_component(folder "${source}" DIRECTORY)
    file(RELATIVE_PATH folder "${CMAKE_CURRENT_SOURCE_DIR}" "${folder}")
    string(MAKE_C_IDENTIFIER "${folder}" folder)
    get_filename_component(name "${source}" NAME_WE)
    set(namespace "in_${folder}_${name}")
    if(ARGN)
      set(folder all)
    endif()
    if(NOT DEFINED count_${folder})
      set(count_${folder} 0)
    endif()
    math(EXPR index "${count_${folder}} / ${GLINT_UNITY}")
    math(EXPR count_${folder} "${count_${folder}} + 1")
    set(group "${CMAKE_CURRENT_BINARY_DIR}/${target}.groups/${folder}_${index}.cpp")
    list(APPEND groups "${group}")
    file(RELATIVE_PATH included "${CMAKE_CURRENT_BINARY_DIR}/${target}.groups" "${source}")
    foreach(macro IN LISTS ARGN)
      string(APPEND text_${folder}_${index} "#undef ${macro}\n#define ${macro} ${namespace}\n")
    endforeach()
    string(APPEND text_${folder}_${index} "#include \"${included}\"\n")
    file(CONFIGURE OUTPUT "${group}" CONTENT "${text_${folder}_${index}}" @ONLY)
  endforeach()
  list(REMOVE_DUPLICATES groups)
  set_target_properties(${target} PROPERTIES SOURCES "${groups}")
  # GCC takes the files that a group includes for headers, where such a type would be a mistake.
  target_compile_options(${target} PRIVATE $<$<COMPILE_LANG_AND_ID:CXX,GNU>:-Wno-subobject-linkage>)
endfunction()
