# Host memory that is to be locked is not.
s/cudaHostRegister\(.*\);/cudaSuccess;/
s/cudaHostUnregister\(.*\);/;/
