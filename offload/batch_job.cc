#include "offload/batch_job.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <memory>

#include "base/printf_text.h"
#include "offload/job_state.h"
#include "offload/loaded_model.h"
#include "offload/memory_limit.h"
#include "offload/report.h"
#include "offload/request_queue.h"
#include "offload/run_planning.h"
#include "offload/run_recorder.h"
#include "offload/score_totals.h"
#include "offload/workload.h"
#include "zerostream/error.h"

namespace zerostream {
namespace {

using Clock = std::chrono::steady_clock;

// Thrown through the packer when the job is told to stop.
struct Stopped {};

bool is_stream(const std::string& path) {
  return path == "-" || (std::filesystem::exists(path) && !std::filesystem::is_regular_file(path));
}

// What is known of an input before the job; nothing of a stream, which can be read only once.
struct InputScan {
  InputIndex index;
  int64_t rows = 0;
};

std::optional<InputScan> scan_input(const std::string& path, const std::atomic<bool>& stop) {
  if (is_stream(path)) return std::nullopt;
  InputScan scan;
  RowReader reader(path, stop);
  for (; const auto row = reader.next(); ++scan.rows)
    if (!row->error)
      scan.index.emplace(row->identity, RowPlace{.index = row->index, .numbered = row->numbered});
  return scan;
}

// The output of a job: a file with what is known of it, or a stream.
class Output {
 public:
  explicit Output(const std::string& path) : path_(path) {
    if (!is_stream(path)) {
      state_ = std::make_unique<JobState>(path);
    } else if (path != "-") {
      stream_ = open(path.c_str(), O_WRONLY | O_CLOEXEC);
      if (stream_ < 0) throw IoError("cannot open " + path + ": " + std::strerror(errno), errno);
    }
  }
  ~Output() {
    if (stream_ > STDOUT_FILENO) close(stream_);
  }
  Output(const Output&) = delete;
  Output& operator=(const Output&) = delete;

  ResumeSummary prepare(const Json& settings, bool resume, const std::optional<InputIndex>& input) {
    return state_ == nullptr ? ResumeSummary() : state_->prepare(settings, resume, input);
  }
  void check(const Json& settings, bool resume) {
    if (state_ != nullptr) state_->check(settings, resume);
  }
  bool done(const RowIdentity& row) const { return state_ != nullptr && state_->done(row); }
  LineSink sink(const std::string& name) const {
    if (state_ == nullptr) return descriptor_sink(stream_, name);
    return [this](const JobState::Entry& entry, std::string_view line) {
      state_->append(entry, line);
    };
  }
  // What is in the output now. REQUIRES: prepare() was called.
  void for_each_line(const std::function<void(std::string_view line)>& use) const {
    if (state_ != nullptr) state_->for_each_line(use);
  }
  void sync() const {
    if (state_ != nullptr) state_->sync();
  }

