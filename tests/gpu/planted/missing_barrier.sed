# Threads read values that others are still loading.
/load_tile<T>\(shared, args.kv, sequence.block_table, kv_head, tile\);/{n;s/__syncthreads\(\);//}
