# Rows see the positions after them.
s/position <= row\.own \&\& //
