# The functions a C library exports are those of symbols.txt, the promise to its users, and no others. Run with cmake -P
# and LIBRARY, LIST, NM.
execute_process(COMMAND "${NM}" -D --defined-only "${LIBRARY}" OUTPUT_VARIABLE output COMMAND_ERROR_IS_FATAL ANY)
string(REGEX MATCHALL "[0-9a-f]+ [A-Z] [^\n@]+" lines "${output}")
list(TRANSFORM lines REPLACE ".* " "")
list(SORT lines)
file(STRINGS "${LIST}" expected)
if(NOT lines STREQUAL expected)
  message(FATAL_ERROR "${LIBRARY} exports\n  ${lines}\nexpected\n  ${expected}")
endif()
