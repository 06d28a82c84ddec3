# A slot of keys and values is given back when its attention is enqueued, not when it is done.
/^      case StepKind::kReleaseKv:/,/break;/s/after_stream\($/std::invoke(/
