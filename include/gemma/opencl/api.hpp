// The part of OpenCL 1.2 that is used here, declared by ourselves and found at run time: a program
// with GEMMA_OPENCL needs no OpenCL package to compile, and starts where there is no OpenCL at all.
// Source: the OpenCL 1.2 specification, and cl_khr_icd for drivers without a loader.
#ifndef GEMMA_OPENCL_API_HPP_
#define GEMMA_OPENCL_API_HPP_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "gemma/base/error.hpp"

#if defined(_WIN32)
#define GEMMA_OPENCL_CALL __stdcall
#else
#define GEMMA_OPENCL_CALL
#endif

GEMMA_NAMESPACE_BEGIN
namespace opencl {

using Int = std::int32_t;    ///< cl_int
using UInt = std::uint32_t;  ///< cl_uint
using Bits = std::uint64_t;  ///< cl_bitfield

// The handles; what they point to is the library's.
using PlatformId = struct PlatformObject*;  ///< cl_platform_id
using DeviceId = struct DeviceObject*;      ///< cl_device_id
using ContextId = struct ContextObject*;    ///< cl_context
using QueueId = struct QueueObject*;        ///< cl_command_queue
using MemoryId = struct MemoryObject*;      ///< cl_mem
using ProgramId = struct ProgramObject*;    ///< cl_program
using KernelId = struct KernelObject*;      ///< cl_kernel
using EventId = struct EventObject*;        ///< cl_event

/// The results of cl.h that are told apart.
enum : Int {
  kSuccess = 0,             ///< CL_SUCCESS
  kDeviceNotFound = -1,     ///< CL_DEVICE_NOT_FOUND: a platform without a device
  kOutOfDeviceMemory = -4,  ///< CL_MEM_OBJECT_ALLOCATION_FAILURE
  kOutOfResources = -5,     ///< CL_OUT_OF_RESOURCES
  kOutOfHostMemory = -6,    ///< CL_OUT_OF_HOST_MEMORY
  kBuildFailure = -11,      ///< CL_BUILD_PROGRAM_FAILURE: the build log says why
  kNoPlatform = -1001       ///< CL_PLATFORM_NOT_FOUND_KHR
};
inline constexpr Bits kTypeCpu = 2;           ///< CL_DEVICE_TYPE_CPU
inline constexpr Bits kTypeGpu = 4;           ///< CL_DEVICE_TYPE_GPU
inline constexpr Bits kTypeAccelerator = 8;   ///< CL_DEVICE_TYPE_ACCELERATOR
inline constexpr Bits kTypeAll = 0xFFFFFFFF;  ///< CL_DEVICE_TYPE_ALL
inline constexpr Bits kReadWrite = 1;         ///< CL_MEM_READ_WRITE
inline constexpr Bits kWriteOnly = 2;         ///< CL_MEM_WRITE_ONLY, to kernels
inline constexpr Bits kReadOnly = 4;          ///< CL_MEM_READ_ONLY, to kernels
/// What can be asked about platforms, devices, programs and kernels.
enum : UInt {
  kPlatformVersion = 0x0901,          ///< CL_PLATFORM_VERSION: text
  kPlatformName = 0x0902,             ///< CL_PLATFORM_NAME: text
  kDeviceType = 0x1000,               ///< CL_DEVICE_TYPE: Bits
  kDeviceComputeUnits = 0x1002,       ///< CL_DEVICE_MAX_COMPUTE_UNITS: UInt
  kDeviceWorkGroupSize = 0x1004,      ///< CL_DEVICE_MAX_WORK_GROUP_SIZE: size_t
  kDeviceClock = 0x100C,              ///< CL_DEVICE_MAX_CLOCK_FREQUENCY: UInt, MHz
  kDeviceLargestAllocation = 0x1010,  ///< CL_DEVICE_MAX_MEM_ALLOC_SIZE: 64 bits, bytes
  kDeviceBaseAlign = 0x1019,          ///< CL_DEVICE_MEM_BASE_ADDR_ALIGN: UInt, in bits
  kDeviceGlobalMemory = 0x101F,       ///< CL_DEVICE_GLOBAL_MEM_SIZE: 64 bits, bytes
  kDeviceLocalMemory = 0x1023,        ///< CL_DEVICE_LOCAL_MEM_SIZE: 64 bits, bytes
  kDeviceLittleEndian = 0x1026,       ///< CL_DEVICE_ENDIAN_LITTLE: UInt, 0 or 1
  kDeviceAvailable = 0x1027,          ///< CL_DEVICE_AVAILABLE: UInt, 0 or 1
  kDeviceCompiler = 0x1028,           ///< CL_DEVICE_COMPILER_AVAILABLE: UInt, 0 or 1
  kDeviceName = 0x102B,               ///< CL_DEVICE_NAME: text
  kDeviceVendor = 0x102C,             ///< CL_DEVICE_VENDOR: text
  kDriverVersion = 0x102D,            ///< CL_DRIVER_VERSION: text
  kDeviceVersion = 0x102F,            ///< CL_DEVICE_VERSION: text
  kDeviceExtensions = 0x1030,         ///< CL_DEVICE_EXTENSIONS: words
  kDeviceUnifiedMemory = 0x1035,      ///< CL_DEVICE_HOST_UNIFIED_MEMORY: UInt, 0 or 1
  kDeviceCVersion = 0x103D,           ///< CL_DEVICE_OPENCL_C_VERSION: text
  kDeviceNvidiaMajor = 0x4000,        ///< CL_DEVICE_COMPUTE_CAPABILITY_MAJOR_NV: UInt
  kDeviceNvidiaMinor = 0x4001,        ///< CL_DEVICE_COMPUTE_CAPABILITY_MINOR_NV: UInt
  kProgramBinarySizes = 0x1165,       ///< CL_PROGRAM_BINARY_SIZES: size_t of each device
  kProgramBinaries = 0x1166,          ///< CL_PROGRAM_BINARIES: pointers to room for them
  kProgramBuildLog = 0x1183,          ///< CL_PROGRAM_BUILD_LOG: text
  kKernelWorkGroupSize = 0x11B0       ///< CL_KERNEL_WORK_GROUP_SIZE: size_t
};

/// Calls X(name, result, arguments) for each function that must exist: core OpenCL 1.2 only.
#define GEMMA_OPENCL_REQUIRED(X)                                                                  \
  X(clGetPlatformIDs, Int, (UInt, PlatformId*, UInt*))                                            \
  X(clGetPlatformInfo, Int, (PlatformId, UInt, std::size_t, void*, std::size_t*))                 \
  X(clGetDeviceIDs, Int, (PlatformId, Bits, UInt, DeviceId*, UInt*))                              \
  X(clGetDeviceInfo, Int, (DeviceId, UInt, std::size_t, void*, std::size_t*))                     \
  X(clCreateContext, ContextId,                                                                   \
    (const std::intptr_t*, UInt, const DeviceId*, void*, void*, Int*))                            \
  X(clReleaseContext, Int, (ContextId))                                                           \
  X(clCreateCommandQueue, QueueId, (ContextId, DeviceId, Bits, Int*))                             \
  X(clReleaseCommandQueue, Int, (QueueId))                                                        \
  X(clCreateBuffer, MemoryId, (ContextId, Bits, std::size_t, void*, Int*))                        \
  X(clReleaseMemObject, Int, (MemoryId))                                                          \
  X(clCreateProgramWithSource, ProgramId,                                                         \
    (ContextId, UInt, const char**, const std::size_t*, Int*))                                    \
  X(clReleaseProgram, Int, (ProgramId))                                                           \
  X(clBuildProgram, Int, (ProgramId, UInt, const DeviceId*, const char*, void*, void*))           \
  X(clGetProgramInfo, Int, (ProgramId, UInt, std::size_t, void*, std::size_t*))                   \
  X(clGetProgramBuildInfo, Int, (ProgramId, DeviceId, UInt, std::size_t, void*, std::size_t*))    \
  X(clCreateKernel, KernelId, (ProgramId, const char*, Int*))                                     \
  X(clReleaseKernel, Int, (KernelId))                                                             \
  X(clSetKernelArg, Int, (KernelId, UInt, std::size_t, const void*))                              \
  X(clGetKernelWorkGroupInfo, Int,                                                                \
    (KernelId, DeviceId, UInt, std::size_t, void*, std::size_t*))                                 \
  X(clEnqueueNDRangeKernel, Int,                                                                  \
    (QueueId, KernelId, UInt, const std::size_t*, const std::size_t*, const std::size_t*, UInt,   \
     const EventId*, EventId*))                                                                   \
  X(clEnqueueReadBuffer, Int,                                                                     \
    (QueueId, MemoryId, UInt, std::size_t, std::size_t, void*, UInt, const EventId*, EventId*))   \
  X(clEnqueueWriteBuffer, Int,                                                                    \
    (QueueId, MemoryId, UInt, std::size_t, std::size_t, const void*, UInt, const EventId*,        \
     EventId*))                                                                                   \
  X(clFlush, Int, (QueueId))                                                                      \
  X(clFinish, Int, (QueueId))

/// The same for those without which there is another way; null where they are absent.
#define GEMMA_OPENCL_OPTIONAL(X)                                                                  \
  X(clCreateProgramWithBinary, ProgramId,                                                         \
    (ContextId, UInt, const DeviceId*, const std::size_t*, const unsigned char**, Int*, Int*))

/// The functions of one OpenCL library, by their own names.
struct Functions {
#define GEMMA_OPENCL_DECLARE(name, result, arguments) \
  result(GEMMA_OPENCL_CALL* name) arguments = nullptr;
  GEMMA_OPENCL_REQUIRED(GEMMA_OPENCL_DECLARE)
  GEMMA_OPENCL_OPTIONAL(GEMMA_OPENCL_DECLARE)
#undef GEMMA_OPENCL_DECLARE
};

/// A platform and the functions to call it by.
struct Platform {
  std::shared_ptr<const Functions> functions;  ///< of the library below; never null
  PlatformId id = nullptr;                     ///< valid as long as the process lives
  std::string library;                         ///< where it was found
};

/// All platforms of this machine: those of a loader (libOpenCL), and of drivers that it does not
/// list, which are called without one. OCL_ICD_VENDORS limits both to the drivers it names.
/// `library`, if not empty, is the only file tried, as a loader and as a driver (the environment's
/// GEMMA_OPENCL_LIBRARY is for the caller to pass). Libraries stay loaded, since drivers keep
/// threads. The error says which were tried and why each was of no use; its code is
/// ErrorCode::backend if one was of use, but listed no platform, else ErrorCode::io.
Result<std::vector<Platform>> find_platforms(const std::string& library);

/// "CL_OUT_OF_RESOURCES (-5)"; "error -9999" for numbers not known.
std::string error_name(Int code);

}  // namespace opencl
GEMMA_NAMESPACE_END

#if !defined(GEMMA_DECLARATIONS_ONLY)
#include "gemma/opencl/impl/api-inl.hpp"
#endif

#endif  // GEMMA_OPENCL_API_HPP_
