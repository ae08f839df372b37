"""Being written."""
def Report(*a, **k): raise NotImplementedError
def RunSummary(*a, **k): raise NotImplementedError
def write_report(*a, **k): raise NotImplementedError
