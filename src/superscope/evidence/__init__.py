"""From numbers to verdicts: estimates, rules, claims with three arms, seals, findings, and where those are kept."""