 private:
  const std::string path_;
  std::unique_ptr<JobState> state_;
  int stream_ = STDOUT_FILENO;
};

std::string over_length_name(OverLength kind) {
  return kind == OverLength::kError ? "error" : "truncate";
}

// What the texts or scores of a job depend on besides its rows, as far as it is known without the
// store. Null: as it is if nobody asks.
Json early_settings(const RunConfig& config, Purpose purpose, const ModelPreview& model) {
  const DType kv_dtype = config.kv_cache.dtype.value_or(model.format.compute_dtype);
  Json settings = {{"model", model.fingerprint},
                   {"weights", format_name(model.format)},
                   {"over_length", over_length_name(config.job.over_length)},
                   {"purpose", nullptr},
                   {"int8_activations", nullptr},
                   {"kv_dtype", nullptr}};
  if (purpose == Purpose::kScore) settings["purpose"] = "score";
  if (purpose == Purpose::kGenerate) settings["sampling"] = sampling_json(model.sampling);
  if (config.device.int8_activations) settings["int8_activations"] = true;
  if (kv_dtype != model.format.compute_dtype)
    settings["kv_dtype"] = std::string(dtype_name(kv_dtype));
  return settings;
}

// All of them.
Json text_settings(const RunConfig& config, Purpose purpose, const LoadedModel& model) {
  const Json files = model.store.manifest().value("files", Json::object());
  Json settings = early_settings(config, purpose,
                                 {.fingerprint = model.store.fingerprint(),
                                  .format = model.store.format(),
                                  .sampling = model.sampling});
  settings["tokenizer"] = files.value("tokenizer.json", "");
  if (purpose == Purpose::kGenerate) settings["eos_token_ids"] = model.eos_ids;
  settings["device"] = nullptr;
  if (model.backend.device->kind() == DeviceKind::kCuda) settings["device"] = "cuda";
  return settings;
}

int64_t model_context(const LoadedModel& model) {
  return model.store.config().max_position_embeddings;
}

RowContext row_context(const RunConfig& config, Purpose purpose, const LoadedModel& model,
                       int64_t memory_context) {
  return {.purpose = purpose,
          .tokenizer = model.tokenizer.get(),
          .vocab_size = model.store.config().vocab_size,
          .sampling = model.sampling,
          .eos_ids = model.eos_ids,
          .model_context = model_context(model),
          .memory_context = memory_context,
          .over_length = config.job.over_length};
}

Placement resolved_placement(const MemoryPlan& plan, const ModelLayout& layout) {
  const auto share = [](int64_t bytes) {
    return bytes == 0 ? std::nullopt
                      : std::optional(Share{.kind = Share::Kind::kBytes, .bytes = bytes});
  };
  const int64_t resident = plan.resident_bytes(layout), all = layout.weights_bytes();
  const bool own_memory = !plan.on_host.empty();
  const int64_t host = own_memory ? plan.host_bytes(layout) : resident;
  if (host == all) return {.kind = PlacementKind::kHost};
  if (own_memory && resident == all) return {.kind = PlacementKind::kHost, .device = Share{}};
  if (resident + host == 0) return {.kind = PlacementKind::kNvme};
  return {.kind = PlacementKind::kShares,
          .device = own_memory ? share(resident) : std::nullopt,
          .host = share(host),
          .nvme = Share{}};
}

Placement resolved_kv_placement(const MemoryPlan& plan) {
  if (plan.kv_overflows())
    return {.kind = plan.kv_on_host ? PlacementKind::kHost : PlacementKind::kNvme};
  const bool own_memory = !plan.on_host.empty();
  return {.kind = PlacementKind::kHost,
          .device = own_memory ? std::optional(Share{}) : std::nullopt};
}

// The config with what `auto` became.
RunConfig resolved(RunConfig config, const LoadedModel& model, const RuntimeOptions& options,
                   const MemoryPlan& plan) {
  config.model.store = model.store.path();
  config.device.type = model.backend.device->kind();
  if (model.backend.threads > 0) config.device.threads = model.backend.threads;
  config.device.memory = options.device_memory.value_or(options.host_memory);
  config.host.memory = options.host_memory;
  const StoreFormat& format = model.store.format();
  config.weights.dtype = format.dtype;
  if (format.quantised()) config.weights.group_size = format.group_size;
  config.weights.asymmetric = format.has_zeros;
  config.weights.quantise_head = format.quantised_head;
  config.weights.placement = resolved_placement(plan, model.store.layout());
  config.kv_cache.dtype = plan.kv_dtype;
  config.kv_cache.placement = resolved_kv_placement(plan);
  config.nvme.queue_depth = options.queue_depth;
  config.nvme.block_size = options.block_size;
  config.prefetch.depth = plan.prefetch_depth;
  config.batch.max_sequences = plan.max_sequences;
  config.batch.token_budget = plan.token_budget;
  config.sampling = model.sampling;
  return config;
}

Json model_json(const RunConfig& config, const LoadedModel& model) {
  return {{"path", config.model.path},
          {"store", model.store.path()},
          {"fingerprint", model.store.fingerprint()},
          {"model_type", model.store.config().model_type},
          {"dtype", std::string(dtype_name(model.store.layout().dtype))},
          {"device", model.backend.device->description()}};
}

// A report that cannot be written is better known before the job than after it.
void check_report_folder(const std::string& report) {
  if (report.empty()) return;
  const auto folder = std::filesystem::absolute(report).parent_path().string();
  if (access(folder.c_str(), W_OK) != 0)
    throw IoError("cannot write " + report + ": " + std::strerror(errno), errno);
}

// One job from the loaded model on.
class Job {
 public:
  Job(const RunConfig& config, Purpose purpose, const std::string& cache_folder,
      const JobEvents& events, const std::atomic<bool>& stop)
      : config_(config),
        purpose_(purpose),
        cache_folder_(cache_folder),
        events_(events),
        stop_(stop),
        output_(config.job.output),
        recorder_(config.job.trace) {}

