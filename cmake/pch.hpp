// The shared precompiled header: libtorch and the standard headers that most files use. It only saves time;
// every file still includes what it needs, which the no-pch preset proves.
#pragma once

#if __has_include(<glint/core/tensor.hpp>)
#include <glint/core/tensor.hpp>
#endif

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>
