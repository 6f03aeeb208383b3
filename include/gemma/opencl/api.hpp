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

using Int = std::int32_t;
using UInt = std::uint32_t;
using Bits = std::uint64_t;  ///< cl_bitfield

// The handles: cl_platform_id, cl_device_id, …
using PlatformId = struct PlatformObject*;
using DeviceId = struct DeviceObject*;
using ContextId = struct ContextObject*;
using QueueId = struct QueueObject*;
using MemoryId = struct MemoryObject*;
using ProgramId = struct ProgramObject*;
using KernelId = struct KernelObject*;
using EventId = struct EventObject*;

/// The numbers of cl.h that are used.
enum : Int {
  kSuccess = 0,
  kDeviceNotFound = -1,
  kOutOfDeviceMemory = -4,  ///< CL_MEM_OBJECT_ALLOCATION_FAILURE
  kOutOfResources = -5,
  kOutOfHostMemory = -6,
  kBuildFailure = -11,
  kNoPlatform = -1001  ///< CL_PLATFORM_NOT_FOUND_KHR
};
inline constexpr Bits kTypeCpu = 2, kTypeGpu = 4, kTypeAccelerator = 8, kTypeAll = 0xFFFFFFFF;
inline constexpr Bits kReadWrite = 1, kWriteOnly = 2, kReadOnly = 4;
enum : UInt {
  kPlatformVersion = 0x0901,
  kPlatformName = 0x0902,
  kDeviceType = 0x1000,
  kDeviceComputeUnits = 0x1002,
  kDeviceWorkGroupSize = 0x1004,
  kDeviceClock = 0x100C,
  kDeviceLargestAllocation = 0x1010,
  kDeviceBaseAlign = 0x1019,
  kDeviceGlobalMemory = 0x101F,
  kDeviceLocalMemory = 0x1023,
  kDeviceLittleEndian = 0x1026,
  kDeviceAvailable = 0x1027,
  kDeviceCompiler = 0x1028,
  kDeviceName = 0x102B,
  kDeviceVendor = 0x102C,
  kDriverVersion = 0x102D,
  kDeviceVersion = 0x102F,
  kDeviceExtensions = 0x1030,
  kDeviceUnifiedMemory = 0x1035,
  kDeviceCVersion = 0x103D,
  kDeviceNvidiaMajor = 0x4000,  ///< cl_nv_device_attribute_query
  kDeviceNvidiaMinor = 0x4001,
  kProgramBinarySizes = 0x1165,
  kProgramBinaries = 0x1166,
  kProgramBuildLog = 0x1183,
  kKernelWorkGroupSize = 0x11B0
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
  std::shared_ptr<const Functions> functions;
  PlatformId id = nullptr;
  std::string library;  ///< where it was found
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
