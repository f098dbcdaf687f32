def of(records): return ""
