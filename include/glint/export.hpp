// GLINT_API marks the symbols a shared libglint exports; all others are hidden.
#pragma once

#define GLINT_API __attribute__((visibility("default")))
