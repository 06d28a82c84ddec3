# Attention does not wait for the copy of the keys and values that it reads.
s/stream\.wait\(\*ready\);/(void)ready;/
