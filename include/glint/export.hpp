// GLINT_API marks the symbols a shared libglint exports; all others are hidden. On Windows the C++ library is
// static.
#pragma once

#ifdef _WIN32
#define GLINT_API
#else
#define GLINT_API __attribute__((visibility("default")))
#endif