  // Throws where take_over() would, as far as that is known before the model is packed.
  void check_output(const ModelPreview& model) {
    output_.check(early_settings(config_, purpose_, model), config_.job.resume);
  }

  // False where nothing is left to do.
  bool take_over(const LoadedModel& model) {
    const auto scan = scan_input(config_.job.input, stop_);
    if (stop_) return false;  // half an index would make finished rows look foreign
    const auto index = scan ? std::optional(scan->index) : std::nullopt;
    const ResumeSummary taken =
        output_.prepare(text_settings(config_, purpose_, model), config_.job.resume, index);
    if (taken.kept > 0)
      events_.note(config_.job.output + ": " + count_text(taken.kept, "row") + " finished already");
    if (taken.redone > 0)
      events_.note(config_.job.output + ": trying " + count_text(taken.redone, "failed row") +
                   " again");
    if (taken.moved_aside > 0)
      events_.warn(config_.job.output + ": " + count_text(taken.moved_aside, "line") +
                   " not of this input, now in " + config_.job.output + ".old");
    facts_.rows_kept = taken.kept;
    if (scan) rows_total_ = scan->rows;
    if (purpose_ == Purpose::kScore && taken.kept > 0) output_.for_each_line(score_line());
    return !scan || taken.kept < scan->rows;
  }

  void answer(const LoadedModel& model) {
    RuntimeOptions options = runtime_options(config_);
    options.timeline = recorder_.timeline();
    options.workload.scored = purpose_ == Purpose::kScore;
    if (!is_stream(config_.job.input))
      options.workload = measure_workload(
          config_.job.input, row_context(config_, purpose_, model, model_context(model)), stop_);
    events_.adjust(options);
    const auto forecast = plan_this_run(model,
                                        {.cache_folder = cache_folder_,
                                         .int8_activations = config_.device.int8_activations,
                                         .note = events_.note},
                                        options);
    if (forecast) {
      facts_.predicted = forecast->predicted;
      facts_.storage_rate = forecast->read_rate;
    }
    Generator generator(model.store, *model.backend.device, *model.backend.kernels,
                        model.tokenizer.get(), options);
    for (const std::string& note : generator.statistics().notes) events_.note(note);
    facts_.config = run_config_json(resolved(config_, model, options, generator.plan()));
    facts_.config["nvme"]["engine"] = generator.statistics().io_engine;
    const RowJob job{
        .input = config_.job.input,
        .context = row_context(config_, purpose_, model, generator.max_context()),
        .done = [this](const RowIdentity& row) { return output_.done(row); },
        .sink = sink(),
        .on_pass =
            [this](int64_t rows_done, const RunStatistics& statistics) {
              recorder_.on_pass(statistics);
              events_.progress({rows_done, facts_.rows_kept, rows_total_, statistics, purpose_});
            }};
    const TokenSource tokens{[&](const GenerationClient& client, const std::atomic<bool>& stop) {
      generator.run(client, stop);
    }};
    const RowCounts counts = run_rows(job, tokens, stop_);
    output_.sync();
    facts_.rows_ok = counts.ok;
    facts_.rows_failed = counts.failed;
    facts_.statistics = generator.statistics();
    facts_.history = recorder_.history();
    facts_.timeline = recorder_.windows();
  }

