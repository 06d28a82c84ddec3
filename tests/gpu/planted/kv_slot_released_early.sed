# A slot of keys and values is given back when its attention is enqueued, not when it is done.
/^      case StepKind::kReleaseKv:/,/break;/s/stream_->run_on_host\($/std::invoke(/
