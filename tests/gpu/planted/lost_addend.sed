# What is added to is overwritten.
s/product\.adds \? 1 : 0/0/
