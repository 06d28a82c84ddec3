# cuBLASLt gets no workspace.
s/workspace_\.data\(\), static_cast<size_t>\(kWorkspaceBytes\)/nullptr, 0/
