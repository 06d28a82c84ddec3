// The errors that ZeroStream throws.
//
// Every error derives from Error and carries a code; the command line exits with that code. The
// message says what was wrong and where (file, key, tensor, row, offset), ready to be shown to a
// user.
#pragma once

#include <cerrno>
#include <stdexcept>
#include <string>

namespace zerostream {

// Values are the exit codes of the `zerostream` command.
enum class ErrorCode {
  kInternal = 1,    // a broken promise inside the engine
  kUsage = 2,       // bad command line, run file or library call
  kInfeasible = 3,  // the plan does not fit the memory that it was given
  kCheckpoint = 4,  // checkpoint, store or tokenizer is damaged or not supported
  kIo = 5,          // a file could not be read or written, or the disk is full
  kDevice = 6,      // a device or a collective failed
};

class Error : public std::runtime_error {
 public:
  Error(ErrorCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
  ErrorCode code() const { return code_; }

 private:
  ErrorCode code_;
};

class InternalError : public Error {
 public:
  explicit InternalError(const std::string& message) : Error(ErrorCode::kInternal, message) {}
};

class UsageError : public Error {
 public:
  explicit UsageError(const std::string& message) : Error(ErrorCode::kUsage, message) {}
};

class InfeasibleError : public Error {
 public:
  explicit InfeasibleError(const std::string& message) : Error(ErrorCode::kInfeasible, message) {}
};

class CheckpointError : public Error {
 public:
  explicit CheckpointError(const std::string& message) : Error(ErrorCode::kCheckpoint, message) {}
};

// A failed operation on a file. `error_number` is the errno of the call, 0 where there was none
// (unexpected end of file).
class IoError : public Error {
 public:
  IoError(const std::string& message, int error_number)
      : Error(ErrorCode::kIo, message), error_number_(error_number) {}
  int error_number() const { return error_number_; }

 private:
  int error_number_;
};

class DeviceError : public Error {
 public:
  explicit DeviceError(const std::string& message) : Error(ErrorCode::kDevice, message) {}
};

}  // namespace zerostream
