# A stream does not wait for an event of another stream.
s/if \(error_ == nullptr\) fail\(cudaStreamWaitEvent\(stream, event_, 0\), "cudaStreamWaitEvent"\);/(void)stream;/
