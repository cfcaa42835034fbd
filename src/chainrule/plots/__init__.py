"""Figures: plain data in, a matplotlib `Figure` out (or, in `text`, plain lines for the terminal).

`training`, `evaluation` and `pictures` draw, each on a light ground or, with `dark=True`, on a dark one; `style` holds
the look they share and saves them. These modules load matplotlib when they are imported, so whoever uses them imports
them where the drawing is done. `text` needs no matplotlib.
"""
