# cuBLASLt gets no workspace.
s/workspace_\.data\(\), static_cast<size_t>\(kGpuWorkspaceBytes\)/nullptr, 0/
