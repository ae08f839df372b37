"""Being written."""
def interactive_surface(*a, **k): raise NotImplementedError
def write_html(*a, **k): raise NotImplementedError
