# A sliding window slides one position too late.
s/own - window \+ 1 : 0/own - window : 0/
