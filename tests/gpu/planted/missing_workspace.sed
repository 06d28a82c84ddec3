# cuBLASLt gets no workspace.
s/workspace_\.data\(\), static_cast<size_t>\(workspace_\.size\(\)\)/nullptr, 0/
