# The shared library libzerostream.so and its CMake package: find_package(zerostream), target zerostream::zerostream.
# Everything but include/zerostream stays inside the library.
include(CMakePackageConfigHelpers)
include(GNUInstallDirs)

add_library(zerostream_shared SHARED $<TARGET_OBJECTS:zs_offload>)
add_library(zerostream::zerostream ALIAS zerostream_shared)
target_link_libraries(zerostream_shared PRIVATE zs_offload)
target_include_directories(zerostream_shared PUBLIC $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>
                                                    $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
target_compile_features(zerostream_shared INTERFACE cxx_std_20)
set_target_properties(zerostream_shared PROPERTIES
  OUTPUT_NAME zerostream EXPORT_NAME zerostream LINKER_LANGUAGE CXX
  VERSION ${PROJECT_VERSION} SOVERSION ${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR})

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/zerostream)
configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/zerostreamConfig.cmake.in
                              ${PROJECT_BINARY_DIR}/zerostreamConfig.cmake INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/zerostreamConfigVersion.cmake COMPATIBILITY SameMinorVersion)

install(TARGETS zerostream)  # the command
install(TARGETS zerostream_shared EXPORT zerostreamTargets)
if(ZS_WITH_CUDA)
  install(TARGETS zerostream_cuda LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})  # found beside the library
endif()
install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/zerostream TYPE INCLUDE)
install(EXPORT zerostreamTargets NAMESPACE zerostream:: DESTINATION ${package_dir})
install(FILES ${PROJECT_BINARY_DIR}/zerostreamConfig.cmake ${PROJECT_BINARY_DIR}/zerostreamConfigVersion.cmake
        DESTINATION ${package_dir})
