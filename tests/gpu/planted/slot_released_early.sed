# A slot is given back when its last reader is enqueued, not when it is done.
/^void LayerScheduler::release\(\)/,/^}/s/after_stream\((.*)$/std::invoke(\1/
