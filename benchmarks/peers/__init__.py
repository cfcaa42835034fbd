"""The works in each library. Each module has `variants(work)`, factories of its step by variant, and `about()`."""
