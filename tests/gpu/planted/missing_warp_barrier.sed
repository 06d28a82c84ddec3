# Lanes rotate columns that others have not loaded yet.
/load_head\(head, row_of<float>/,/rotate/s/__syncwarp\(\);//
