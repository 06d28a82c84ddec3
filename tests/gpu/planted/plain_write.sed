# Threads that have the same token clear its count at the same time. No result shows it.
s/atomicExch\(&counts\[row\.tokens\[i\]\], 0\)/counts[row.tokens[i]] = 0/
