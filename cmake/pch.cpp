// Only here to give the precompiled header pch.hpp a target, glint_pch, that the others reuse.
