# Cross-compiles to 64-bit Arm under Linux with Debian's compiler; programs run in QEMU.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(GEMMA_MARCH armv8.2-a+dotprod CACHE STRING "Machine that tests and examples are compiled for")
set(CMAKE_CROSSCOMPILING_EMULATOR "${CMAKE_CURRENT_LIST_DIR}/run_aarch64")
