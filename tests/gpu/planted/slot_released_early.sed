# A slot is given back when its last reader is enqueued, not when it is done.
/^void LayerScheduler::release\(\)/,/^}/s/stream_->run_on_host\((.*)$/std::invoke(\1/
