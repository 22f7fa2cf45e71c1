"""Other shops' files of discounts, read into coupons and codes of ours; pure, each shop in a module of its own.

What a shop's terms say and ours cannot is refused, so that no code takes off more here than it did there.
"""
