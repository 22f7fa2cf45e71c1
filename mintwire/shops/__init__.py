"""Parses other shops' exports of discounts into our coupons and codes; pure, one module per shop.

Terms that ours cannot express are refused, so that no code takes off more here than it did there.
"""
