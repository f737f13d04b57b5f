// Memory that was freed, and that the C library would keep for later.
#pragma once

#include <cstdlib>
#ifdef __GLIBC__
#include <malloc.h>
#endif

namespace glint::detail {

/// Gives freed memory back to the system. Once blocks of up to 32 MiB have been freed, glibc allocates their
/// like from its heap, whose holes it keeps: a network's weights would stay resident although nothing holds
/// them.
inline void trim_heap() {
#ifdef __GLIBC__
  ::malloc_trim(0);
#endif
}

}  // namespace glint::detail
