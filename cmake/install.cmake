# cmake --install: the program, the libraries, their headers under include/r1/, and what
# find_package(r1) needs. The target r1::r1 stands for all libraries.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

add_library(r1_all INTERFACE)
add_library(r1::r1 ALIAS r1_all)
set_target_properties(r1_all PROPERTIES EXPORT_NAME r1)
target_link_libraries(r1_all INTERFACE ${R1_LIBRARIES})

install(TARGETS r1)
install(TARGETS ${R1_LIBRARIES} r1_all EXPORT r1Targets)
foreach(library ${R1_LIBRARIES})
  string(REPLACE "r1_" "" folder ${library})
  install(DIRECTORY ${folder} DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/r1
          FILES_MATCHING PATTERN "*.h" PATTERN "cpu" EXCLUDE)
endforeach()

set(destination ${CMAKE_INSTALL_LIBDIR}/cmake/r1)
install(EXPORT r1Targets NAMESPACE r1:: DESTINATION ${destination})
configure_package_config_file(cmake/r1Config.cmake.in ${CMAKE_CURRENT_BINARY_DIR}/r1Config.cmake
                              INSTALL_DESTINATION ${destination})
write_basic_package_version_file(${CMAKE_CURRENT_BINARY_DIR}/r1ConfigVersion.cmake
                                 COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/r1Config.cmake
              ${CMAKE_CURRENT_BINARY_DIR}/r1ConfigVersion.cmake
              cmake/FindPCRE2.cmake cmake/FindUtf8proc.cmake DESTINATION ${destination})
