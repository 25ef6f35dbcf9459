"""Gradient flow: does the gradient get back through a network, does theory expect that, and what would help.

`sites` is what an adapter hands over, `measuring` takes sizes, `rules` and `prediction` say what to expect of one
layer and how far chance reaches, `theory` what to expect of an initialisation; `verdict` decides, `advice` speaks.
"""
