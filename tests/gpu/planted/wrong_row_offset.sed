# Rows g + 8 of a fragment are taken from g + 4.
s/lane \/ 4 \+ 8 \* i;/lane \/ 4 + 4 * i;/
