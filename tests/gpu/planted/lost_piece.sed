# The last piece of the positions is left out.
s/piece <= own \/ length/piece < own \/ length/
