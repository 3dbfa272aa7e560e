"""`epp demo`: an overload on this machine, with the picker and without it, and a verdict.

`course` is the whole of it: `stack` starts the processes, `traffic` decides who sends what and when, `client` sends
and measures, `tally` counts, `rehearsal` plays one half, `verdict` judges. `screen`, `report` and `figures` show it.
"""
