// GLINT_API marks what a shared libglint exports. Everything else is hidden.
#pragma once

#define GLINT_API __attribute__((visibility("default")))
