# Writes version_info.h into the build folder at every build, touching it only when it changes.
# apps/version.cpp alone includes it, so a new commit compiles one file. Included by the main
# CMakeLists.txt, this file adds the target that runs it again as a script (cmake -P).
if(NOT CMAKE_SCRIPT_MODE_FILE)
  add_custom_target(r1_version BYPRODUCTS ${CMAKE_CURRENT_BINARY_DIR}/version_info.h
    COMMAND ${CMAKE_COMMAND} -DR1_SOURCE=${CMAKE_CURRENT_SOURCE_DIR}
            -DR1_OUTPUT=${CMAKE_CURRENT_BINARY_DIR}/version_info.h
            -DR1_VERSION=${PROJECT_VERSION} -DR1_BUILD_TYPE=${CMAKE_BUILD_TYPE}
            "-DR1_COMPILER=${CMAKE_CXX_COMPILER_ID} ${CMAKE_CXX_COMPILER_VERSION}"
            -P ${CMAKE_CURRENT_LIST_FILE}
    COMMENT "Reading the commit" VERBATIM)
  add_dependencies(r1_apps r1_version)
  return()
endif()

# "" in a tarball, without git, or before the first commit.
set(R1_COMMIT "")
find_program(GIT git)
if(GIT AND EXISTS ${R1_SOURCE}/.git)
  execute_process(
    COMMAND ${GIT} --no-optional-locks describe --always --dirty --abbrev=9 --exclude=*
    WORKING_DIRECTORY ${R1_SOURCE} OUTPUT_VARIABLE R1_COMMIT
    OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
endif()
configure_file(${CMAKE_CURRENT_LIST_DIR}/version_info.h.in ${R1_OUTPUT} @ONLY)
