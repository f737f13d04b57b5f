// The headers after macros that hosts define: Unreal Engine's check, ensure and verify, X11's None and Bool,
// Windows' TEXT, TRUE, min and max.
#define check(condition) host_check(condition)
#define ensure(condition) host_check(condition)
#define verify(condition) host_check(condition)
#define None 0L
#define Bool int
#define Status int
#define Success 0
#define TEXT(text) L##text
#define PI 3.14f
#define TRUE 1
#define FALSE 0
#define min(a, b) (((a) < (b)) ? (a) : (b))
#define max(a, b) (((a) > (b)) ? (a) : (b))

#ifdef GLINT_CORE_ONLY
#include <glint/core.hpp>
#else
#include <glint/glint.hpp>
#endif
#include <glint/glint.h>

#if !defined(check) || !defined(ensure) || !defined(verify) || !defined(None) || !defined(Bool) || \
    !defined(TEXT) || !defined(PI) || !defined(TRUE)
#error "the headers took a macro of the host away"
#endif

// And they are still the host's.
static_assert(None == 0 && TRUE == 1);

std::shared_ptr<const glint::GuidanceRule> used() {
  return std::make_shared<const glint::Apg>(glint::ApgOptions{.scale = 3.0});
}
