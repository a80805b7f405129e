"""Job boards and conductors: operations that one process submits and another one runs."""
