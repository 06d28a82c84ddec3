# Work goes on in memory that was given back.
s/^      sums_\(device\.allocate\(limits\.sum_bytes\)\)/      sums_([\&] { Buffer sums = device.allocate(limits.sum_bytes); std::byte* data = sums.data(); return Buffer(data, sums.size(), [](std::byte*, int64_t) {}); }())/
