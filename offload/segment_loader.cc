#include "offload/segment_loader.h"

#include <algorithm>
#include <array>

#include "base/digest.h"

namespace zerostream {
namespace {

constexpr int64_t kPieceBytes = int64_t{4} << 20;
constexpr int64_t kPieces = 8;  // on their way at once

}  // namespace

// A ring of pinned pieces, each read, then copied.
struct SegmentLoader::Upload {
  struct Piece {
    std::byte* data = nullptr;
    bool read = false;
    bool copied = false;  // its event is recorded
    std::unique_ptr<Event> passed;
  };

  explicit Upload(Device& device)
      : memory(device.allocate_pinned(kPieces * kPieceBytes)), stream(device.make_copy_stream()) {
    for (size_t i = 0; i < pieces.size(); ++i)
      pieces[i] = {.data = memory.data() + static_cast<int64_t>(i) * kPieceBytes,
                   .passed = device.make_event()};
  }

  Buffer memory;
  std::array<Piece, kPieces> pieces;
  std::unique_ptr<Stream> stream;
};

SegmentLoader::SegmentLoader(const File& weights, Device& device, IoEngine& engine,
                             const TransferOptions& transfer)
    : weights_(weights), device_(device), queue_(engine, transfer) {}

SegmentLoader::~SegmentLoader() = default;

void SegmentLoader::read(const Segment& segment, std::byte* memory) {
  if (segment.bytes == 0) return;
  queue_.submit({.file = &weights_,
                 .offset = segment.offset,
                 .data = memory,
                 .bytes = segment.bytes,
                 .done = [this, &segment, memory](std::exception_ptr error) {
                   try {
                     if (error) std::rethrow_exception(error);
                     check_digest(segment, memory, weights_.path());
                   } catch (...) {
                     if (!failure_) failure_ = std::current_exception();
                   }
                 }});
}

void SegmentLoader::load(const Segment& segment, std::byte* memory) {
  if (device_.shares_host_memory()) return read(segment, memory);
  if (failure_ == nullptr && segment.bytes > 0) upload(segment, memory);
}

// Pieces are read ahead, and digested and copied in order.
void SegmentLoader::upload(const Segment& segment, std::byte* memory) {
  if (!upload_) upload_ = std::make_unique<Upload>(device_);
  const int64_t count = ceil_div(segment.bytes, kPieceBytes);
  const auto piece_of = [&](int64_t index) -> Upload::Piece& {
    return upload_->pieces[static_cast<size_t>(index % kPieces)];
  };
  const auto bytes_of = [&](int64_t index) {
    return std::min(kPieceBytes, segment.bytes - index * kPieceBytes);
  };
  const auto start = [&](int64_t index) {
    Upload::Piece& piece = piece_of(index);
    if (piece.copied) piece.passed->wait();
    piece.read = false;
    queue_.submit({.file = &weights_,
                   .offset = segment.offset + index * kPieceBytes,
                   .data = piece.data,
                   .bytes = bytes_of(index),
                   .done = [this, &piece](std::exception_ptr error) {
                     if (error && !failure_) failure_ = error;
                     piece.read = true;
                   }});
  };
  Digest digest;
  for (int64_t index = 0; index < std::min(count, kPieces); ++index) start(index);
  for (int64_t index = 0; index < count; ++index) {
    Upload::Piece& piece = piece_of(index);
    while (!piece.read) queue_.pump(true);
    if (failure_) return;
    digest.update(piece.data, static_cast<size_t>(bytes_of(index)));
    upload_->stream->copy(memory + index * kPieceBytes, piece.data, bytes_of(index));
    upload_->stream->record(*piece.passed);
    piece.copied = true;
    if (index + kPieces < count) start(index + kPieces);
  }
  try {
    compare_digest(segment, digest.value(), weights_.path());
  } catch (...) {
    failure_ = std::current_exception();
  }
}

void SegmentLoader::finish() {
  while (!queue_.idle()) queue_.pump(true);
  if (failure_) std::rethrow_exception(failure_);
  if (upload_) upload_->stream->synchronize();
}

}  // namespace zerostream
