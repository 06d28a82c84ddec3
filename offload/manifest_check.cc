#include <cstdint>
#include <string>

#include "offload/manifest.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

constexpr int64_t kAlignment = 4096;
constexpr int64_t kVectorAlignment = 64;

class ContentsCheck {
 public:
  ContentsCheck(const Manifest& manifest, const WeightSpecs& specs, const std::string& source)
      : manifest_(manifest), contents_(manifest.contents), specs_(specs), source_(source) {}

  void run() {
    check_places();
    check_vectors();
    check_matrices();
  }

 private:
  void expect(bool holds, const Segment& segment, const std::string& problem) const {
    if (holds) return;
    throw CheckpointError(source_ + ": segment \"" + segment.name + "\" " + problem);
  }

  void check_place(const Segment& segment, int64_t begin, int64_t most_bytes) const {
    expect(segment.offset % kAlignment == 0 && segment.bytes % kAlignment == 0, segment,
           "is not aligned to 4 KiB");
    expect(segment.bytes <= most_bytes, segment, "is too large");
    expect(segment.offset >= begin, segment, "overlaps the one before it");
    expect(segment.bytes <= contents_.file_bytes &&
               segment.offset <= contents_.file_bytes - segment.bytes,
           segment, "reaches past the end of the weights");
  }

  void check_places() const {
    const Segment& vectors = contents_.vectors_segment;
    check_place(vectors, 0, INT64_MAX);
    int64_t end = vectors.offset + vectors.bytes;
    for (const Segment& segment : contents_.segments) {
      check_place(segment, end, kMaxSegmentBytes);
      end = segment.offset + segment.bytes;
    }
  }

  void check_vectors() const {
    const Segment& segment = contents_.vectors_segment;
    expect(contents_.vectors.size() == specs_.vectors.size(), segment,
           "holds " + std::to_string(contents_.vectors.size()) + " vectors, the config asks for " +
               std::to_string(specs_.vectors.size()));
    int64_t end = 0;
    for (size_t i = 0; i < specs_.vectors.size(); ++i) {
      const VectorSpec& spec = specs_.vectors[i];
      const StoredVector& vector = contents_.vectors[i];
      const int64_t size = spec.gated ? 2 * round_up(spec.size, kPanelOutputs) : spec.size;
      const std::string name = "vector " + std::to_string(i) + " ";
      expect(vector.role == spec.role && vector.layer == spec.layer && vector.size == size, segment,
             name + "is not the one that the config asks for");
      expect(vector.offset % kVectorAlignment == 0 && vector.offset >= end &&
                 dtype_bytes(DType::kF32, size) <= segment.bytes &&
                 vector.offset <= segment.bytes - dtype_bytes(DType::kF32, size),
             segment, name + "is out of place");
      end = vector.offset + dtype_bytes(DType::kF32, size);
    }
  }

  void check_matrices() {
    for (const Segment& segment : contents_.segments) {
      int64_t end = 0;
      for (const StoredMatrix& matrix : segment.matrices) {
        check_run(segment, matrix);
        expect(matrix.offset % kAlignment == 0 && matrix.offset >= end &&
                   matrix.bytes() <= segment.bytes &&
                   matrix.offset <= segment.bytes - matrix.bytes(),
               segment, "holds a matrix out of place");
        end = matrix.offset + matrix.bytes();
      }
    }
    if (spec_ < specs_.matrices.size()) {
      const MatrixSpec& spec = specs_.matrices[spec_];
      throw CheckpointError(source_ + ": no segment holds all of \"" +
                            std::string(matrix_role_name(spec.role)) + "\" of layer " +
                            std::to_string(spec.layer));
    }
  }

  // Runs come in the order of the specs, and each goes on where the one before it ended.
  void check_run(const Segment& segment, const StoredMatrix& run) {
    expect(spec_ < specs_.matrices.size(), segment, "is more than the config asks for");
    const MatrixSpec& spec = specs_.matrices[spec_];
    expect(run.role == spec.role && run.layer == spec.layer && run.gated == spec.gated &&
               run.inputs == spec.inputs && run.output_begin == outputs_ && run.outputs > 0 &&
               run.outputs <= spec.outputs - outputs_,
           segment, "holds another matrix, or run of it, than the config asks for");
    const StoredMatrix expected = stored_matrix(spec, manifest_.format);
    expect(run.dtype == expected.dtype, segment, "has another dtype than the store");
    expect(run.layout == expected.layout, segment, "has another layout than the store");
    expect(run.group_size == expected.group_size && run.has_zeros == expected.has_zeros, segment,
           "is quantised otherwise than the store");
    outputs_ += run.outputs;
    expect(outputs_ == spec.outputs || outputs_ % kPanelOutputs == 0, segment,
           "ends inside of a panel");
    if (outputs_ < spec.outputs) return;
    ++spec_;
    outputs_ = 0;
  }

  const Manifest& manifest_;
  const SegmentLayout& contents_;
  const WeightSpecs& specs_;
  const std::string& source_;
  size_t spec_ = 0;      // that comes next, or is not complete
  int64_t outputs_ = 0;  // of it so far
};

}  // namespace

void check_contents(const Manifest& manifest, const WeightSpecs& specs, const std::string& source) {
  ContentsCheck(manifest, specs, source).run();
}

}  // namespace zerostream
