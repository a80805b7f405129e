"""A simulation of volflow: real code, one thread at a time, in a time of its own, and faults."""
