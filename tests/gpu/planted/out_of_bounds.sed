# A column too many.
s/col < args.source.cols; col \+=/col <= args.source.cols; col +=/
