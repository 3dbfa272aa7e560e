"""The fairness report: who gets how much of a pool, by the real core in virtual time, beside what others do."""
