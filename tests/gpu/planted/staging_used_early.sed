# A pinned buffer is read into again before its copy to the device is done.
s/notices_->run_on_host\(\[this, buffer, &ticket/std::invoke([this, buffer, \&ticket/
