# Finds libwebp and its library for writing animations, and defines the imported target glint::webp.
#
# Debian's libwebp-dev comes without a CMake package. This file is installed beside glintConfig.cmake, so that programs
# which use an installed glint find libwebp on their own machine.

if(TARGET glint::webp)
  return()
endif()

find_path(GLINT_WEBP_INCLUDE_DIR webp/mux.h)
mark_as_advanced(GLINT_WEBP_INCLUDE_DIR)
set(_glint_webp_missing "")
if(NOT GLINT_WEBP_INCLUDE_DIR)
  list(APPEND _glint_webp_missing webp/mux.h)
endif()
add_library(glint::webp INTERFACE IMPORTED)
# In the order static libraries need: webpmux uses the codec.
foreach(_lib webpmux webp)
  find_library(GLINT_${_lib}_LIBRARY ${_lib})
  mark_as_advanced(GLINT_${_lib}_LIBRARY)
  if(GLINT_${_lib}_LIBRARY)
    target_link_libraries(glint::webp INTERFACE "${GLINT_${_lib}_LIBRARY}")
  else()
    list(APPEND _glint_webp_missing lib${_lib})
  endif()
endforeach()

if(_glint_webp_missing)
  list(JOIN _glint_webp_missing ", " _glint_webp_missing)
  set(_glint_webp_message "glint needs libwebp (Debian: libwebp-dev); not found: ${_glint_webp_missing}")
  if(CMAKE_FIND_PACKAGE_NAME)
    set(${CMAKE_FIND_PACKAGE_NAME}_FOUND FALSE)
    set(${CMAKE_FIND_PACKAGE_NAME}_NOT_FOUND_MESSAGE "${_glint_webp_message}")
    return()
  endif()
  message(FATAL_ERROR "${_glint_webp_message}")
endif()
target_include_directories(glint::webp INTERFACE "${GLINT_WEBP_INCLUDE_DIR}")
