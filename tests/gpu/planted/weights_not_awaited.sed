# Kernels do not wait for the copy of the weights that they read.
s/^ *stream_->wait\(\*fetch\.ready_event\(\)\);//
