// Hides macros that hosts are known to define while other libraries' headers are read, which use these words
// as names. host_macros_on.hpp brings them back. Deliberately without an include guard: each pair stands
// around some includes.
#pragma push_macro("check")
#pragma push_macro("ensure")
#pragma push_macro("verify")
#pragma push_macro("None")
#pragma push_macro("Bool")
#pragma push_macro("TEXT")
#pragma push_macro("PI")
#pragma push_macro("TRUE")
#pragma push_macro("FALSE")
#pragma push_macro("Status")
#pragma push_macro("Success")
#pragma push_macro("min")
#pragma push_macro("max")
#undef check
#undef ensure
#undef verify
#undef None
#undef Bool
#undef TEXT
#undef PI
#undef TRUE
#undef FALSE
#undef Status
#undef Success
#undef min
#undef max