  JobResult report(const LoadedModel& model, Clock::time_point start) {
    facts_.model = model_json(config_, model);
    if (facts_.config.is_null()) facts_.config = run_config_json(config_);
    facts_.stopped = stop_;
    if (purpose_ == Purpose::kScore) facts_.score = score_.json();
    facts_.total_seconds = std::chrono::duration<double>(Clock::now() - start).count();
    facts_.peak_resident_bytes = peak_resident_bytes();
    for (std::string& note : recorder_.finish()) {
      events_.warn(note);
      facts_.statistics.notes.push_back(std::move(note));
    }
    const JobResult result{.rows_ok = facts_.rows_ok,
                           .rows_failed = facts_.rows_failed,
                           .stopped = stop_,
                           .report = make_report(facts_)};
    if (!config_.job.report->empty()) write_report(result.report, *config_.job.report);
    return result;
  }

 private:
  std::function<void(std::string_view)> score_line() {
    return [this](std::string_view line) { score_.add_line(line); };
  }
  LineSink sink() {
    const LineSink output = output_.sink(config_.job.output);
    if (purpose_ != Purpose::kScore) return output;
    return [output, add = score_line()](const JobState::Entry& entry, std::string_view line) {
      output(entry, line);
      add(line);
    };
  }

  const RunConfig& config_;
  const Purpose purpose_;
  const std::string& cache_folder_;
  const JobEvents& events_;
  const std::atomic<bool>& stop_;
  Output output_;
  RunRecorder recorder_;
  std::optional<int64_t> rows_total_;
  ReportFacts facts_;
  ScoreTotals score_;
};

}  // namespace

RowCounts run_rows(const RowJob& job, const TokenSource& tokens, const std::atomic<bool>& stop) {
  std::atomic<bool> halt = false;
  ResultWriter writer(job.sink, job.context.tokenizer, [&] { halt = true; });
  RequestQueue queue({.input = job.input,
                      .context = job.context,
                      .done = job.done,
                      .reject = [&](FinishedRow row) { writer.push(std::move(row)); }});
  const auto halted = [&] {
    if (stop) halt = true;
    return halt.load();
  };
  const GenerationClient client{
      .next =
          [&](bool idle) {
            std::optional<GenerationRequest> request;
            do request = queue.next();
            while (!request && idle && !queue.ended() && !halted());
            return request;
          },
      .on_token = {},
      .on_result = [&](GenerationResult result) { writer.push(queue.finish(std::move(result))); },
      .cancelled = {},
      .on_pass =
          [&](const RunStatistics& statistics) {
            halted();
            job.on_pass(writer.ok() + writer.failed(), statistics);
          }};
  if (!halted()) tokens.run(client, halt);
  queue.stop();
  writer.finish();
  return {.ok = writer.ok(), .failed = writer.failed()};
}

JobResult run_batch_job(const RunConfig& config, Purpose purpose, const std::string& cache_folder,
                        const JobEvents& events, const std::atomic<bool>& stop) {
  const auto start = Clock::now();
  check_job(config);
  if (config.job.input != "-") File::open(config.job.input, {});
  Job job(config, purpose, cache_folder, events, stop);
  check_report_folder(*config.job.report);
  const auto packing = [&](int64_t done, int64_t total) {
    if (stop) throw Stopped();
    events.packing(done, total);
  };
  try {
    const LoadedModel model = load_model(
        config, {.cache_folder = cache_folder,
                 .note = events.note,
                 .packing = packing,
                 .before_packing = [&](const ModelPreview& seen) { job.check_output(seen); }});
    if (job.take_over(model) && !stop) job.answer(model);
    return job.report(model, start);
  } catch (const Stopped&) {
    return {.rows_ok = 0, .rows_failed = 0, .stopped = true, .report = {}};
  }
}

}  // namespace zerostream
