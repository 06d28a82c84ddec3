# Scales are those of another group.
s/input \/ panel\.group_size/input \/ 128/
