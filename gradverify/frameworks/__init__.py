"""One folder a framework: each makes a `Target` of that framework's own objects, and alone imports it."""
