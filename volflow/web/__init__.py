"""The page for operators: what a volume is doing, who owns it, what comes next, what needs whom.

It is rendered here and readable without a script. Reading needs no driver and changes nothing;
the few changes it offers are those of the command line, each behind a token and a confirmation.
"""
