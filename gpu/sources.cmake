# What nvcc builds for GPUs, and the tests as C++ for the emulated runtime.
set(ZS_GPU_SOURCES
  attention.cu attention_tensor.cu cuda_device.cc cuda_error.cc cuda_kernels.cc cuda_stream.cc linear.cu
  linear_epilogue.cu linear_tensor.cu locked_memory.cc row_products.cc rows.cu sample.cu softmax.cu
  unpack_weight.cu unpacked_products.cc write_kv.cu)
