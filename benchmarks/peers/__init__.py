"""The same works in each library. Each module has `variants(work)`, ways to make its step, and `about()`."""
