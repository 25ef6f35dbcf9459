"""Independent estimates of <u, J v> from the forward alone, each with its bound."""
